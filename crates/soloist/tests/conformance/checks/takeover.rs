//! Taking a key over by force.

use soloist::Loss;
use soloist::protocol::{Mode, Released, Renewed};
use soloist::store::Notice;

use crate::fixture::*;

pub async fn force_takes_over_and_tells_the_old_holder(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let mut notices = a.notices();
    let (old, new) = (lock("k", "old"), forcing(lock("k", "user:20")));
    let before = granted(&a, &old).await;
    let after = granted(&b, &new).await;
    assert!(after.token > before.token, "tokens grow over force");
    let lost = Notice::Lost(old.ticket, before.token, Loss::TakenOver { by: holder("user:20") });
    assert_eq!(soon(notices.recv()).await.unwrap(), lost);
    assert!(matches!(release(&a, &old).await, Released::NotHeld(Some(h)) if h.token == after.token));
    let renewed = a.renew(&[renewal(&old, secs(60))]).await.unwrap();
    assert!(matches!(&renewed[0], Renewed::NotHeld(Some(h)) if h.holder == holder("user:20")), "{renewed:?}");
}

pub async fn force_asked_again_is_the_same_take_over(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    granted(&a, &lock("k", "old")).await;
    let new = forcing(lock("k", "new"));
    let first = granted(&b, &new).await;
    assert_eq!(granted(&b, &new).await.token, first.token);
}

pub async fn force_on_a_free_key_is_a_grant(fixture: &dyn Fixture) {
    let a = fixture.open().await;
    let request = forcing(lock("k", "h"));
    let grant = granted(&a, &request).await;
    assert_eq!(release(&a, &request).await, Released::Released { token: grant.token });
}

pub async fn the_line_waits_on_behind_a_take_over(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (old, new) = (lock("k", "old"), forcing(lock("k", "new")));
    granted(&a, &old).await;
    let waiter = in_line(&a, &lock("k", "waiter")).await;
    granted(&b, &new).await;
    assert_eq!(inspect(&a, "k").await.waiting, 1);
    assert!(!waiter.is_served());
    release(&b, &new).await;
    grant_of(waiter.answer().await);
}

pub async fn a_waiter_can_lose_its_patience_and_force(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    granted(&a, &lock("k", "old")).await;
    let waiter = lock("k", "waiter");
    queued(&b, &waiter).await;
    let forced = soloist::protocol::Request { mode: Mode::Force, ..waiter };
    granted(&b, &forced).await;
    let info = inspect(&a, "k").await;
    assert_eq!((info.holding.unwrap().holder, info.waiting), (holder("waiter"), 0), "it left the line");
}

pub async fn a_take_over_in_the_same_process_is_told_too(fixture: &dyn Fixture) {
    let a = fixture.open().await;
    let mut notices = a.notices();
    let old = lock("k", "old");
    let before = granted(&a, &old).await;
    granted(&a, &forcing(lock("k", "new"))).await;
    let told = soon(notices.recv()).await.unwrap();
    let lost = Notice::Lost(old.ticket, before.token, Loss::TakenOver { by: holder("new") });
    assert_eq!(told, lost);
}
