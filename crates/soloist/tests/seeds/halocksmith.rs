//! halocksmith: locksmith over several nodes, with retries that end.

use std::sync::Arc;
use std::time::Duration;

use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Client, Error, Loss};

use crate::fleet::{Fleet, in_line, soon};
use crate::redis_server::RedisServer;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// `retries` times `retryTimeout` is how long one waits: 100 s by default there, as long as it takes here.
pub async fn retries_and_pauses_are_one_wait(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").await.unwrap();
    match b.lock("k").wait(MS(30)).await {
        Err(Error::TimedOut { waited, .. }) => assert!(waited >= MS(30)),
        other => panic!("{other:?}"),
    }
    let waiting = tokio::spawn(async move { b.lock("k").wait(MS(1000) * 100).await.map(drop) });
    in_line(&a, "k", 1).await;
    lease.release().await.unwrap();
    soon(waiting).await.unwrap().unwrap();
}

pub async fn retries_of_zero_try_once(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").wait(Duration::ZERO).await.unwrap();
    assert!(matches!(b.lock("k").wait(Duration::ZERO).await, Err(Error::TimedOut { .. })), "an error");
    assert!(b.try_lock("k").await.unwrap().is_none(), "or a value");
    assert_eq!(a.inspect("k").await.unwrap().waiting, 0, "nobody waits");
    lease.release().await.unwrap();
}

pub async fn the_error_names_the_holder(fleet: &Fleet) {
    let (a, b) = (fleet.client("node 1").await, fleet.client("node 2").await);
    let _lease = a.lock("k").await.unwrap();
    let error = b.lock("k").wait(Duration::ZERO).await.unwrap_err();
    assert!(error.to_string().contains("node 1 holds it"), "{error}");
    assert!(error.hint().is_some());
}

pub async fn timeout_and_prefix(fleet: &Fleet) {
    let ttl = Duration::from_secs(120);
    let a = fleet.client_with(|builder| builder.holder("a").prefix("__locksmith:").ttl(ttl)).await;
    let _lease = a.lock("k").await.unwrap();
    let holding = fleet.client("b").await.inspect("__locksmith:k").await.unwrap().holding.unwrap();
    assert_eq!(holding.deadline.unwrap() - holding.since, 120_000_000);
}

pub async fn repaired_never_releases_what_another_holds(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let old = a.lock("k").await.unwrap();
    let new = b.lock("k").force().await.unwrap();
    drop(old);
    a.flush().await;
    assert_eq!(b.inspect("k").await.unwrap().holding.unwrap().token, new.token());
    new.release().await.unwrap();
}

/// After a failover two may believe that they hold the key: the later one has the larger token, and the
/// earlier one is told.
pub async fn repaired_a_late_holder_is_told(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let old = a.lock("k").await.unwrap();
    let new = b.lock("k").force().await.unwrap();
    assert!(new.token() > old.token());
    assert!(matches!(soon(old.lost()).await, Loss::TakenOver { by } if by.as_str() == "b"));
}

/// Here its server is replaced by one that knows nothing. Whoever waits is served by the new one, with a larger
/// token; whoever held is told.
#[tokio::test]
async fn a_failover_is_lived_through() {
    let mut server = RedisServer::start();
    let (a, b) =
        (Client::connect(&server.url()).await.unwrap(), Client::connect(&server.url()).await.unwrap());
    let old = a.lock("k").ttl(Duration::from_secs(60)).await.unwrap();
    let next = b.clone();
    let waiting = tokio::spawn(async move { next.lock("k").await.unwrap() });
    in_line(&b, "k", 1).await;
    server.start_again();
    let new = soon(waiting).await.unwrap();
    assert!(new.token() > old.token());
    soon(old.lost()).await;
    new.release().await.unwrap();
}

/// `nodes: ['127.0.0.1:1', '127.0.0.1:2']` is the list of hosts in the URL, in any order: the primary among them
/// is found, and followed when it changes.
#[tokio::test]
async fn nodes_are_followed_by_themselves() {
    let mut first = RedisServer::start();
    let copy_of = ["--replicaof", "127.0.0.1", &first.port().to_string()];
    let second = RedisServer::start_with(&copy_of);
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}", second.port(), first.port());
    let (a, b) = (Client::connect(&url).await.unwrap(), Client::connect(&url).await.unwrap());
    let old = a.lock("k").ttl(Duration::from_secs(60)).await.unwrap();
    let before = old.token();
    let next = b.clone();
    let waiting = tokio::spawn(async move { next.lock("k").await.unwrap() });
    in_line(&b, "k", 1).await;
    let mut admin = first.admin().await;
    let () = redis::cmd("SET").arg("mark").arg(1).query_async(&mut admin).await.unwrap();
    // The replica has all that was before the mark, which it gets when its first copy is done.
    let copied: u64 = redis::cmd("WAIT").arg(1).arg(25_000).query_async(&mut admin).await.unwrap();
    assert_eq!(copied, 1);
    first.kill();
    let promote =
        redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async::<()>(&mut second.admin().await).await;
    promote.unwrap();
    // The lease was copied too, so it is still held, and handed over by its release.
    soon(old.release()).await.unwrap();
    let new = soon(waiting).await.unwrap();
    assert!(new.token() > before);
    new.release().await.unwrap();
}

#[tokio::test]
async fn an_already_made_client() {
    let server = RedisServer::start();
    let made = redis::Client::open(server.url()).unwrap();
    let store = RedisStore::from_client(&made, RedisOptions::default()).await.unwrap();
    let client = Client::builder().store(Arc::new(store)).unwrap();
    let lease = client.lock("k").await.unwrap();
    assert!(Client::connect(&server.url()).await.unwrap().try_lock("k").await.unwrap().is_none());
    lease.release().await.unwrap();
}
