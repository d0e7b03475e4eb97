//! redis-reservation: a named worker reserves a resource and keeps it with a heartbeat.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use soloist::{Error, Loss};

use crate::crash::Doomed;
use crate::fleet::{Fleet, in_line, soon};

const MS: fn(u64) -> Duration = Duration::from_millis;

pub async fn by_names_the_worker(fleet: &Fleet) {
    let worker = fleet.client("worker-7").await;
    let _lease = worker.lock("resource").await.unwrap();
    let holding = fleet.client("b").await.inspect("resource").await.unwrap().holding.unwrap();
    assert_eq!(holding.holder.as_str(), "worker-7");
}

pub async fn lock_answers_at_once(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let got = a.try_lock("resource").await.unwrap();
    assert!(got.is_some());
    assert!(b.try_lock("resource").await.unwrap().is_none());
}

pub async fn wait_until_lock_answers_the_key(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("resource").await.unwrap();
    let waiting = tokio::spawn(async move { b.lock("resource").await.unwrap().key().to_string() });
    in_line(&a, "resource", 1).await;
    lease.release().await.unwrap();
    assert_eq!(soon(waiting).await.unwrap(), "resource");
}

/// `heartbeat_interval` is a third of the ttl, by itself.
pub async fn the_heartbeat_keeps_it(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let ttl = MS(600);
    let lease = a.lock("resource").ttl(ttl).await.unwrap();
    assert!(b.lock("resource").wait(ttl * 3).await.is_err(), "an unrenewed lease would be b's by now");
    assert!(!lease.is_lost());
    lease.release().await.unwrap();
}

pub async fn without_a_heartbeat_the_ttl_ends_it(fleet: &Fleet) {
    let b = fleet.client("b").await;
    let doomed = Doomed::new(fleet, "a").await;
    let lease = doomed.client.lock("resource").ttl(MS(300)).await.unwrap();
    let token = lease.token();
    doomed.die();
    drop(lease);
    assert!(soon(b.lock("resource").into_future()).await.unwrap().token() > token);
}

pub async fn release_says_that_it_was_lost(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("resource").await.unwrap();
    let _new = b.lock("resource").force().await.unwrap();
    let error = lease.release().await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    assert!(error.hint().unwrap().contains("stop the work"));
}

pub async fn losing_it_reaches_the_worker(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("resource").await.unwrap();
    let working = tokio::spawn(async move { lease.run_until_lost(std::future::pending::<()>()).await });
    let _new = b.lock("resource").force().await.unwrap();
    match soon(working).await.unwrap() {
        Err(Error::Lost { loss: Loss::TakenOver { by }, .. }) => assert_eq!(by.as_str(), "b"),
        other => panic!("{other:?}"),
    }
}

pub async fn repaired_many_reservations_at_once(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let one = a.lock("one").await.unwrap();
    let two = a.lock("two").await.unwrap();
    one.release().await.unwrap();
    assert!(b.try_lock("one").await.unwrap().is_some());
    assert!(b.try_lock("two").await.unwrap().is_none(), "the other reservation stands");
    two.release().await.unwrap();
}

/// Compare and extend are one step, so there is no moment between them.
pub async fn repaired_a_heartbeat_never_extends_anothers(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let old = a.lock("resource").await.unwrap();
    let id = old.id();
    let new = b.lock("resource").holder("a").force().await.unwrap();
    let deadline = || async { b.inspect("resource").await.unwrap().holding.unwrap().deadline };
    let before = deadline().await;
    assert!(matches!(b.renew(&id, MS(600_000)).await, Err(Error::NotHeld { .. })), "of the same name, even");
    assert!(matches!(old.renew(MS(600_000)).await, Err(Error::Lost { .. })));
    assert_eq!(deadline().await, before);
    new.release().await.unwrap();
}

/// Nobody asks again every second: the release itself makes the next one the holder.
pub async fn repaired_the_next_is_woken_in_order(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let lease = a.lock("resource").await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..3u64 {
        let (client, order) = (fleet.client(&format!("worker-{n}")).await, Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let lease = client.lock("resource").await.unwrap();
            order.lock().unwrap().push(n);
            lease.release().await.unwrap();
        }));
        in_line(&a, "resource", n + 1).await;
    }
    lease.release().await.unwrap();
    for task in tasks {
        soon(task).await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
}
