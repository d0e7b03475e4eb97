//! The stores, each as a fixture.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use soloist::Store;
use soloist::store::memory::{MemoryStore, StoreClock};

use crate::fixture::Fixture;

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
