//! A machine that sleeps: clocks go on, and no timer notices.

use std::sync::Arc;
use std::time::Duration;

use soloist::store::memory::MemoryStore;
use soloist::testing::simulate;
use soloist::{Client, Error, Loss};

/// The real clock of the system is the same: `CLOCK_BOOTTIME`, which counts sleep.
#[test]
fn a_lease_that_was_slept_through_is_lost_at_the_first_look() {
    simulate(7, |time| async move {
        let root = MemoryStore::new();
        let other = Client::builder().store(Arc::new(root.peer())).unwrap();
        let client = Client::builder().store(Arc::new(root)).unwrap();
        let lease = client.lock("k").ttl(Duration::from_secs(30)).await.unwrap();
        time.suspend(Duration::from_secs(29));
        assert!(!lease.is_lost());
        // Without another await: neither a timer nor the keeper has had a part in it.
        time.suspend(Duration::from_secs(2));
        assert!(lease.is_lost());
        assert_eq!(lease.lost().await, Loss::Expired);
        let next = other.lock("k").await.unwrap();
        assert!(next.token() > lease.token());
        assert!(matches!(lease.release().await, Err(Error::Lost { .. })));
        client.flush().await;
        assert_eq!(other.inspect("k").await.unwrap().holding.unwrap().token, next.token());
    });
}
