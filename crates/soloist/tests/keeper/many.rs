//! Very many leases of one client. `SOLOIST_SOAK=1` has 100,000 for minutes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use soloist::{Client, Error, Lease, Loss, Moment, Store};

use crate::fleet::{Fleet, soon, until};
use crate::odd::Odd;

async fn none_is_lost(fleet: Fleet) {
    let soak = std::env::var_os("SOLOIST_SOAK").is_some();
    let (count, ttl, lives) = if soak { (100_000, 30, 6) } else { (20_000, 9, 1) };
    let ttl = Duration::from_secs(ttl);
    let client = fleet.client_with(|builder| builder.holder("holder").ttl(ttl)).await;
    let other = fleet.client("other").await;
    let began = Moment::now();
    let locks = (0..count).map(|n| {
        let client = &client;
        async move { client.lock(format!("many:{n:06}")).await.unwrap() }
    });
    let mut leases: Vec<Lease> = stream::iter(locks).buffer_unordered(200).collect().await;
    let granted = Moment::now();
    println!("{count} leases within {:?}", granted.since(began));
    // Each has been renewed after the time at which it would have ended without.
    let last = granted.after(ttl * lives);
    while leases.iter().any(|lease| lease.deadline().unwrap() <= last.after(ttl / 2)) {
        let lost = leases.iter().filter(|lease| lease.is_lost()).count();
        assert_eq!(lost, 0, "after {:?}", Moment::now().since(granted));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("the shortest has {:?} left", leases.iter().map(left).min());
    for lease in leases.iter().step_by(1999) {
        let holding = other.inspect(lease.key().as_str()).await.unwrap().holding.unwrap();
        assert_eq!(holding.token, lease.token(), "here and at the store");
    }
    // All dropped at once: each is released, none waits for its ttl.
    let last = leases.pop().unwrap();
    drop(leases);
    let dropped = Moment::now();
    soon(client.flush()).await;
    println!("all released within {:?}", Moment::now().since(dropped));
    let left = other.list("many:*").await.unwrap();
    assert_eq!(left.iter().map(|info| info.key.clone()).collect::<Vec<_>>(), [last.key().clone()]);
    drop(last);
    until(|| async { other.list("many:*").await.unwrap().is_empty() }).await;
}

fn left(lease: &Lease) -> Duration {
    lease.deadline().unwrap().since(Moment::now())
}

#[tokio::test]
async fn keys_for_which_the_store_hangs_cost_no_others() {
    let store = Arc::new(Odd::forgetful());
    let ttl = Duration::from_secs(5);
    let client = Client::builder().ttl(ttl).store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    store.stuck.store(true, Ordering::SeqCst);
    let (mut leases, mut stuck) = (Vec::new(), Vec::new());
    for n in 0..520 {
        if n % 13 == 0 {
            stuck.push(client.lock(format!("stuck:{n}")).await.unwrap());
        } else {
            leases.push(client.lock(format!("well:{n}")).await.unwrap());
        }
    }
    let last = Moment::now().after(2 * ttl);
    until(|| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!leases.iter().any(Lease::is_lost));
        leases.iter().all(|lease| lease.deadline().unwrap() > last)
    })
    .await;
    assert!(stuck.iter().all(Lease::is_lost), "they were never answered for");
}

/// A wake-up that comes late may tell of a grant that is over, when the store has given the request another one since.
#[tokio::test]
async fn a_later_grant_of_the_same_request_is_another_lease() {
    let store = Arc::new(Odd::forgetful());
    let ttl = Duration::from_secs(5);
    let client = Client::builder().ttl(ttl).store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    let lock = async |key| client.lock(key).await.unwrap();
    let (renewed, released, kept) = (lock("renewed").await, lock("released").await, lock("kept").await);
    store.names.store(2, Ordering::SeqCst);
    let gone = |told| matches!(told, Err(Error::Lost { loss: Loss::Gone, .. }));
    assert!(gone(renewed.renew(ttl).await));
    assert!(gone(released.release().await));
    assert_eq!(soon(kept.lost()).await, Loss::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_leases_are_all_renewed_in_memory() {
    none_is_lost(Fleet::memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_leases_are_all_renewed_on_redis() {
    none_is_lost(Fleet::redis().await).await;
}
