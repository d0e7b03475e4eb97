//! Every verb of the Redis store on a real server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/request.rs"]
mod request;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use redis_server::RedisServer;
use soloist::protocol::{
    Answer, Body, Left, Mode, OutcomeKind, Publication, Published, Released, Renewal, Renewed, Request, Ttl,
    Want, Who,
};
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::store::{Notice, Reply, Told};
use soloist::{Error, EventKind, FencingToken, Key, Loss, Note, Store, Ticket};

const LIMIT: Duration = Duration::from_secs(30);

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn ask(text: &str, holder: &str, mode: Mode, want: Want) -> Request {
    Request { want, mode, ..request::lock(text, holder, Ttl::new(Duration::from_secs(30))) }
}

fn lock(text: &str, holder: &str) -> Request {
    ask(text, holder, Mode::Line, Want::Lock)
}

fn flight(text: &str, holder: &str) -> Request {
    ask(text, holder, Mode::Line, Want::Flight)
}

fn token(reply: &Reply) -> u64 {
    match &reply.answer {
        Answer::Granted(grant) => grant.token.0,
        other => panic!("not granted: {other:?}"),
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

fn value(request: &Request, body: &[u8], keep: Duration) -> Publication {
    Publication {
        key: request.key.clone(),
        ticket: request.ticket,
        kind: OutcomeKind::Value,
        body: Body::Inline(Bytes::copy_from_slice(body)),
        keep: keep.as_micros() as u64,
    }
}

#[tokio::test]
async fn a_release_hands_over_in_order_and_tokens_grow() {
    let server = RedisServer::start();
    let a = RedisStore::connect(&server.url()).await.unwrap();
    let b = RedisStore::connect(&server.url()).await.unwrap();
    let nasty = "{x}:l: \0\r\n*?[ü";
    let first = Request { note: Some(Note::new("why not").unwrap()), ..lock(nasty, "first \0") };
    let (second, third) = (lock(nasty, "second"), lock(nasty, "third"));
    let one = token(&a.acquire(&first).await.unwrap());
    let standing = b.acquire(&second).await.unwrap();
    let Answer::Queued(queued) = &standing.answer else { panic!("{standing:?}") };
    assert_eq!((queued.place, queued.holding.holder.as_str()), (1, "first \0"));
    let behind = a.acquire(&third).await.unwrap();
    assert!(matches!(&behind.answer, Answer::Queued(queued) if queued.place == 2));

    let info = a.inspect(&first.key).await.unwrap();
    assert_eq!(info.holding.as_ref().unwrap().note, first.note);
    assert_eq!(info.waiters.iter().map(|w| w.holder.as_str()).collect::<Vec<_>>(), ["second", "third"]);
    let listed = b.list("{x}:l: \0\r\n*?[").await.unwrap();
    assert_eq!((listed.len(), listed[0].waiting, &listed[0].key), (1, 2, &first.key));
    assert_eq!(b.list("other").await.unwrap(), []);

    // Asking again changes neither token nor place.
    assert_eq!(token(&a.acquire(&first).await.unwrap()), one);
    assert!(matches!(a.acquire(&third).await.unwrap().answer, Answer::Queued(queued) if queued.place == 2));
    let by = Who::Ticket(first.ticket);
    assert!(
        matches!(a.release(&first.key, &by).await.unwrap(), Released::Released { token } if token.0 == one)
    );
    let two = token(&in_time(b.wait(&second, standing)).await.unwrap());
    assert!(two > one);
    assert!(matches!(a.release(&first.key, &by).await.unwrap(), Released::NotHeld(Some(_))));
    assert_eq!(b.leave(&second.key, second.ticket).await.unwrap(), Left::Lease);
    let three = token(&in_time(a.wait(&third, behind)).await.unwrap());
    assert!(three > two);
    assert_eq!(a.leave(&third.key, Ticket::mint()).await.unwrap(), Left::Absent);
}

#[tokio::test]
async fn a_flight_is_computed_once_and_heard_by_all() {
    let server = RedisServer::start();
    let a = RedisStore::connect(&server.url()).await.unwrap();
    let b = RedisStore::connect(&server.url()).await.unwrap();
    for size in [5, 200_000] {
        let name = format!("flight {size}");
        let body = vec![7u8; size];
        let (leader, follower, other) = (flight(&name, "leader"), flight(&name, "f"), lock(&name, "locker"));
        token(&a.acquire(&leader).await.unwrap());
        let standing = b.acquire(&follower).await.unwrap();
        let locker = b.acquire(&other).await.unwrap();
        let publication = value(&leader, &body, Duration::from_secs(60));
        assert_eq!(a.publish(&publication).await.unwrap(), Published::Published);
        assert_eq!(a.publish(&publication).await.unwrap(), Published::Published, "again is the same");
        let heard = in_time(b.wait(&follower, standing)).await.unwrap();
        let Answer::Done(outcome) = heard.answer else { panic!("{heard:?}") };
        assert_eq!((outcome.leader.as_str(), outcome.body.size()), ("leader", size as u64));
        assert_eq!(outcome.body, publication.body);
        token(&in_time(b.wait(&other, locker)).await.unwrap());
        assert_eq!(a.inspect(&leader.key).await.unwrap().result.unwrap().size, size as u64);
        let late = a.acquire(&flight(&name, "late")).await.unwrap();
        assert!(matches!(late.answer, Answer::Done(_)));
        assert!(a.forget(&leader.key).await.unwrap());
        assert!(!a.forget(&leader.key).await.unwrap());
        let stranger = value(&flight(&name, "stranger"), b"", Duration::ZERO);
        assert!(matches!(a.publish(&stranger).await.unwrap(), Published::Refused(Some(_))));
    }
}

#[tokio::test]
async fn leases_are_renewed_taken_over_broken_and_expire() {
    let server = RedisServer::start();
    let a = RedisStore::connect(&server.url()).await.unwrap();
    let b = RedisStore::connect(&server.url()).await.unwrap();
    let mut events = b.events().await.unwrap();
    let mut notices = a.notices();
    let first = Request { ttl: Ttl::Forever, ..lock("k", "first") };
    let one = token(&a.acquire(&first).await.unwrap());
    let renewal = |who, ttl| Renewal { key: key("k"), who, ttl, detach: false, at_least: None };
    let ten = Ttl::new(Duration::from_secs(10));
    let renewals = [
        renewal(Who::Ticket(first.ticket), ten),
        renewal(Who::Ticket(Ticket::mint()), ten),
        renewal(Who::Holder(first.holder.clone()), Ttl::Forever),
    ];
    let renewed = a.renew(&renewals).await.unwrap();
    assert!(matches!(&renewed[0], Renewed::Renewed { token, deadline: Some(_) } if token.0 == one));
    assert!(matches!(&renewed[1], Renewed::NotHeld(Some(holding)) if holding.token.0 == one));
    assert!(matches!(&renewed[2], Renewed::Renewed { deadline: None, .. }));
    assert!(matches!(
        a.acquire(&ask("k", "x", Mode::Try, Want::Lock)).await.unwrap().answer,
        Answer::Busy(_)
    ));

    let thief = Request { ttl: Ttl::Micros(1000), ..ask("k", "thief", Mode::Force, Want::Lock) };
    let two = token(&b.acquire(&thief).await.unwrap());
    assert!(two > one);
    let told = in_time(notices.recv()).await.unwrap();
    assert_eq!(
        told,
        Notice::Lost(first.ticket, FencingToken(one), Loss::TakenOver { by: thief.holder.clone() })
    );
    loop {
        // Ends at the server's clock a millisecond later.
        b.touch(&key("k")).await.unwrap();
        if b.inspect(&key("k")).await.unwrap().holding.is_none() {
            break;
        }
    }
    b.touch(&key("k")).await.unwrap();
    let third = lock("k", "third");
    let three = token(&a.acquire(&third).await.unwrap());
    assert!(matches!(b.release(&key("k"), &Who::Any).await.unwrap(), Released::Released { .. }));
    let lost = Notice::Lost(third.ticket, FencingToken(three), Loss::Released);
    assert_eq!(in_time(notices.recv()).await.unwrap(), lost);
    let mut kinds = Vec::new();
    while kinds.len() < 5 {
        match in_time(events.next()).await.unwrap() {
            Told::Event(event) => kinds.push((event.kind, event.holder.as_str().to_owned())),
            other => panic!("{other:?}"),
        }
    }
    let told = |kind, holder: &str| (kind, holder.to_owned());
    let expected = [
        told(EventKind::Locked, "first"),
        told(EventKind::TakenOver { from: first.holder.clone() }, "thief"),
        told(EventKind::Expired, "thief"),
        told(EventKind::Locked, "third"),
        told(EventKind::Broken, "third"),
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn a_store_that_was_closed_says_so() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let holder = lock("k", "holder");
    token(&store.acquire(&holder).await.unwrap());
    let waiter = lock("k", "waiter");
    let standing = store.acquire(&waiter).await.unwrap();
    let mut events = store.events().await.unwrap();
    let wait = async {
        let waited = store.wait(&waiter, standing).await;
        assert!(matches!(waited, Err(Error::Closed)), "{waited:?}");
    };
    let close = async {
        tokio::task::yield_now().await;
        store.close().await;
    };
    in_time(async { tokio::join!(wait, close) }).await;
    assert!(matches!(store.touch(&key("k")).await, Err(Error::Closed)));
    assert!(matches!(store.events().await, Err(Error::Closed)));
    while in_time(events.next()).await.is_some() {}
    // Whoever waits on a closed store is gone: the next in line is somebody else's.
    let other = RedisStore::connect_with(&server.url(), RedisOptions::default()).await.unwrap();
    let next = lock("k", "next");
    let standing = other.acquire(&next).await.unwrap();
    other.release(&key("k"), &Who::Ticket(holder.ticket)).await.unwrap();
    token(&in_time(other.wait(&next, standing)).await.unwrap());
}

#[tokio::test]
async fn events_are_heard_only_while_somebody_watches() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut admin = server.admin().await;
    let mut hears = async || {
        let mut count = redis::cmd("PUBSUB");
        let count = count.arg("NUMSUB").arg("soloist:1:events");
        count.query_async::<(String, u64)>(&mut admin).await.unwrap().1
    };
    for _ in 0..2 {
        let mut events = store.events().await.unwrap();
        assert_eq!(hears().await, 1);
        token(&store.acquire(&lock("k", "a")).await.unwrap());
        assert!(in_time(events.next()).await.is_some());
        drop(events);
        in_time(async {
            while hears().await == 1 {
                store.release(&key("k"), &Who::Any).await.unwrap();
                token(&store.acquire(&lock("k", "a")).await.unwrap());
            }
        })
        .await;
        store.release(&key("k"), &Who::Any).await.unwrap();
    }
}

#[tokio::test]
async fn who_was_not_told_of_something_hears_of_the_gap_however_many_watch_by_then() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut events = store.events().await.unwrap();
    let mut admin = server.admin().await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut admin).await.unwrap();
    // Nobody is known to watch, so nobody is told.
    token(&store.acquire(&lock("k", "untold")).await.unwrap());
    store.release(&key("k"), &Who::Any).await.unwrap();
    let other = RedisStore::connect(&server.url()).await.unwrap();
    let mut others = other.events().await.unwrap();
    // It renews its word within 20 s.
    let mut told = in_time(events.next()).await.unwrap();
    while told != Told::Missed {
        assert!(matches!(&told, Told::Event(event) if event.kind == EventKind::Broken), "{told:?}");
        told = in_time(events.next()).await.unwrap();
    }
    token(&store.acquire(&lock("k", "told")).await.unwrap());
    for events in [&mut events, &mut others] {
        let told = in_time(events.next()).await.unwrap();
        assert!(matches!(&told, Told::Event(event) if event.holder.as_str() == "told"), "{told:?}");
    }
}

#[tokio::test]
async fn a_dropped_store_ends_its_events_though_their_watcher_lives() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut events = store.events().await.unwrap();
    drop(store);
    let mut admin = server.admin().await;
    in_time(async {
        let mut list = redis::cmd("CLIENT");
        list.arg("LIST");
        while list.query_async::<String>(&mut admin).await.unwrap().lines().count() > 1 {}
    })
    .await;
    assert!(in_time(events.next()).await.is_none());
}

#[tokio::test]
async fn a_lease_that_has_ended_is_not_released_though_nobody_has_touched_it_since() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let request = Request { ttl: Ttl::Micros(20_000), ..lock("k", "a") };
    token(&store.acquire(&request).await.unwrap());
    while store.inspect(&request.key).await.unwrap().holding.is_some() {}
    let released = store.release(&request.key, &Who::Ticket(request.ticket)).await.unwrap();
    assert_eq!(released, Released::NotHeld(None));
    // Until then it is, whole milliseconds or not.
    for us in [30_000_000, 30_000_001] {
        let request = Request { ttl: Ttl::Micros(us), ..lock("k", "b") };
        let one = token(&store.acquire(&request).await.unwrap());
        let released = store.release(&request.key, &Who::Ticket(request.ticket)).await.unwrap();
        assert_eq!(released, Released::Released { token: FencingToken(one) });
    }
}
