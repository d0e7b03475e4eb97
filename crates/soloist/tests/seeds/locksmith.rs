//! locksmith: `locksmith([key], callback)`, with `release` handed to the callback.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use soloist::{APP_KEY, Error};

use crate::crash::Doomed;
use crate::fleet::{Fleet, in_line, soon};

const MS: fn(u64) -> Duration = Duration::from_millis;

pub async fn one_lock_for_the_whole_application(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.app_lock().await.unwrap();
    assert_eq!(lease.key().as_str(), APP_KEY);
    assert!(b.app_lock().wait(Duration::ZERO).await.is_err());
    let other = fleet.client_with(|builder| builder.prefix("another application:")).await;
    assert!(other.try_lock(APP_KEY).await.unwrap().is_some());
}

pub async fn an_empty_key_locks_nothing(fleet: &Fleet) {
    let a = fleet.client("a").await;
    assert!(matches!(a.lock("").await, Err(Error::EmptyName { what: "key" })));
    assert!(a.list("*").await.unwrap().is_empty());
}

pub async fn waits_until_it_is_there(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").await.unwrap();
    let token = lease.token();
    let waiting = tokio::spawn(async move { b.lock("k").await.map(|lease| lease.token()) });
    in_line(&a, "k", 1).await;
    assert!(!waiting.is_finished());
    lease.release().await.unwrap();
    assert!(soon(waiting).await.unwrap().unwrap() > token);
}

pub async fn release_lets_the_next_in(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    a.lock("k").await.unwrap().release().await.unwrap();
    assert!(b.try_lock("k").await.unwrap().is_some());
}

/// 120 s by default there; here a holder that lives renews its lease, and the ttl frees that of a dead one.
pub async fn the_timeout_is_the_life_of_the_lease(fleet: &Fleet) {
    let b = fleet.client("b").await;
    let doomed = Doomed::new(fleet, "a").await;
    let long = b.lock("long").ttl(Duration::from_secs(120)).await.unwrap();
    let holding = b.inspect("long").await.unwrap().holding.unwrap();
    assert_eq!(holding.deadline.unwrap() - holding.since, 120_000_000);
    let lease = doomed.client.lock("k").ttl(MS(300)).await.unwrap();
    let token = lease.token();
    doomed.die();
    drop(lease);
    assert!(soon(b.lock("k").into_future()).await.unwrap().token() > token);
    long.release().await.unwrap();
}

pub async fn the_prefix_is_put_before_every_key(fleet: &Fleet) {
    let a = fleet.client_with(|builder| builder.holder("a").prefix("__locksmith:")).await;
    let lease = a.lock("k").await.unwrap();
    assert_eq!(lease.key().as_str(), "k");
    let plain = fleet.client("plain").await;
    assert_eq!(plain.inspect("__locksmith:k").await.unwrap().holding.unwrap().token, lease.token());
    assert!(plain.inspect("k").await.unwrap().holding.is_none());
}

/// Look, lock, look again, fill, release.
pub async fn a_cache_is_filled_once(fleet: &Fleet) {
    let (cache, fills) = (Arc::new(Mutex::new(None::<u32>)), Arc::new(AtomicU32::new(0)));
    let mut tasks = Vec::new();
    for n in 0..8 {
        let client = fleet.client(&format!("c{n}")).await;
        let (cache, fills) = (Arc::clone(&cache), Arc::clone(&fills));
        tasks.push(tokio::spawn(async move {
            let look = || *cache.lock().unwrap();
            if let Some(value) = look() {
                return value;
            }
            let lease = client.lock("fill").await.unwrap();
            if look().is_none() {
                fills.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                *cache.lock().unwrap() = Some(42);
            }
            lease.release().await.unwrap();
            look().unwrap()
        }));
    }
    for task in tasks {
        assert_eq!(soon(task).await.unwrap(), 42);
    }
    assert_eq!(fills.load(Ordering::SeqCst), 1);
}

/// Who polls once a second comes in at random; here they come in as they asked.
pub async fn repaired_served_in_order_not_by_poll(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let lease = a.lock("k").await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..5u64 {
        let (client, order) = (fleet.client(&format!("c{n}")).await, Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let lease = client.lock("k").await.unwrap();
            order.lock().unwrap().push(n);
            lease.release().await.unwrap();
        }));
        in_line(&a, "k", n + 1).await;
    }
    lease.release().await.unwrap();
    for task in tasks {
        soon(task).await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

/// The expiry is no time that a client wrote: it is the store's time of the grant plus the ttl.
pub async fn repaired_the_stores_clock_decides(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let _lease = a.lock("k").ttl(Duration::from_secs(60)).await.unwrap();
    let info = b.inspect("k").await.unwrap();
    let holding = info.holding.unwrap();
    assert_eq!(holding.deadline.unwrap() - holding.since, 60_000_000);
    assert!(holding.since <= info.now);
}

pub async fn repaired_never_releases_what_another_holds(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let old = a.lock("k").await.unwrap();
    b.break_lock("k").await.unwrap();
    let new = b.lock("k").await.unwrap();
    assert!(matches!(old.release().await, Err(Error::Lost { .. })));
    assert_eq!(a.inspect("k").await.unwrap().holding.unwrap().token, new.token());
    new.release().await.unwrap();
}
