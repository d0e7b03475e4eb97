//! A lease that is held for so long at most.

use std::time::Duration;

use soloist::{Error, Flight, Loss, Moment};

use crate::fleet::{Fleet, in_line, soon};

const MS: fn(u64) -> Duration = Duration::from_millis;

async fn ends_though_its_holder_lives(fleet: Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let most = MS(1200);
    for ttl in [Some(MS(600)), Some(MS(60_000)), None] {
        let lock = a.lock("k").max_hold(most);
        let before = Moment::now();
        let stuck = match ttl {
            Some(ttl) => lock.ttl(ttl).await.unwrap(),
            None => lock.no_expiry().await.unwrap(),
        };
        let after = Moment::now();
        // Nor does a longer ttl help.
        stuck.renew(MS(3_600_000)).await.unwrap();
        // Held beyond its ttl, but not beyond the most.
        let next = soon(async { b.lock("k").await }).await.unwrap();
        assert!(Moment::now() >= before.after(most), "not before");
        assert!(next.token() > stuck.token());
        assert_eq!(soon(stuck.lost()).await, Loss::Expired);
        assert!(stuck.deadline().unwrap() <= after.after(most));
        assert!(matches!(stuck.release().await, Err(Error::Lost { loss: Loss::Expired, .. })));
        next.release().await.unwrap();
    }
    // A key that was handed over is held for as long, and so is a try's and a flight's.
    let held = b.lock("k").await.unwrap();
    let asker = a.clone();
    let waiting = tokio::spawn(async move { asker.lock("k").max_hold(most).await.unwrap() });
    in_line(&b, "k", 1).await;
    held.release().await.unwrap();
    let stuck = soon(waiting).await.unwrap();
    let tried = a.try_lock("tried").max_hold(most).await.unwrap().unwrap();
    let flight = a.once("flight").max_hold(most).join::<u32>().await.unwrap();
    let Flight::Leader(leader) = flight else { panic!("nobody else leads") };
    for lease in [&stuck, &tried, leader.lease()] {
        assert_eq!(soon(lease.lost()).await, Loss::Expired);
    }
    let refused = a.lock("k").max_hold(Duration::ZERO).await;
    assert!(matches!(refused, Err(Error::BadDuration { what: "max_hold", .. })));
}

#[tokio::test]
async fn the_longest_hold_ends_in_memory() {
    ends_though_its_holder_lives(Fleet::memory().await).await;
}

#[tokio::test]
async fn the_longest_hold_ends_on_the_local_store() {
    ends_though_its_holder_lives(Fleet::local().await).await;
}

#[tokio::test]
async fn the_longest_hold_ends_on_redis() {
    ends_though_its_holder_lives(Fleet::redis().await).await;
}
