//! Events, through the client.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use soloist::{Event, EventStream, Told};

use crate::fleet::{Fleet, soon};

/// The next `count` events as words: kind, key, holder.
async fn told(events: &mut EventStream, count: usize) -> Vec<Event> {
    let mut list = Vec::new();
    while list.len() < count {
        match soon(events.next()).await.expect("the stream goes on") {
            Told::Event(event) => list.push(event),
            other => panic!("{other:?}"),
        }
    }
    list
}

fn words(events: &[Event]) -> Vec<String> {
    events.iter().map(|e| format!("{} {} {}", e.kind.word(), e.key, e.holder)).collect()
}

pub async fn each_kind_in_order(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let mut events = fleet.client("watcher").await.events().await.unwrap();
    let lease = a.lock("k").await.unwrap();
    let token = lease.token();
    let forced = b.lock("k").force().await.unwrap();
    forced.release().await.unwrap();
    let _broken = a.lock("k").await.unwrap();
    b.break_lock("k").await.unwrap();
    let keep = Duration::from_secs(600);
    b.once("k").keep(keep).run(|| async { Ok::<u32, Infallible>(1) }).await.unwrap();
    b.forget("k").await.unwrap();
    b.once("k").run(|| async { Err::<u32, _>("no") }).await.unwrap_err();
    let events = told(&mut events, 10).await;
    let expected = [
        "locked k a",
        "taken_over k b",
        "released k b",
        "locked k a",
        "broken k a",
        "locked k b",
        "published k b",
        "forgotten k b",
        "locked k b",
        "failed k b",
    ];
    assert_eq!(words(&events), expected);
    assert_eq!(events[0].token, token);
    assert!(events.is_sorted_by_key(|event| event.at));
}

pub async fn an_expiry_is_told_untouched(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let mut events = fleet.client("watcher").await.events().await.unwrap();
    let id = a.lock("k").ttl(Duration::from_millis(300)).await.unwrap().detach().await.unwrap();
    let events = told(&mut events, 2).await;
    assert_eq!(words(&events), ["locked k a", "expired k a"]);
    assert_eq!(events[1].token, id.token());
}

pub async fn an_expiry_of_an_older_lease_is_told(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let _id = a.lock("k").ttl(Duration::from_millis(300)).await.unwrap().detach().await.unwrap();
    let mut events = fleet.client("watcher").await.events().await.unwrap();
    assert_eq!(words(&told(&mut events, 1).await), ["expired k a"]);
}

pub async fn the_events_of_a_closed_client_end(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let (mut ending, mut others) = (a.events().await.unwrap(), b.events().await.unwrap());
    let _lease = a.lock("k").await.unwrap();
    a.close().await;
    soon(async { while ending.next().await.is_some() {} }).await;
    assert_eq!(words(&told(&mut others, 1).await), ["locked k a"], "those of others go on");
}
