//! What happens when two things of a client happen at once.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/faulty.rs"]
mod faulty;
#[path = "client/fleet.rs"]
#[allow(dead_code)]
mod fleet;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use faulty::faulty;
use fleet::{in_line, soon, until};
use futures_util::{FutureExt, StreamExt};
use soloist::store::local::LocalStore;
use soloist::store::memory::MemoryStore;
use soloist::testing::{Fault, Verb};
use soloist::{Client, Error, EventKind, Flight, Loss, Moment, Store, Told};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[tokio::test]
async fn who_shares_a_store_is_told_that_it_was_closed() {
    let root = Arc::new(MemoryStore::new());
    let other = Client::builder().store(Arc::new(root.peer())).unwrap();
    let one = Client::builder().store(Arc::clone(&root) as Arc<dyn Store>).unwrap();
    let two = Client::builder().store(root).unwrap();
    let lease = two.lock("k").no_expiry().await.unwrap();
    one.close().await;
    let _next = soon(async { other.lock("k").await }).await.unwrap();
    assert_eq!(soon(lease.lost()).await, Loss::Released);
}

#[tokio::test]
async fn the_loss_of_an_earlier_grant_is_not_that_of_a_later_one() {
    let (client, store, other) = faulty();
    let lease = other.lock("k").await.unwrap();
    store.plan(Verb::Wait, Fault::Late(MS(1500)));
    let asker = client.clone();
    let waiting = tokio::spawn(async move { asker.lock("k").await.unwrap() });
    in_line(&other, "k", 1).await;
    // Handed over to a request that does not hear it yet, and broken: it stands in line again.
    lease.release().await.unwrap();
    assert!(other.break_lock("k").await.unwrap().is_some());
    let between = other.lock("k").await.unwrap();
    in_line(&other, "k", 1).await;
    between.release().await.unwrap();
    let lease = soon(waiting).await.unwrap();
    client.flush().await;
    assert!(!lease.is_lost(), "the keeper has heard of it by now");
    assert_eq!(other.inspect("k").await.unwrap().holding.unwrap().token, lease.token());
}

#[tokio::test]
async fn a_renewal_with_the_old_ttl_does_not_lengthen_the_new_one() {
    let (client, store, _other) = faulty();
    let lease = client.lock("k").ttl(MS(3000)).await.unwrap();
    store.plan(Verb::Renew, Fault::Late(MS(200)));
    until(|| async { store.counts().requests() == 2 }).await;
    // The keeper's own renewal is under way; its answer comes after this one's.
    lease.renew(MS(400)).await.unwrap();
    let away = Moment::now();
    store.away(true);
    soon(lease.lost()).await;
    assert!(lease.deadline().unwrap() <= away.after(MS(400)), "the store has ended it by then");
}

#[tokio::test]
async fn a_shorter_ttl_counts_from_when_it_was_asked_for() {
    let (client, store, other) = faulty();
    let lease = client.lock("k").ttl(MS(60_000)).await.unwrap();
    store.plan(Verb::Renew, Fault::AnswerLost);
    assert!(matches!(lease.renew(MS(400)).await, Err(Error::Unavailable { .. })));
    store.away(true);
    let _next = soon(async { other.lock("k").await }).await.unwrap();
    assert!(lease.is_lost(), "somebody else holds it");
}

#[tokio::test]
async fn a_shorter_ttl_that_is_carried_out_after_a_longer_one_counts() {
    let (client, store, other) = faulty();
    let lease = client.lock("k").ttl(MS(60_000)).await.unwrap();
    // Two tasks change it at once; what was asked for first comes last.
    store.plan(Verb::Renew, Fault::LateCall(MS(200)));
    let (shorter, longer) = tokio::join!(lease.renew(MS(1500)), lease.renew(MS(60_000)));
    store.away(true);
    shorter.unwrap();
    longer.unwrap();
    let _next = soon(async { other.lock("k").await }).await.unwrap();
    assert!(lease.is_lost(), "somebody else holds it");
}

#[tokio::test]
async fn a_late_grant_is_renewed_in_time() {
    let (client, store, _other) = faulty();
    store.plan(Verb::Acquire, Fault::Late(MS(2200)));
    store.plan(Verb::Renew, Fault::Late(MS(800)));
    let lease = client.lock("k").ttl(MS(4000)).await.unwrap();
    let first = lease.deadline().unwrap();
    until(|| async { lease.is_lost() || lease.deadline().unwrap() > first }).await;
    assert!(!lease.is_lost());
}

#[tokio::test]
async fn flush_waits_for_what_was_dropped_before_it_only() {
    let (client, store, _other) = faulty();
    let (one, two) = (client.lock("one").await.unwrap(), client.lock("two").await.unwrap());
    store.plan(Verb::Release, Fault::Late(MS(300)));
    store.plan(Verb::Release, Fault::Late(MS(100_000)));
    drop(one);
    let mut flush = pin!(client.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    drop(two);
    soon(flush).await;
}

#[tokio::test]
async fn a_wait_of_zero_asks_the_store_whoever_else_asks() {
    let (client, store, _other) = faulty();
    let Flight::Leader(leader) = client.once("k").keep(MS(60_000)).join().await.unwrap() else { panic!() };
    leader.publish(7u32).await.unwrap();
    store.plan(Verb::Acquire, Fault::Late(MS(1000)));
    let asked = store.counts().requests();
    let other = client.clone();
    let slow = tokio::spawn(async move { other.once("k").join::<u32>().await });
    until(|| async { store.counts().requests() > asked }).await;
    let hasty = client.once("k").wait(Duration::ZERO).join::<u32>().await;
    assert!(matches!(hasty, Ok(Flight::Done(7))), "{hasty:?}");
    assert!(matches!(soon(slow).await.unwrap().unwrap(), Flight::Done(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_neighbour_costs_no_lease_but_those_of_its_shard() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(Some(&folder.path().join("store"))).unwrap();
    let client = Client::builder().ttl(MS(1500)).store(Arc::new(store)).unwrap();
    let one = client.lock("one").await.unwrap();
    let boot = std::fs::read_dir(folder.path().join("store")).unwrap().next().unwrap().unwrap().path();
    let shards = || std::fs::read_dir(boot.join("s")).unwrap().map(|file| file.unwrap().path());
    let frozen = shards().next().unwrap();
    let two = client.lock("two").await.unwrap();
    assert_eq!(shards().count(), 2);
    let file = std::fs::File::options().read(true).write(true).open(frozen).unwrap();
    file.lock().unwrap();
    assert_eq!(soon(one.lost()).await, Loss::Expired);
    let lost = tokio::time::timeout(MS(4500), two.lost()).await;
    assert!(lost.is_err(), "{lost:?}");
    file.unlock().unwrap();
}

#[tokio::test]
async fn what_was_missed_while_the_store_was_away_is_looked_for_again() {
    let (client, store, other) = faulty();
    let mut events = client.events().await.unwrap();
    let id = other.lock("k").ttl(MS(1000)).await.unwrap().detach().await.unwrap();
    // The event of the grant is lost, and the store is away for the first look.
    store.plan(Verb::Event, Fault::Lost);
    store.plan(Verb::List, Fault::Lost);
    assert_eq!(soon(events.next()).await, Some(Told::Missed));
    match soon(events.next()).await {
        Some(Told::Event(event)) => assert_eq!((event.kind, event.token), (EventKind::Expired, id.token())),
        told => panic!("{told:?}"),
    }
}
