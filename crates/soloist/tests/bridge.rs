//! Old and new side by side: each respects the other's locks. The old side is played with the commands of its
//! own protocol, on a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use redis_server::RedisServer;
use soloist::store::redis::RedisStore;
use soloist::store::redis::bridge::{BridgeStore, Old};
use soloist::{Client, Flight, Loss};

const SOON: Duration = Duration::from_secs(30);
const MS: fn(u64) -> Duration = Duration::from_millis;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this should have happened long ago")
}

struct Side {
    server: RedisServer,
    old: MultiplexedConnection,
    system: Old,
}

impl Side {
    async fn by(system: Old) -> Self {
        let server = RedisServer::start();
        let client = redis::Client::open(server.url()).unwrap();
        let old = client.get_multiplexed_async_connection().await.unwrap();
        Side { server, old, system }
    }

    async fn client(&self, holder: &str) -> Client {
        let store = RedisStore::connect(&self.server.url()).await.unwrap();
        let bridge = Arc::new(BridgeStore::new(store, self.system.clone()));
        Client::builder().holder(holder).store(bridge).unwrap()
    }

    /// Waits until their key is, or is not, there.
    async fn there(&mut self, key: &str, there: bool) {
        soon(async {
            while self.old.exists::<_, bool>(key).await.unwrap() != there {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn seconds() -> u64 {
    #[allow(clippy::disallowed_methods)] // the old system trusts its own wall clock
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn locky_is_kept_out_and_waited_for() {
    let mut side = Side::by(Old::Locky).await;
    let key = "locky:lock:article:12";
    let ours = side.client("user:20").await;

    // Theirs first.
    assert!(side.old.set_nx::<_, _, bool>(key, "user:7").await.unwrap());
    assert!(ours.try_lock("article:12").await.unwrap().is_none());
    match ours.lock("article:12").wait(MS(50)).await {
        Err(soloist::Error::TimedOut { .. }) => {}
        other => panic!("{other:?}"),
    }
    let waiting = ours.clone();
    let waiting = tokio::spawn(async move { waiting.lock("article:12").await });
    while ours.inspect("article:12").await.unwrap().holding.is_none() {
        tokio::task::yield_now().await;
    }
    let _: () = side.old.del(key).await.unwrap();

    // Then ours.
    let lease = soon(waiting).await.unwrap().unwrap();
    assert!(!side.old.set_nx::<_, _, bool>(key, "user:7").await.unwrap());
    assert_eq!(side.old.get::<_, String>(key).await.unwrap(), "user:20");
    assert!(side.old.sismember::<_, _, bool>("locky:current:locks", "article:12").await.unwrap());
    assert!(side.old.pttl::<_, i64>(key).await.unwrap() > 0, "it ends if we die");
    lease.release().await.unwrap();
    side.there(key, false).await;
    assert!(!side.old.sismember::<_, _, bool>("locky:current:locks", "article:12").await.unwrap());

    // Without expiry there, as here.
    let lease = ours.lock("article:12").no_expiry().await.unwrap();
    assert_eq!(side.old.pttl::<_, i64>(key).await.unwrap(), -1);
    // Taken over by theirs: our holder is told by its next renewal.
    drop(lease);
    side.there(key, false).await;
    let lease = ours.lock("article:12").ttl(MS(600)).await.unwrap();
    let _: () = side.old.set(key, "user:7").await.unwrap();
    assert!(matches!(soon(lease.lost()).await, Loss::Gone));
    assert_eq!(side.old.get::<_, String>(key).await.unwrap(), "user:7", "and theirs stays theirs");

    // Taken over by ours.
    let forced = ours.lock("article:12").force().await.unwrap();
    assert_eq!(side.old.get::<_, String>(key).await.unwrap(), "user:20");
    forced.release().await.unwrap();
    side.there(key, false).await;
}

#[tokio::test]
async fn redis_reservation_is_kept_out_and_waited_for() {
    let mut side = Side::by(Old::RedisReservation).await;
    let key = "reservation-job";
    let (ours, other) = (side.client("worker").await, side.client("other").await);
    let taken: bool = redis::cmd("SET")
        .arg(key)
        .arg("theirs-1")
        .arg("NX")
        .arg("PX")
        .arg(300)
        .query_async(&mut side.old)
        .await
        .unwrap();
    assert!(taken);
    assert!(ours.try_lock("job").await.unwrap().is_none());
    // Their worker dies, and its reservation with it.
    let lease = soon(async { ours.lock("job").ttl(MS(900)).await }).await.unwrap();
    let mark: String = side.old.get(key).await.unwrap();
    assert_eq!(mark, format!("worker-{}", lease.token()));

    // Renewed together; handed over from one of ours to the next together.
    let before = lease.deadline().unwrap();
    soon(async {
        while lease.deadline().unwrap() == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(side.old.get::<_, String>(key).await.unwrap(), mark);
    let waiting = tokio::spawn(async move { (other.lock("job").await.unwrap(), other) });
    while ours.inspect("job").await.unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    lease.release().await.unwrap();
    let (next, _other) = soon(waiting).await.unwrap();
    assert_eq!(side.old.get::<_, String>(key).await.unwrap(), format!("other-{}", next.token()));
    drop(next);
    side.there(key, false).await;
}

#[tokio::test]
async fn locksmith_is_kept_out_and_waited_for() {
    let mut side = Side::by(Old::Locksmith { prefix: "__locksmith:".into() }).await;
    let key = "__locksmith:cache";
    let ours = side.client("new").await;
    let _: () = side.old.set(key, seconds() + 600).await.unwrap();
    assert!(ours.try_lock("cache").await.unwrap().is_none());

    // An end in the past is no lock any more, by their rules and by ours.
    let _: () = side.old.set(key, seconds() - 5).await.unwrap();
    let lease = ours.try_lock("cache").await.unwrap().unwrap();
    let end: u64 = side.old.get(key).await.unwrap();
    assert!(end > seconds() + 10, "they read an end that is yet to come");
    assert!(!side.old.set_nx::<_, _, bool>(key, seconds()).await.unwrap());
    lease.release().await.unwrap();
    side.there(key, false).await;
}

#[tokio::test]
async fn process_locker_shares_results_both_ways() {
    let system = Old::ProcessLocker { prefix: "pl".into(), channel: "results".into() };
    let mut side = Side::by(system).await;
    let (ours, other) = (side.client("new").await, side.client("other").await);

    // They compute, we wait and get it.
    let _: () = side.old.set("pl:report", "WAIT").await.unwrap();
    let waiting = {
        let ours = ours.clone();
        tokio::spawn(async move { ours.once("report").join::<serde_json::Value>().await.unwrap() })
    };
    while ours.inspect("report").await.unwrap().holding.is_none() {
        tokio::task::yield_now().await;
    }
    let result = r#"{"pages":3}"#;
    let _: () = side.old.set_ex("pl:report", result, 60).await.unwrap();
    match soon(waiting).await.unwrap() {
        Flight::Done(value) => assert_eq!(value["pages"], 3),
        Flight::Leader(_) => panic!("they have computed it"),
    }
    // And it is kept for as long as theirs.
    let kept = other.once("report").run(|| async { Ok::<_, Infallible>(serde_json::json!(0)) }).await;
    assert_eq!(kept.unwrap()["pages"], 3);

    // We compute, they wait and get it.
    let mut heard = redis::Client::open(side.server.url()).unwrap().get_async_pubsub().await.unwrap();
    heard.subscribe("pl:results").await.unwrap();
    let Flight::Leader(leader) = ours.once("other \"report\"").keep(SOON).join::<u32>().await.unwrap() else {
        panic!("nobody has computed it");
    };
    let key = "pl:other \"report\"";
    assert_eq!(side.old.get::<_, String>(key).await.unwrap(), "WAIT");
    leader.publish(42).await.unwrap();
    let message = soon(heard.on_message().next()).await.unwrap();
    let message: serde_json::Value = serde_json::from_slice(message.get_payload_bytes()).unwrap();
    assert_eq!(message, serde_json::json!({ "key": "other \"report\"", "value": 42 }));
    assert_eq!(side.old.get::<_, String>(key).await.unwrap(), "42");
    assert!(side.old.pttl::<_, i64>(key).await.unwrap() > 0);
    assert!(ours.forget("other \"report\"").await.unwrap());
    assert!(!side.old.exists::<_, bool>(key).await.unwrap());

    // A leader of ours that fails leaves nothing that they would wait for.
    let failed = ours.once("failing").run(|| async { Err::<u32, _>("no") }).await;
    assert!(failed.is_err());
    side.there("pl:failing", false).await;
}
