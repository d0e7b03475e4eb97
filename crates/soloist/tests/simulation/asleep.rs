//! A machine that sleeps: its clocks go on, and none of its timers notices.

use soloist::testing::{World, simulate};
use soloist::{Client, Loss, Moment};

use crate::party::MS;

#[test]
fn a_lease_is_lost_at_once_when_the_machine_has_slept_past_its_ttl() {
    simulate(1, |time| async move {
        let world = World::new(1);
        let [client, other] = [0, 1].map(|_| Client::builder().store(world.session()).unwrap());
        let lease = client.lock("k").ttl(MS(10_000)).await.unwrap();
        time.suspend(MS(10_001));
        assert!(lease.is_lost(), "before any timer has fired");
        let woke = Moment::now();
        assert_eq!(lease.lost().await, Loss::Expired);
        assert!(Moment::now().since(woke) < MS(1100), "who waits for the loss hears of it soon");
        let next = other.lock("k").await.unwrap();
        assert!(next.token() > lease.token());
        assert!(lease.release().await.is_err());
        assert!(!next.is_lost());
    });
}

#[test]
fn a_lease_outlives_a_sleep_that_is_shorter_than_its_ttl() {
    simulate(1, |time| async move {
        let client = Client::builder().store(World::new(1).session()).unwrap();
        let lease = client.lock("k").ttl(MS(10_000)).await.unwrap();
        for _ in 0..10 {
            // The renewal that is due is sent within a second of waking.
            tokio::time::sleep(MS(3000)).await;
            time.suspend(MS(4000));
            tokio::time::sleep(MS(1500)).await;
            assert!(!lease.is_lost());
        }
        lease.release().await.unwrap();
    });
}
