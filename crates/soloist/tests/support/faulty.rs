//! A client over a store that fails.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;

use soloist::store::memory::MemoryStore;
use soloist::testing::FaultyStore;
use soloist::{Client, Store};

/// A client over a faulty store, the faults, and somebody else on the same state.
pub fn faulty() -> (Client, Arc<FaultyStore>, Client) {
    let root = MemoryStore::new();
    let other = Client::builder().store(Arc::new(root.peer())).unwrap();
    let store = Arc::new(FaultyStore::new(Arc::new(root)));
    (Client::builder().holder("a").store(Arc::clone(&store) as Arc<dyn Store>).unwrap(), store, other)
}

/// Until so many calls have failed.
pub async fn failures(store: &FaultyStore, count: u64) {
    crate::fleet::soon(store.watch().wait_for(|counts| counts.failed() >= count)).await.unwrap();
}
