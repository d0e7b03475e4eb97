//! The stores, each as a fixture.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use soloist::store::memory::{MemoryStore, StoreClock};
use soloist::store::prefix::PrefixStore;
use soloist::store::quorum::{QuorumStore, late::LateStore};
use soloist::store::redis::bridge::{BridgeStore, Old};
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::testing::{FaultyStore, Rates, Recorder, RecordingStore};
use soloist::{Store, Ticket};

use crate::clusters::Cluster;
use crate::fixture::Fixture;
use crate::support::driven::{DrivenLocal, DrivenRedis};

/// A time in the past of every test run, so that a store that looks at the real clock is found out.
const START: u64 = 1_000_000_000_000_000;

async fn pass_on(clock: Option<&StoreClock>, time: Duration) {
    match clock {
        Some(clock) => clock.advance(time),
        None => tokio::time::sleep(time).await,
    }
}

pub struct Memory {
    root: MemoryStore,
    clock: Option<StoreClock>,
}

pub async fn memory() -> Memory {
    let clock = StoreClock::manual(START);
    Memory { root: MemoryStore::with_clock(clock.clone()), clock: Some(clock) }
}

pub async fn memory_real() -> Memory {
    Memory { root: MemoryStore::new(), clock: None }
}

#[async_trait]
impl Fixture for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.root.peer())
    }

    async fn pass(&self, time: Duration) {
        pass_on(self.clock.as_ref(), time).await;
    }
}

pub async fn local() -> DrivenLocal {
    DrivenLocal::new(Some(START))
}

pub async fn local_real() -> DrivenLocal {
    DrivenLocal::new(None)
}

#[async_trait]
impl Fixture for DrivenLocal {
    async fn open(&self) -> Arc<dyn Store> {
        DrivenLocal::open(self)
    }

    async fn pass(&self, time: Duration) {
        DrivenLocal::pass(self, time).await;
    }
}

pub async fn redis() -> DrivenRedis {
    DrivenRedis::new(Some(START)).await
}

pub async fn redis_real() -> DrivenRedis {
    DrivenRedis::new(None).await
}

#[async_trait]
impl Fixture for DrivenRedis {
    async fn open(&self) -> Arc<dyn Store> {
        DrivenRedis::open(self).await
    }

    async fn kill(&self, session: &Arc<dyn Store>) {
        DrivenRedis::close(self, session).await;
    }

    async fn pass(&self, time: Duration) {
        DrivenRedis::pass(self, time).await;
    }
}

/// Three primaries, on real time: others use the same servers.
pub struct InCluster {
    cluster: Arc<Cluster>,
    prefix: String,
}

pub async fn cluster() -> InCluster {
    InCluster { cluster: Cluster::shared().await, prefix: format!("{}:", Ticket::mint()) }
}

#[async_trait]
impl Fixture for InCluster {
    async fn open(&self) -> Arc<dyn Store> {
        let store = self.cluster.store(RedisOptions::default()).await;
        Arc::new(PrefixStore::new(store, &self.prefix))
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A prefix before the reference.
pub struct Prefix(Memory);

pub async fn prefix() -> Prefix {
    Prefix(memory().await)
}

#[async_trait]
impl Fixture for Prefix {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(PrefixStore::new(self.0.open().await, "p:"))
    }

    async fn pass(&self, time: Duration) {
        self.0.pass(time).await;
    }
}

/// The reference, with every third call carried out twice: asking again is the same request.
pub struct Twice(Memory);

pub async fn twice() -> Twice {
    Twice(memory().await)
}

#[async_trait]
impl Fixture for Twice {
    async fn open(&self) -> Arc<dyn Store> {
        let store = FaultyStore::new(self.0.open().await);
        store.rates(Rates { twice: 333, ..Rates::default() });
        Arc::new(store)
    }

    async fn pass(&self, time: Duration) {
        self.0.pass(time).await;
    }
}

/// The reference, with all that is asked written down.
pub struct Recording(Memory);

pub async fn recording() -> Recording {
    Recording(memory().await)
}

#[async_trait]
impl Fixture for Recording {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(RecordingStore::new(self.0.open().await, Recorder::new(1), 1))
    }

    async fn pass(&self, time: Duration) {
        self.0.pass(time).await;
    }
}

/// Three of the reference, on one clock.
pub struct Quorum {
    roots: Vec<MemoryStore>,
    clock: StoreClock,
}

pub async fn quorum() -> Quorum {
    let clock = StoreClock::manual(START);
    Quorum { roots: (0..3).map(|_| MemoryStore::with_clock(clock.clone())).collect(), clock }
}

#[async_trait]
impl Fixture for Quorum {
    async fn open(&self) -> Arc<dyn Store> {
        let nodes = self.roots.iter().map(|root| Arc::new(root.peer()) as Arc<dyn Store>);
        Arc::new(QuorumStore::new(nodes.collect()).unwrap())
    }

    fn exempt(&self, check: &str) -> Option<&'static str> {
        crate::exempt::on_a_quorum(check)
    }

    async fn pass(&self, time: Duration) {
        pass_on(Some(&self.clock), with_drift(time)).await;
    }
}

/// Leases live a little longer at the nodes of a quorum than their holders believe.
fn with_drift(time: Duration) -> Duration {
    time + time / 100 + Duration::from_millis(3)
}

/// A node that is opened late, and is there.
pub struct Late(Memory);

pub async fn late() -> Late {
    Late(memory().await)
}

#[async_trait]
impl Fixture for Late {
    async fn open(&self) -> Arc<dyn Store> {
        let store = self.0.open().await;
        let why = soloist::Error::Closed; // any
        let open = Box::new(move || {
            let opened: futures_util::future::BoxFuture<'static, _> =
                Box::pin(std::future::ready(Ok(Arc::clone(&store))));
            opened
        });
        let late = LateStore::new("memory:", &why, None, open);
        let opened = async {
            while late.list("").await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(crate::LIMIT, opened).await.expect("it is opened");
        Arc::new(late)
    }

    async fn pass(&self, time: Duration) {
        self.0.pass(time).await;
    }
}

/// Redis with the keys of an older system taken along, on real time: that system has no other.
pub struct Bridge(DrivenRedis);

pub async fn bridge() -> Bridge {
    Bridge(DrivenRedis::new(None).await)
}

#[async_trait]
impl Fixture for Bridge {
    async fn open(&self) -> Arc<dyn Store> {
        let store = RedisStore::connect_with(&self.0.url(), RedisOptions::default()).await.unwrap();
        Arc::new(BridgeStore::new(store, Old::Locksmith { prefix: "__locksmith:".into() }))
    }

    async fn kill(&self, session: &Arc<dyn Store>) {
        self.0.close(session).await;
    }

    async fn pass(&self, time: Duration) {
        self.0.pass(time).await;
    }
}
