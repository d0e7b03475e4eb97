//! Results kept in a process, on a real server: what reading them costs, and what is read when nothing is heard of them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use redis_server::RedisServer;
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::testing::{FaultyWire, SecondProcess, WireFault, hears, role, says};
use soloist::{Client, Error};

const LONG: Duration = Duration::from_secs(600);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("this should have happened long ago")
}

/// A client that keeps results, and of itself does not find out for long that its connections are dead.
async fn patient(url: &str) -> Client {
    let store = RedisStore::connect_with(url, RedisOptions::default().health_check(LONG)).await.unwrap();
    Client::builder().result_cache(100, 1 << 20).store(Arc::new(store)).unwrap()
}

/// The value, or the one that this call computes.
async fn read(client: &Client, own: u32) -> u32 {
    soon(client.once("k").keep(LONG).run(|| async move { Ok::<u32, Error>(own) })).await.unwrap()
}

/// Waits until a reader sees this value.
async fn until_it_reads(client: &Client, value: u32) {
    soon(async {
        while read(client, value).await != value {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// How often scripts ran.
fn scripts(server: &RedisServer) -> u64 {
    let info = server.say("INFO commandstats");
    let calls = |name| {
        let line = info.lines().find_map(|line: &str| line.strip_prefix(name))?;
        line.strip_prefix("calls=")?.split(',').next()?.parse::<u64>().ok()
    };
    calls("cmdstat_evalsha:").unwrap_or(0) + calls("cmdstat_eval:").unwrap_or(0)
}

/// Reads until many in a row have asked the server nothing.
async fn kept_here(client: &Client, server: &RedisServer) {
    soon(async {
        loop {
            let before = scripts(server);
            for _ in 0..100 {
                read(client, 0).await;
            }
            if scripts(server) == before {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn reading_again_asks_nothing() {
    let server = RedisServer::start();
    let client = patient(&server.url()).await;
    assert_eq!(read(&client, 1).await, 1);
    kept_here(&client, &server).await;
    let before = scripts(&server);
    for _ in 0..10_000 {
        assert_eq!(read(&client, 0).await, 1);
        tokio::task::yield_now().await;
    }
    // A machine that stands still for a second asks once.
    assert!(scripts(&server) <= before + 5, "{} scripts", scripts(&server) - before);
}

#[tokio::test]
async fn what_is_not_heard_of_any_more_is_not_served() {
    let server = RedisServer::start();
    let wire = FaultyWire::before(("127.0.0.1", server.port())).unwrap();
    let (client, other) = (patient(&wire.url()).await, patient(&server.url()).await);
    assert_eq!(read(&client, 1).await, 1);
    kept_here(&client, &server).await;
    // The connection that hears looks alive, and says nothing from the next word on.
    wire.on_reply(b"soloist:1:events", WireFault::Silence);
    other.forget("k").await.unwrap();
    assert_eq!(read(&other, 2).await, 2);
    until_it_reads(&client, 2).await;
    assert_eq!(wire.counts().silenced, 1);
    // And so it goes on: what nobody would tell of is asked for.
    other.forget("k").await.unwrap();
    assert_eq!(read(&client, 3).await, 3);
}

#[tokio::test]
async fn what_was_missed_while_the_connection_was_cut_is_not_served() {
    let server = RedisServer::start();
    let (client, other) = (patient(&server.url()).await, patient(&server.url()).await);
    for value in 1..10 {
        other.forget("k").await.unwrap();
        assert_eq!(read(&other, value).await, value);
        until_it_reads(&client, value).await;
        server.say("CLIENT KILL TYPE pubsub");
    }
    until_it_reads(&client, 9).await;
    kept_here(&client, &server).await;
}

#[tokio::test]
async fn nor_is_what_nobody_read_meanwhile() {
    let server = RedisServer::start();
    let wire = FaultyWire::before(("127.0.0.1", server.port())).unwrap();
    let (client, other) = (patient(&wire.url()).await, patient(&server.url()).await);
    let also = async |client: &Client, own: u32| {
        let once = client.once("also").keep(LONG);
        soon(once.run(|| async move { Ok::<u32, Error>(own) })).await.unwrap()
    };
    assert_eq!((read(&client, 1).await, also(&client, 1).await), (1, 1));
    kept_here(&client, &server).await;
    wire.refuse(true);
    wire.cut();
    other.forget("also").await.unwrap();
    assert_eq!(also(&other, 2).await, 2);
    wire.refuse(false);
    // All is heard again; and of what happened before that, nothing was.
    kept_here(&client, &server).await;
    assert_eq!(also(&client, 0).await, 2);
}

#[tokio::test]
async fn a_server_that_lost_its_data_is_asked_anew() {
    let mut server = RedisServer::start();
    let client = patient(&server.url()).await;
    assert_eq!(read(&client, 1).await, 1);
    kept_here(&client, &server).await;
    server.kill();
    server.start_again_empty();
    until_it_reads(&client, 2).await;
}

#[tokio::test]
async fn whoever_was_frozen_reads_nothing_old() {
    let server = RedisServer::start();
    let other = patient(&server.url()).await;
    assert_eq!(read(&other, 1).await, 1);
    let url = server.url();
    let mut frozen = SecondProcess::in_role("a_reader", "reader", &[("SOLOIST_URL", &url)]);
    assert_eq!(soon(frozen.says()).await.as_deref(), Some("1"));
    frozen.freeze();
    other.forget("k").await.unwrap();
    assert_eq!(read(&other, 2).await, 2);
    // Longer than a reader may be behind.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    frozen.tell("read");
    frozen.wake();
    assert_eq!(soon(frozen.says()).await.as_deref(), Some("2"));
    frozen.kill();
    frozen.reap();
}

#[tokio::test]
async fn a_reader() {
    if role().as_deref() != Some("reader") {
        return;
    }
    let client = patient(&std::env::var("SOLOIST_URL").unwrap()).await;
    for _ in 0..1000 {
        read(&client, 0).await;
        tokio::task::yield_now().await;
    }
    says(&read(&client, 0).await.to_string());
    // Blocks the runtime: when it goes on, the first thing that it does is to read.
    while hears().is_some() {
        says(&read(&client, 0).await.to_string());
    }
}
