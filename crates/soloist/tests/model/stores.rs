//! The stores, each on a driven clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use soloist::Store;
use soloist::store::memory::{MemoryStore, StoreClock};

use crate::peer::Ground;
use crate::support::driven::{DrivenLocal, DrivenRedis};

/// When all clocks begin.
pub const START: u64 = 1_700_000_000_000_000;

struct Memory {
    root: MemoryStore,
    clock: StoreClock,
}

pub fn memory() -> Box<dyn Ground> {
    let clock = StoreClock::manual(START);
    Box::new(Memory { root: MemoryStore::with_clock(clock.clone()), clock })
}

#[async_trait]
impl Ground for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.root.peer())
    }

    async fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }
}

pub fn local() -> Box<dyn Ground> {
    Box::new(DrivenLocal::new(Some(START)))
}

#[async_trait]
impl Ground for DrivenLocal {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn open(&self) -> Arc<dyn Store> {
        DrivenLocal::open(self)
    }

    async fn advance(&self, time: Duration) {
        self.pass(time).await;
    }
}

pub async fn redis() -> Box<dyn Ground> {
    Box::new(DrivenRedis::new(Some(START)).await)
}

#[async_trait]
impl Ground for DrivenRedis {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn open(&self) -> Arc<dyn Store> {
        DrivenRedis::open(self).await
    }

    async fn advance(&self, time: Duration) {
        self.pass(time).await;
    }

    async fn ways(&self) -> Vec<(&'static str, u64)> {
        let mut ways = Vec::new();
        for way in ["grant", "place", "acquire", "end", "release", "renewal", "renew"] {
            ways.push((way, self.took(way).await));
        }
        ways
    }

    async fn kill(&self, session: Arc<dyn Store>) {
        DrivenRedis::kill(self, session).await;
    }
}

/// A Redis whose events nobody hears: what it does not tell then is not compared, all else is.
struct Unwatched(DrivenRedis);

pub async fn unwatched_redis() -> Box<dyn Ground> {
    Box::new(Unwatched(DrivenRedis::new(Some(START)).await))
}

#[async_trait]
impl Ground for Unwatched {
    fn name(&self) -> &'static str {
        "redis, unwatched"
    }

    fn is_watched(&self) -> bool {
        false
    }

    async fn open(&self) -> Arc<dyn Store> {
        Ground::open(&self.0).await
    }

    async fn advance(&self, time: Duration) {
        Ground::advance(&self.0, time).await;
    }

    async fn ways(&self) -> Vec<(&'static str, u64)> {
        let mut ways = Ground::ways(&self.0).await;
        // Where somebody is to be told, a hand-over goes the long way.
        for way in ["hand-over", "rotation"] {
            ways.push((way, self.0.took(way).await));
        }
        ways
    }

    async fn kill(&self, session: Arc<dyn Store>) {
        Ground::kill(&self.0, session).await;
    }
}
