//! Free keys of a cluster, which are taken without a script.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use soloist::protocol::{Answer, Grant, Request, Ttl, Who};
use soloist::store::redis::RedisStore;
use soloist::store::{EventStream, Told};
use soloist::{EventKind, Store};

use crate::cluster::{Cluster, hasty, soon, until};
use crate::failover::{LONG, confirmed};
use crate::moves::{by_message, number};
use crate::request;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn lock(ttl: Duration) -> Request {
    request::lock("k", "somebody", Ttl::new(ttl))
}

fn mine(request: &Request) -> Who {
    Who::Ticket(request.ticket)
}

/// Those at a cluster, and the node that has the key.
struct Scene {
    cluster: Cluster,
    store: Arc<RedisStore>,
    other: Arc<RedisStore>,
    slot: u16,
    at: usize,
}

impl Scene {
    async fn new() -> Self {
        let cluster = Cluster::start(2, false).await;
        let slot = cluster.slot_of(0, "k").await;
        let at = cluster.owner(0, slot).await.unwrap();
        let (store, other) = (cluster.store(hasty()).await, cluster.store(hasty()).await);
        let scene = Scene { cluster, store, other, slot, at };
        // The first grant of a shard is a script's, which makes its counter.
        let first = lock(MS(60_000));
        grant(&*scene.store, &first).await;
        scene.store.release(&first.key, &mine(&first)).await.unwrap();
        scene
    }

    /// How often the nodes ran scripts.
    async fn scripts(&self) -> u64 {
        let mut scripts = 0;
        for node in 0..2 {
            let info: String = self.cluster.ask(node, &["INFO", "commandstats"]).await.unwrap();
            for line in ["cmdstat_eval:", "cmdstat_evalsha:"] {
                scripts += number(&info, line, "calls=") - number(&info, line, "failed_calls=");
            }
        }
        scripts
    }

    /// Asks with the clock of the node freshly read. Answers the grant, and how many scripts that took.
    async fn asks(&self, request: &Request) -> (Grant, u64) {
        loop {
            let (before, began) = (self.scripts().await, Instant::now());
            self.store.inspect(&request.key).await.unwrap();
            let granted = grant(&*self.store, request).await;
            if began.elapsed() < MS(900) {
                return (granted, self.scripts().await - before - 1);
            }
            self.store.release(&request.key, &mine(request)).await.unwrap();
        }
    }
}

async fn grant(store: &dyn Store, request: &Request) -> Grant {
    match soon(store.acquire(request)).await.unwrap().answer {
        Answer::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

async fn heard(events: &mut EventStream) -> EventKind {
    match soon(events.next()).await.unwrap() {
        Told::Event(event) => event.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_key_is_taken_without_a_script_and_is_like_any_other() {
    let scene = Scene::new().await;
    let request = lock(MS(60_000));
    let (granted, scripts) = scene.asks(&request).await;
    assert_eq!(scripts, 0);
    let info = scene.other.inspect(&request.key).await.unwrap();
    assert_eq!(info.holding.unwrap().token, granted.token);
    // Who comes later stands in line, and is handed it.
    let next = request::lock("k", "next", Ttl::new(MS(60_000)));
    let answer = soon(scene.other.acquire(&next)).await.unwrap().answer;
    assert!(matches!(answer, Answer::Queued(_)), "{answer:?}");
    scene.store.release(&request.key, &mine(&request)).await.unwrap();
    assert!(grant(&*scene.other, &next).await.token > granted.token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_its_slot_moves_it_is_taken_once_and_by_a_growing_token() {
    let scene = Scene::new().await;
    let Scene { cluster, slot, at, .. } = &scene;
    let [taken, held, request] = [(); 3].map(|()| lock(MS(60_000)));
    let (before, scripts) = scene.asks(&taken).await;
    assert_eq!(scripts, 0);
    scene.store.release(&taken.key, &mine(&taken)).await.unwrap();
    cluster.begin_move(*slot, *at, 1 - at).await;
    let store = Arc::clone(&scene.store);
    let asks = tokio::spawn(async move { grant(&*store, &held).await });
    until(async || {
        let told: String = cluster.ask(*at, &["INFO", "errorstats"]).await.unwrap();
        told.contains("errorstat_ASK") || told.contains("errorstat_TRYAGAIN")
    })
    .await;
    assert!(!asks.is_finished(), "neither node has all of the slot");
    cluster.end_move(*slot, *at, 1 - at).await;
    let granted = soon(asks).await.unwrap();
    assert!(granted.token > before.token);
    let answer = soon(scene.other.acquire(&request)).await.unwrap().answer;
    assert!(matches!(answer, Answer::Queued(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_watched_is_told() {
    let scene = Scene::new().await;
    let gone = lock(MS(600));
    assert_eq!(scene.asks(&gone).await.1, 0);
    // Begun before anybody watches, ended after it, by its deadline.
    let mut events = scene.other.events().await.unwrap();
    until(async || scene.other.inspect(&gone.key).await.unwrap().holding.is_none()).await;
    scene.other.touch(&gone.key).await.unwrap();
    assert_eq!(heard(&mut events).await, EventKind::Expired);

    let request = lock(MS(60_000));
    assert_eq!(scene.asks(&request).await.1, 1, "the script has to tell of it");
    assert_eq!(heard(&mut events).await, EventKind::Locked);
}

/// The next renewal is far away: so the first request for a shard waits until it is heard, also one for a free key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_hears_that_it_was_taken_from_him() {
    let cluster = Cluster::start(2, false).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    for n in 0..3 {
        let key = format!("k{n}");
        // A script makes the counter.
        soon(b.lock(&key).await.unwrap().release()).await.unwrap();
        let lease = soon(a.lock(&key).ttl(LONG).into_future()).await.unwrap();
        confirmed(&b, &key).await;
        let taken = soon(b.lock(&key).force().into_future()).await.unwrap();
        by_message(lease.lost()).await;
        soon(taken.release()).await.unwrap();
    }
}
