//! The Redis store on a real server that misbehaves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/redis_server.rs"]
mod redis_server;

use redis_server::RedisServer;

#[tokio::test]
async fn the_harness_starts_kills_and_starts_again() {
    let mut server = RedisServer::start();
    let mut admin = server.admin().await;
    let () = redis::cmd("SET").arg("a").arg("b").query_async(&mut admin).await.unwrap();
    server.start_again();
    let mut admin = server.admin().await;
    let gone: Option<String> = redis::cmd("GET").arg("a").query_async(&mut admin).await.unwrap();
    assert_eq!(gone, None);
}
