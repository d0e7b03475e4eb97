//! Leases that end by themselves.

use soloist::protocol::{HANDOVER_TTL, Left, Released, Renewed, Ttl};

use crate::fixture::*;

pub async fn a_lease_ends_at_its_ttl(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = living(lock("k", "first"), millis(500));
    let before = granted(&a, &first).await;
    fixture.pass(millis(501)).await;
    assert_eq!(holder_of(&a, "k").await, None);
    let after = granted(&b, &trying(lock("k", "second"))).await;
    assert!(after.token > before.token, "tokens grow over expiry");
}

pub async fn an_expired_lease_is_not_held(fixture: &dyn Fixture) {
    let a = fixture.open().await;
    let first = living(lock("k", "first"), millis(500));
    granted(&a, &first).await;
    fixture.pass(millis(501)).await;
    assert_eq!(release(&a, &first).await, Released::NotHeld(None));
    assert_eq!(a.renew(&[renewal(&first, secs(60))]).await.unwrap(), [Renewed::NotHeld(None)]);
    assert_eq!(a.leave(&first.key, first.ticket).await.unwrap(), Left::Absent);
    assert_eq!(inspect(&a, "k").await.holding, None, "asking about a dead lease does not revive it");
}

pub async fn a_renewed_lease_lives_on(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = living(lock("k", "first"), millis(3000));
    granted(&a, &first).await;
    for _ in 0..3 {
        fixture.pass(millis(1500)).await;
        let renewed = a.renew(&[renewal(&first, millis(3000))]).await.unwrap();
        assert!(matches!(renewed[0], Renewed::Renewed { .. }), "{renewed:?}");
    }
    busy_of(ask(&b, &trying(lock("k", "second"))).await);
}

pub async fn the_waiter_recovers_an_expired_lease_by_itself(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = living(lock("k", "first"), millis(300));
    granted(&a, &first).await;
    let waiter = in_line(&b, &lock("k", "second")).await;
    fixture.pass(millis(300)).await;
    grant_of(waiter.answer().await);
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("second"));
}

pub async fn any_touch_hands_an_expired_lease_to_the_next(fixture: &dyn Fixture) {
    let (a, b, c) = (fixture.open().await, fixture.open().await, fixture.open().await);
    let first = living(lock("k", "first"), secs(4));
    granted(&a, &first).await;
    let second = in_line(&b, &lock("k", "second")).await;
    let third = in_line(&a, &lock("k", "third")).await;
    fixture.pass(secs(4)).await;
    c.touch(&key("k")).await.unwrap();
    grant_of(second.answer().await);
    assert!(!third.is_served());
}

pub async fn a_frozen_waiter_costs_the_line_its_hand_over_time_only(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (first, frozen, third) = (lock("k", "first"), lock("k", "frozen"), lock("k", "third"));
    granted(&a, &first).await;
    queued(&b, &frozen).await; // and never waits: alive, but frozen
    queued(&a, &third).await;
    release(&a, &first).await;
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("frozen"));
    fixture.pass(std::time::Duration::from_micros(HANDOVER_TTL)).await;
    a.touch(&key("k")).await.unwrap();
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("third"));
    assert_eq!(
        release(&b, &frozen).await,
        match inspect(&a, "k").await.holding {
            Some(holding) => Released::NotHeld(Some(holding)),
            None => panic!("the third holds it"),
        }
    );
}

pub async fn a_lease_can_be_given_no_end_and_an_end_again(fixture: &dyn Fixture) {
    let a = fixture.open().await;
    let first = living(lock("k", "first"), millis(500));
    granted(&a, &first).await;
    let forever = soloist::protocol::Renewal { ttl: Ttl::Forever, ..renewal(&first, secs(1)) };
    a.renew(&[forever]).await.unwrap();
    fixture.pass(millis(1000)).await;
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("first"));
    a.renew(&[renewal(&first, millis(500))]).await.unwrap();
    fixture.pass(millis(501)).await;
    assert_eq!(holder_of(&a, "k").await, None);
}
