//! locky: resources and lockers, with events.

use std::time::Duration;

use futures_util::StreamExt;
use soloist::{Client, Error, Event, EventStream, Loss, Told};

use crate::fleet::{Fleet, in_line, soon};

const MS: fn(u64) -> Duration = Duration::from_millis;

async fn next(events: &mut EventStream) -> Event {
    match soon(events.next()).await.expect("the stream goes on") {
        Told::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

fn words(event: &Event) -> String {
    format!("{} {} {}", event.kind.word(), event.key, event.holder)
}

/// Locks as locky does: the lock outlives the request, by the name of its locker.
async fn lock(client: &Client, resource: &str, locker: &str, ttl: Duration) -> bool {
    match client.try_lock(resource).holder(locker).ttl(ttl).await.unwrap() {
        Some(lease) => lease.detach().await.is_ok(),
        None => false,
    }
}

async fn locker(client: &Client, resource: &str) -> Option<String> {
    client.inspect(resource).await.unwrap().holding.map(|now| now.holder.to_string())
}

async fn deadline(client: &Client, resource: &str) -> u64 {
    client.inspect(resource).await.unwrap().holding.unwrap().deadline.unwrap()
}

pub async fn lock_answers_whether(fleet: &Fleet) {
    let a = fleet.client("a").await;
    assert!(lock(&a, "article:12", "user:20", MS(60_000)).await);
    assert!(!lock(&a, "article:12", "user:21", MS(60_000)).await);
    assert!(lock(&a, "article:13", "user:21", MS(60_000)).await);
}

pub async fn numbers_are_names(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let (resource, user) = (12, 20);
    assert!(lock(&a, &resource.to_string(), &user.to_string(), MS(60_000)).await);
    assert_eq!(locker(&a, "12").await.as_deref(), Some("20"));
}

pub async fn force_takes_it_over(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let mut events = fleet.client("watcher").await.events().await.unwrap();
    let old = a.lock("article:12").holder("user:20").await.unwrap();
    let new = b.lock("article:12").holder("user:21").force().await.unwrap();
    assert!(new.token() > old.token());
    assert!(matches!(soon(old.lost()).await, Loss::TakenOver { by } if by.as_str() == "user:21"));
    assert_eq!(locker(&a, "article:12").await.as_deref(), Some("user:21"));
    assert_eq!(words(&next(&mut events).await), "locked article:12 user:20");
    assert_eq!(words(&next(&mut events).await), "taken_over article:12 user:21");
}

pub async fn refresh_begins_the_ttl_anew(fleet: &Fleet) {
    let a = fleet.client("a").await;
    assert!(lock(&a, "article:12", "user:20", MS(60_000)).await);
    let before = deadline(&a, "article:12").await;
    a.renew_held_by("article:12", "user:20", MS(90_000)).await.unwrap();
    assert!(deadline(&a, "article:12").await >= before + 30_000_000);
}

pub async fn refresh_of_nothing_does_nothing_and_says_so(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let refreshed = a.renew_held_by("article:12", "user:20", MS(60_000)).await;
    assert!(matches!(refreshed, Err(Error::NotHeld { holder: None, .. })), "{refreshed:?}");
    assert_eq!(locker(&a, "article:12").await, None);
}

pub async fn unlock_frees_it(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    assert!(lock(&a, "article:12", "user:20", MS(60_000)).await);
    b.release_held_by("article:12", "user:20").await.unwrap();
    assert!(lock(&b, "article:12", "user:21", MS(60_000)).await);
    b.break_lock("article:12").await.unwrap().expect("whose ever it is, if that is what is meant");
    assert_eq!(locker(&a, "article:12").await, None);
}

pub async fn unlock_of_nothing_does_nothing_and_says_so(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let unlocked = a.release_held_by("article:12", "user:20").await;
    assert!(matches!(unlocked, Err(Error::NotHeld { holder: None, .. })), "{unlocked:?}");
    assert_eq!(a.break_lock("article:12").await.unwrap(), None);
}

pub async fn the_locker_can_be_asked_for(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    assert_eq!(locker(&b, "article:12").await, None);
    assert!(lock(&a, "article:12", "user:20", MS(60_000)).await);
    assert_eq!(locker(&b, "article:12").await.as_deref(), Some("user:20"));
    a.release_held_by("article:12", "user:20").await.unwrap();
    assert_eq!(locker(&b, "article:12").await, None);
}

pub async fn a_ttl_in_milliseconds(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    assert!(lock(&a, "article:12", "user:20", MS(150)).await);
    let lease = soon(b.lock("article:12").holder("user:21").into_future()).await.unwrap();
    assert_eq!(locker(&a, "article:12").await.as_deref(), Some("user:21"));
    lease.release().await.unwrap();
}

pub async fn no_ttl_is_no_expiration(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let lease = a.try_lock("article:12").holder("user:20").no_expiry().await.unwrap().unwrap();
    lease.detach().await.unwrap();
    assert_eq!(a.inspect("article:12").await.unwrap().holding.unwrap().deadline, None);
    a.release_held_by("article:12", "user:20").await.unwrap();
}

pub async fn the_prefix_separates(fleet: &Fleet) {
    let one = fleet.client_with(|builder| builder.prefix("one:")).await;
    let two = fleet.client_with(|builder| builder.prefix("two:")).await;
    assert!(lock(&one, "article:12", "user:20", MS(60_000)).await);
    assert!(lock(&two, "article:12", "user:21", MS(60_000)).await);
}

pub async fn events_of_lock_unlock_and_expire(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let mut events = fleet.client("watcher").await.events().await.unwrap();
    assert!(lock(&a, "article:12", "user:20", MS(60_000)).await);
    a.release_held_by("article:12", "user:20").await.unwrap();
    assert!(lock(&a, "article:12", "user:21", MS(200)).await);
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(words(&next(&mut events).await));
    }
    let expected = [
        "locked article:12 user:20",
        "released article:12 user:20",
        "locked article:12 user:21",
        "expired article:12 user:21",
    ];
    assert_eq!(told, expected);
}

pub async fn close_waits_for_what_is_under_way(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("article:12").await.unwrap();
    let other = a.clone();
    let waiting = tokio::spawn(async move { other.lock("article:13").await.map(drop) });
    drop(lease);
    let _taken = soon(waiting).await.unwrap();
    soon(a.close()).await;
    // Whatever was let go of is released by now.
    assert!(b.try_lock("article:12").await.unwrap().is_some());
    assert!(b.try_lock("article:13").await.unwrap().is_some());
}

/// Nothing stays held for a ttl, nobody waits for ever.
pub async fn close_ends_what_is_held(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("article:12").ttl(Duration::from_secs(3600)).await.unwrap();
    let taken = b.lock("article:13").await.unwrap();
    let other = a.clone();
    let waiting = tokio::spawn(async move { other.lock("article:13").await.map(drop) });
    in_line(&b, "article:13", 1).await;
    soon(a.close()).await;
    assert!(soon(waiting).await.unwrap().is_err(), "who waits is told");
    soon(lease.lost()).await;
    soon(b.lock("article:12").into_future()).await.unwrap().release().await.unwrap();
    taken.release().await.unwrap();
}

pub async fn repaired_a_refused_contender_extends_nothing(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    assert!(lock(&a, "article:12", "user:20", MS(60_000)).await);
    let before = deadline(&a, "article:12").await;
    assert!(!lock(&b, "article:12", "user:21", MS(600_000)).await);
    assert!(!lock(&b, "article:12", "user:20", MS(600_000)).await, "nor does one of the same name");
    assert!(b.lock("article:12").holder("user:21").wait(MS(20)).await.is_err(), "nor one that waits");
    assert_eq!(deadline(&a, "article:12").await, before);
}

pub async fn repaired_a_stranger_cannot_unlock(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    assert!(lock(&a, "article:12", "user:20", MS(60_000)).await);
    match b.release_held_by("article:12", "user:21").await {
        Err(Error::NotHeld { holder, .. }) => assert_eq!(holder.unwrap().as_str(), "user:20"),
        other => panic!("{other:?}"),
    }
    assert_eq!(locker(&a, "article:12").await.as_deref(), Some("user:20"));
}

pub async fn repaired_a_stranger_cannot_refresh(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    assert!(lock(&a, "article:12", "user:20", MS(60_000)).await);
    let before = deadline(&a, "article:12").await;
    assert!(b.renew_held_by("article:12", "user:21", MS(600_000)).await.is_err());
    assert_eq!(deadline(&a, "article:12").await, before);
}

/// Nobody polls for it, nobody touches the key.
pub async fn repaired_an_expiry_is_told_untouched(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let mut events = fleet.client("watcher").await.events().await.unwrap();
    assert!(lock(&a, "article:12", "user:20", MS(200)).await);
    assert_eq!(next(&mut events).await.kind.word(), "locked");
    let expired = next(&mut events).await;
    assert_eq!(words(&expired), "expired article:12 user:20");
}
