//! A Redis whose clock is set while it serves.
//!
//! The scripts decide by the server's `TIME`; here by that and by how much the test has set it, so that nothing but
//! the clock is made up.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/request.rs"]
mod request;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis_server::RedisServer;
use soloist::protocol::{Answer, Request, Ttl};
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::store::{EventStream, Notice, Told};
use soloist::{Client, Key, Loss, Store};

const SECS: fn(u64) -> Duration = Duration::from_secs;
/// Longer than any message takes on a slow machine, shorter than the look and the renewal that would hide its loss.
const BY_MESSAGE: Duration = Duration::from_secs(12);

fn lock(text: &str, ttl: Duration) -> Request {
    request::lock(text, "somebody", Ttl::new(ttl))
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BY_MESSAGE, future).await.expect("soon")
}

async fn store(server: &RedisServer) -> RedisStore {
    RedisStore::connect_shifted(&server.url(), RedisOptions::default()).await.unwrap()
}

async fn granted(store: &RedisStore, request: &Request) -> u64 {
    match soon(store.acquire(request)).await.unwrap().answer {
        Answer::Granted(grant) => grant.token.0,
        other => panic!("not granted: {other:?}"),
    }
}

async fn look(store: &RedisStore) {
    store.inspect(&Key::new("nothing").unwrap()).await.unwrap();
}

/// By how much the clock was set, in milliseconds, if that is what is told next.
async fn step(events: &mut EventStream) -> Option<i64> {
    match soon(events.next()).await.unwrap() {
        Told::ClockStepped { by_ms } => Some(by_ms),
        Told::Event(_) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_step_is_told_once_and_tokens_grow_over_it() {
    let server = RedisServer::start();
    let (store, setter) = (store(&server).await, store(&server).await);
    let (mut events, mut notices) = (store.events().await.unwrap(), store.notices());
    let (mut last, mut shift) = (0, 0);
    look(&store).await;
    for by in [20_000, -40_000, 1_500, -1_500] {
        shift += by;
        setter.shift_clock(shift * 1000).await.unwrap();
        // An answer that is asked for in vain costs another question, not the request.
        let request = lock("k", SECS(600));
        let token = granted(&store, &request).await;
        assert!(token > last, "{token} after {last}");
        last = token;
        // The step and the grant come over two connections.
        let both = [step(&mut events).await, step(&mut events).await];
        let told = both.into_iter().flatten().next().expect("it is told");
        assert!((told - by).abs() < 1_000, "{told} ms told of {by} ms");
        assert_eq!(soon(notices.recv()).await.unwrap(), Notice::AskAgain);
        assert_eq!(both.into_iter().flatten().count(), 1, "told once");
        store.leave(&request.key, request.ticket).await.unwrap();
        assert_eq!(step(&mut events).await, None, "told once");
    }
    assert!(notices.try_recv().is_err());
}

#[tokio::test]
async fn a_server_that_answers_late_has_not_stepped() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut events = store.events().await.unwrap();
    for _ in 0..2 {
        let mut admin = server.admin().await;
        redis::cmd("CLIENT").arg(&["PAUSE", "1200", "ALL"]).query_async::<()>(&mut admin).await.unwrap();
        look(&store).await;
    }
    look(&store).await;
    granted(&store, &lock("k", SECS(60))).await;
    assert_eq!(step(&mut events).await, None);
}

#[tokio::test]
async fn a_holder_whose_lease_ends_by_a_step_is_told_at_once() {
    let server = RedisServer::start();
    let setter = store(&server).await;
    let client = Client::builder().store(Arc::new(store(&server).await)).unwrap();
    let mut events = client.events().await.unwrap();
    let lease = client.lock("k").ttl(SECS(60)).await.unwrap();
    setter.shift_clock(100_000_000).await.unwrap();
    client.inspect("nothing").await.unwrap();
    // By its own clock it would hold it for a minute, and renew it in twenty seconds.
    assert_eq!(soon(lease.lost()).await, Loss::Gone);
    let told =
        async { while !matches!(events.next().await.unwrap(), Told::ClockStepped { by_ms: 99_000.. }) {} };
    soon(told).await;
}

#[tokio::test]
async fn whoever_waits_looks_at_once() {
    let server = RedisServer::start();
    let (store, setter) = (Arc::new(store(&server).await), store(&server).await);
    // Nobody renews it, and by the clock that it was granted on it would stand for a minute.
    granted(&setter, &lock("k", SECS(60))).await;
    let waiter = lock("k", SECS(60));
    let standing = store.acquire(&waiter).await.unwrap();
    assert!(matches!(standing.answer, Answer::Queued(_)));
    let waiting = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.wait(&waiter, standing).await })
    };
    setter.shift_clock(100_000_000).await.unwrap();
    look(&store).await;
    assert!(matches!(soon(waiting).await.unwrap().unwrap().answer, Answer::Granted(_)));
}
