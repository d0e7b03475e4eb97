//! The stores, each on a driven clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use soloist::Store;
use soloist::store::memory::{MemoryStore, StoreClock};

use crate::peer::Ground;

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
