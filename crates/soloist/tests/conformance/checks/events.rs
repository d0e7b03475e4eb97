//! What happened, told to those who watch.

use futures_util::StreamExt;
use soloist::protocol::{OutcomeKind, Publication, Who};
use soloist::store::{EventStream, Told};
use soloist::{Event, EventKind};

use crate::fixture::*;

async fn next(events: &mut EventStream) -> Event {
    match soon(events.next()).await {
        Some(Told::Event(event)) => event,
        other => panic!("expected an event, got {other:?}"),
    }
}

async fn expect(events: &mut EventStream, expected: &[(&str, EventKind, &str)]) {
    let mut last = 0;
    for (name, kind, who) in expected {
        let event = next(events).await;
        assert_eq!((event.key.as_str(), &event.kind, event.holder.as_str()), (*name, kind, *who));
        assert!(event.at >= last, "in the order of time");
        last = event.at;
    }
}

pub async fn locking_tells_in_order(fixture: &dyn Fixture) {
    use EventKind::*;
    let (a, b, watcher) = (fixture.open().await, fixture.open().await, fixture.open().await);
    let mut events = watcher.events().await.unwrap();
    let (first, second) = (lock("k", "first"), lock("k", "second"));
    let grant = granted(&a, &first).await;
    queued(&b, &second).await;
    a.renew(&[renewal(&first, secs(60))]).await.unwrap();
    release(&a, &first).await;
    granted(&a, &forcing(lock("k", "third"))).await;
    b.release(&key("k"), &Who::Any).await.unwrap();
    let event = next(&mut events).await;
    assert_eq!((event.kind, event.token, event.at), (Locked, grant.token, grant.from));
    let expected = [
        ("k", Released, "first"),
        ("k", Locked, "second"),
        ("k", TakenOver { from: holder("second") }, "third"),
        ("k", Broken, "third"),
    ];
    expect(&mut events, &expected).await;
}

pub async fn flights_tell_in_order(fixture: &dyn Fixture) {
    use EventKind::*;
    let (a, watcher) = (fixture.open().await, fixture.open().await);
    let mut events = watcher.events().await.unwrap();
    let (first, second, third) = (flight("k", "first"), flight("k", "second"), flight("k", "third"));
    granted(&a, &first).await;
    a.publish(&value(&first, "v", secs(60))).await.unwrap();
    a.publish(&value(&first, "v", secs(60))).await.unwrap();
    a.forget(&key("k")).await.unwrap();
    a.forget(&key("k")).await.unwrap();
    granted(&a, &second).await;
    a.publish(&Publication { kind: OutcomeKind::Error, ..value(&second, "e", secs(0)) }).await.unwrap();
    granted(&a, &third).await;
    a.leave(&key("k"), third.ticket).await.unwrap();
    let expected = [
        ("k", Locked, "first"),
        ("k", Published, "first"),
        ("k", Forgotten, "first"),
        ("k", Locked, "second"),
        ("k", Failed, "second"),
        ("k", Locked, "third"),
        ("k", Released, "third"),
    ];
    expect(&mut events, &expected).await;
}

pub async fn an_expiry_is_told_when_it_is_found(fixture: &dyn Fixture) {
    use EventKind::*;
    let (a, b, watcher) = (fixture.open().await, fixture.open().await, fixture.open().await);
    let mut events = watcher.events().await.unwrap();
    let grant = granted(&a, &living(lock("k", "first"), millis(500))).await;
    queued(&b, &lock("k", "second")).await;
    fixture.pass(millis(501)).await;
    watcher.touch(&key("k")).await.unwrap();
    assert_eq!(next(&mut events).await.kind, Locked);
    let expired = next(&mut events).await;
    assert_eq!((expired.kind, expired.holder, expired.token), (Expired, holder("first"), grant.token));
    expect(&mut events, &[("k", Locked, "second")]).await;
}

pub async fn every_watcher_hears_every_key(fixture: &dyn Fixture) {
    use EventKind::*;
    let (a, b) = (fixture.open().await, fixture.open().await);
    let mut watchers = [a.events().await.unwrap(), a.events().await.unwrap(), b.events().await.unwrap()];
    for n in 0..20 {
        let request = lock(&format!("k{n}"), "h");
        granted(if n % 2 == 0 { &a } else { &b }, &request).await;
        release(&a, &request).await;
    }
    for watcher in &mut watchers {
        let mut told = std::collections::BTreeMap::<String, Vec<EventKind>>::new();
        for _ in 0..40 {
            let event = next(watcher).await;
            told.entry(event.key.to_string()).or_default().push(event.kind);
        }
        assert_eq!(told.len(), 20);
        assert!(told.values().all(|kinds| kinds == &[Locked, Released]), "{told:?}");
    }
}

pub async fn a_dropped_subscription_disturbs_nobody(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let dropped = b.events().await.unwrap();
    let mut kept = b.events().await.unwrap();
    drop(dropped);
    granted(&a, &lock("k", "h")).await;
    expect(&mut kept, &[("k", EventKind::Locked, "h")]).await;
}
