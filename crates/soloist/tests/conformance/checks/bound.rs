//! Leases bound to their session, on stores that can tell when it ends.

use soloist::protocol::{Renewal, Request, Ttl};

use crate::fixture::*;

fn bound(request: Request) -> Request {
    Request { bound: true, ttl: Ttl::Forever, ..request }
}

pub async fn a_bound_lease_ends_with_its_session(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let before = granted(&a, &bound(lock("k", "first"))).await;
    let waiter = in_line(&b, &lock("k", "second")).await;
    fixture.kill(&a).await;
    let answer = tokio::time::timeout(BY_MESSAGE, waiter.answer()).await.expect("not by the slow look");
    assert!(grant_of(answer).token > before.token);
}

pub async fn a_bound_leader_that_died_is_replaced(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    granted(&a, &bound(flight("k", "leader"))).await;
    let next = flight("k", "next");
    let waiter = in_line(&b, &next).await;
    fixture.kill(&a).await;
    grant_of(waiter.answer().await);
    b.publish(&value(&next, "v", secs(0))).await.unwrap();
}

pub async fn a_detached_lease_outlives_its_session(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = bound(lock("k", "first"));
    granted(&a, &first).await;
    let detach = Renewal { ttl: Ttl::Forever, detach: true, ..renewal(&first, secs(1)) };
    a.renew(&[detach]).await.unwrap();
    fixture.kill(&a).await;
    busy_of(ask(&b, &trying(lock("k", "second"))).await);
}

pub async fn whom_to_watch_is_told(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    granted(&a, &bound(lock("k", "first"))).await;
    let second = queued(&b, &lock("k", "second")).await;
    let third = queued(&a, &lock("k", "third")).await;
    let (holder, waiter) = (place_of(&second.answer).ahead, place_of(&third.answer).ahead);
    assert!(holder.is_some() && waiter.is_some() && holder != waiter);
    granted(&a, &lock("free", "h")).await;
    assert_eq!(
        place_of(&queued(&b, &lock("free", "h")).await.answer).ahead,
        None,
        "an unbound lease is not watched"
    );
}
