//! Stores on a clock that a test moves.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use soloist::Store;
use soloist::store::local::{LocalOptions, LocalStore};
use soloist::store::memory::StoreClock;
use soloist::store::redis::{RedisOptions, RedisStore};

use super::redis_server::RedisServer;

/// Local stores on a folder of their own.
pub struct DrivenLocal {
    folder: tempfile::TempDir,
    /// `None` is real time.
    clock: Option<StoreClock>,
}

impl DrivenLocal {
    pub fn new(start: Option<u64>) -> Self {
        DrivenLocal { folder: tempfile::tempdir().unwrap(), clock: start.map(StoreClock::manual) }
    }

    pub fn open(&self) -> Arc<dyn Store> {
        let path = Some(self.folder.path().join("store"));
        Arc::new(LocalStore::open_with(LocalOptions { path, clock: self.clock.clone() }).unwrap())
    }

    pub async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => tokio::time::sleep(time).await,
        }
    }
}

/// Redis stores on a server of their own.
pub struct DrivenRedis {
    server: RedisServer,
    /// `None` is real time.
    clock: Option<(RedisStore, AtomicU64)>,
}

impl DrivenRedis {
    pub async fn new(start: Option<u64>) -> Self {
        let server = RedisServer::start();
        let clock = match start {
            Some(start) => {
                let driver =
                    RedisStore::connect_driven(&server.url(), RedisOptions::default()).await.unwrap();
                driver.set_clock(start).await.unwrap();
                Some((driver, AtomicU64::new(start)))
            }
            None => None,
        };
        DrivenRedis { server, clock }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        let (url, options) = (self.server.url(), RedisOptions::default());
        Arc::new(match self.clock {
            Some(_) => RedisStore::connect_driven(&url, options).await.unwrap(),
            None => RedisStore::connect_with(&url, options).await.unwrap(),
        })
    }

    /// Ends a session as a kill does, without a goodbye: it is the last to have it.
    #[allow(dead_code)] // not every test kills
    pub async fn kill(&self, session: Arc<dyn Store>) {
        assert_eq!(Arc::strong_count(&session), 1);
        self.ended(async { drop(session) }).await;
    }

    /// Closes a session.
    #[allow(dead_code)] // not every test closes
    pub async fn close(&self, session: &Arc<dyn Store>) {
        self.ended(session.close()).await;
    }

    /// Returns when the server knows of the end: it is only as soon as the connection's.
    async fn ended(&self, end: impl Future<Output = ()>) {
        let mut admin = self.server.admin().await;
        let before = subscriptions(&mut admin).await;
        end.await;
        let ended = async {
            while subscriptions(&mut admin).await >= before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended)
            .await
            .expect("a store that has ended hears no more");
    }

    /// How often a script took this way, on a driven clock.
    #[allow(dead_code)] // not every test counts
    pub async fn took(&self, way: &str) -> u64 {
        let (mut get, mut admin) = (redis::cmd("GET"), self.server.admin().await);
        let count: Option<u64> =
            get.arg(format!("soloist:1:took:{way}")).query_async(&mut admin).await.unwrap();
        count.unwrap_or(0)
    }

    pub async fn pass(&self, time: Duration) {
        match &self.clock {
            Some((driver, now)) => {
                let us = u64::try_from(time.as_micros()).unwrap();
                driver.set_clock(now.fetch_add(us, Ordering::SeqCst) + us).await.unwrap();
            }
            None => tokio::time::sleep(time).await,
        }
    }
}

async fn subscriptions(admin: &mut redis::aio::MultiplexedConnection) -> usize {
    let channels: Vec<Vec<u8>> =
        redis::cmd("PUBSUB").arg("CHANNELS").arg("soloist:1:s:*").query_async(admin).await.unwrap();
    channels.len()
}
