//! The rights that docs/redis.md names are enough for everything.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use redis_server::RedisServer;
use soloist::{Client, Told};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_documented_user_can_do_everything() {
    let page = include_str!("../../../docs/redis.md");
    let line =
        page.lines().find(|line| line.starts_with("ACL SETUSER soloist")).expect("the page has the line");
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    let mut command = redis::Cmd::new();
    for word in line.split_whitespace() {
        command.arg(word);
    }
    let _: () = command.query_async(&mut admin).await.unwrap();

    let url = server.url().replace("redis://", "redis://soloist:PASSWORD@");
    let (a, b) = (Client::connect(&url).await.unwrap(), Client::connect(&url).await.unwrap());
    let mut events = a.events().await.unwrap();
    let lease = a.lock("k").await.unwrap();
    let waiting = {
        let b = b.clone();
        tokio::spawn(async move { b.lock("k").await })
    };
    while a.inspect("k").await.unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    assert!(b.try_lock("k").await.unwrap().is_none());
    drop(b.lock("k").wait(Duration::from_millis(5)).await);
    lease.renew(SOON).await.unwrap();
    lease.release().await.unwrap();
    let id = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap().detach().await.unwrap();
    drop(a.lock("k").force().await.unwrap());
    assert!(b.release(&id).await.is_err());
    a.break_lock("k").await.unwrap();
    let large = "x".repeat(100_000);
    let run = || async { Ok::<_, Infallible>(large.clone()) };
    assert_eq!(a.once("r").keep(SOON).run(run).await.unwrap().len(), 100_000);
    assert_eq!(b.result::<String>("r").await.unwrap().unwrap().len(), 100_000);
    assert_eq!(b.list("*").await.unwrap().len(), 1);
    assert!(b.forget("r").await.unwrap());
    assert!(matches!(events.next().await, Some(Told::Event(_))));

    // The boot guard needs no more.
    let guarded = Client::connect(&format!("{url}?boot_guard=50ms")).await.unwrap();
    drop(tokio::time::timeout(SOON, guarded.lock("g").into_future()).await.unwrap().unwrap());

    // Newer servers are told the name of the client library; that it may not is no harm.
    let refused: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query_async(&mut admin).await.unwrap();
    let refused: Vec<_> = refused.iter().map(|entry| format!("{entry:?}")).collect();
    let harmful: Vec<_> = refused.iter().filter(|entry| !entry.contains("cmd=client")).collect();
    assert!(harmful.is_empty(), "{harmful:?}");
}
