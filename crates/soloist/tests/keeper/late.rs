//! A request that the store carries out when nobody expects it any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use soloist::store::memory::MemoryStore;
use soloist::testing::{Fault, FaultyStore, Verb, simulate};
use soloist::{Client, Error, Moment, Store};

use crate::fleet::{soon, until};
use crate::odd::Odd;

#[tokio::test]
async fn a_request_that_is_carried_out_after_it_was_left_is_left_again() {
    let root = MemoryStore::new();
    let other = Client::builder().store(Arc::new(root.peer())).unwrap();
    let store = Arc::new(Odd::late(root));
    let client = Client::builder().store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    let asker = client.clone();
    let mut asking = Box::pin(async move { asker.lock("k").no_expiry().await });
    assert!((&mut asking).now_or_never().is_none());
    drop(asking);
    soon(client.flush()).await;
    assert_eq!(store.left(), 2, "before and after it was carried out");
    assert!(store.was_carried_out());
    assert!(other.inspect("k").await.unwrap().holding.is_none());
}

#[tokio::test]
async fn closing_waits_for_a_request_that_may_still_be_carried_out() {
    let root = MemoryStore::new();
    let other = Client::builder().store(Arc::new(root.peer())).unwrap();
    let store = Arc::new(Odd::late(root));
    let client = Client::builder().store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    let asker = client.clone();
    let asking = tokio::spawn(async move { asker.lock("k").no_expiry().await.map(drop) });
    until(|| async { store.is_asked() }).await;
    soon(client.close()).await;
    assert!(store.was_carried_out());
    assert!(soon(asking).await.unwrap().is_err());
    assert!(other.inspect("k").await.unwrap().holding.is_none());
}

#[tokio::test]
async fn nothing_is_sent_after_the_end_of_its_client() {
    let store = Arc::new(Odd::late(MemoryStore::new()));
    store.hesitates.store(true, Ordering::SeqCst);
    let client = Client::builder().store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    let asker = client.clone();
    let mut asking = Box::pin(async move { asker.lock("k").await.map(drop) });
    assert!((&mut asking).now_or_never().is_none());
    soon(client.close()).await;
    assert!(matches!(soon(asking).await, Err(Error::Closed)));
    assert!(!store.is_asked());
}

#[tokio::test]
async fn who_was_answered_no_is_not_waited_for_at_the_end() {
    let root = MemoryStore::new();
    let other = Client::builder().store(Arc::new(root.peer())).unwrap();
    let store = Arc::new(FaultyStore::new(Arc::new(root)));
    // It settles late: a request may be carried out for so long after it was given up.
    store.plan(Verb::Touch, Fault::Straggles(Duration::from_secs(3600)));
    assert!(store.settles() >= Duration::from_secs(3600));
    let client = Client::builder().store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
    let held = other.lock("full").await.unwrap();
    let full = client.lock("full").max_waiting(0).await;
    assert!(matches!(full, Err(Error::LineFull { .. })), "{full:?}");
    assert!(client.try_lock("full").await.unwrap().is_none());
    store.plan(Verb::Acquire, Fault::Refused);
    let refused = client.lock("refused").await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    soon(client.close()).await;
    drop(held);
}

/// A lease of `ttl` of which a shorter renewal is given up, and carried out later, after a longer one was confirmed.
fn a_shorter_renewal_straggles(ttl: Duration, owners: bool) {
    simulate(1, |_| async move {
        let root = MemoryStore::new();
        let other = Client::builder().store(Arc::new(root.peer())).unwrap();
        let store = Arc::new(FaultyStore::new(Arc::new(root)));
        let client = Client::builder().store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
        let lease = client.lock("k").ttl(ttl).await.unwrap();
        store.plan(Verb::Renew, Fault::Straggles(Duration::from_millis(500)));
        if owners {
            assert!(lease.renew(Duration::from_secs(1)).await.is_err());
        } else {
            store.watch().wait_for(|counts| counts.of_kind("straggles") == 1).await.unwrap();
        }
        lease.renew(Duration::from_secs(60)).await.unwrap();
        // The store counts by the shorter one from the moment on at which it is carried out. Whoever asks only then
        // hears how long that is.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let got = other.lock("k").wait(Duration::from_secs(10)).await;
        assert!(got.is_err(), "two hold it: {} {got:?}", lease.is_lost());
        assert!(!lease.is_lost(), "it was renewed by the shorter one");
        // That is settled by now.
        let left = lease.deadline().unwrap().since(Moment::now());
        assert!(left > Duration::from_secs(30), "{left:?}");
        let renewals = store.counts().asked(Verb::Renew);
        assert!(renewals < 10, "{renewals}");
    });
}

#[test]
fn a_shorter_renewal_that_was_given_up_is_counted_by_until_it_is_settled() {
    a_shorter_renewal_straggles(Duration::from_secs(30), true);
}

#[test]
fn the_keepers_own_are_too() {
    a_shorter_renewal_straggles(Duration::from_secs(1), false);
}
