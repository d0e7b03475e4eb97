//! Sessions that end.

use soloist::Error;
use soloist::protocol::{Mode, Released, Request};

use crate::fixture::*;

pub async fn a_dead_waiter_is_skipped_in_the_same_step(fixture: &dyn Fixture) {
    let (a, dead, c) = (fixture.open().await, fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    granted(&a, &first).await;
    queued(&dead, &lock("k", "dead 1")).await;
    queued(&dead, &lock("k", "dead 2")).await;
    let third = lock("k", "third");
    let waiter = in_line(&c, &third).await;
    fixture.kill(&dead).await;
    release(&a, &first).await;
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("third"), "in the step of the release itself");
    grant_of(waiter.answer().await);
}

pub async fn a_key_is_free_when_only_dead_ones_wait(fixture: &dyn Fixture) {
    let (a, dead) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    granted(&a, &first).await;
    queued(&dead, &lock("k", "dead")).await;
    fixture.kill(&dead).await;
    release(&a, &first).await;
    granted(&a, &trying(lock("k", "next"))).await;
}

pub async fn an_unbound_lease_outlives_its_session(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    let grant = granted(&a, &first).await;
    fixture.kill(&a).await;
    busy_of(ask(&b, &trying(lock("k", "second"))).await);
    // Whoever has its ticket can release it: this is how a lease lives on in another process.
    assert_eq!(release(&b, &first).await, Released::Released { token: grant.token });
}

pub async fn closing_wakes_the_waiters(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    granted(&a, &lock("k", "first")).await;
    let mut waiters = Vec::new();
    for n in 0..3 {
        waiters.push(in_line(&b, &lock("k", &format!("waiter {n}"))).await);
    }
    b.close().await;
    for waiter in waiters {
        assert!(matches!(waiter.result().await, Err(Error::Closed)));
    }
}

pub async fn a_closed_store_says_so(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let request = lock("k", "h");
    let standing = {
        granted(&a, &lock("k", "first")).await;
        queued(&b, &request).await
    };
    b.close().await;
    b.close().await;
    for mode in [Mode::Try, Mode::Line, Mode::Force] {
        let request = Request { mode, ..lock("k2", "h") };
        assert!(matches!(b.acquire(&request).await, Err(Error::Closed)), "{mode:?}");
    }
    assert!(matches!(soon(b.wait(&request, standing)).await, Err(Error::Closed)));
    assert!(matches!(b.leave(&key("k"), request.ticket).await, Err(Error::Closed)));
    assert!(matches!(b.renew(&[renewal(&request, secs(1))]).await, Err(Error::Closed)));
    assert!(matches!(b.publish(&value(&request, "v", secs(1))).await, Err(Error::Closed)));
    assert!(matches!(b.inspect(&key("k")).await, Err(Error::Closed)));
    assert!(matches!(b.list("").await, Err(Error::Closed)));
    assert!(matches!(b.examine(secs(30)).await, Err(Error::Closed)));
    // The others go on.
    granted(&a, &trying(lock("k2", "h"))).await;
}
