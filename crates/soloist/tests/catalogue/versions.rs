//! Records of another version, or of another program, under our names: refused, never guessed.

use soloist::{Client, Error};

use crate::client;
use crate::fleet::soon;
use crate::redis_server::RedisServer;

/// Nothing is granted on it, nothing is told of it, and nothing of it is changed.
async fn is_refused(server: &RedisServer, client: &Client, name: &str, what: &str) {
    let before: Vec<u8> = server.run(&["DUMP", name]).await;
    let tried = soon(async { client.try_lock("k").await.map(|lease| lease.is_some()) }).await;
    assert!(matches!(tried, Err(Error::Refused { .. })), "{what}: {tried:?}");
    let joined = soon(client.once("k").join::<u8>()).await.map(|_| ());
    assert!(matches!(joined, Err(Error::Refused { .. })), "{what}: {joined:?}");
    let broken = soon(client.break_lock("k")).await;
    assert!(matches!(broken, Err(Error::Refused { .. })), "{what}: {broken:?}");
    let after: Vec<u8> = server.run(&["DUMP", name]).await;
    assert_eq!(before, after, "{what}: it was changed");
}

#[tokio::test]
async fn a_lease_that_makes_no_sense_is_not_taken_for_a_free_key() {
    let server = RedisServer::start();
    let client = client(&server.url(), "a").await;
    // Where the lease of this key stands, and what it looks like.
    let id = client.lock("k").no_expiry().await.unwrap().detach().await.unwrap();
    let names: Vec<String> = server.run(&["KEYS", "soloist:1:*:l:k"]).await;
    let [name] = names.as_slice() else { panic!("{names:?}") };
    client.release(&id).await.unwrap();
    for what in ["", "x", "locked by somebody", &"y".repeat(40)] {
        server.run::<()>(&["SET", name, what]).await;
        is_refused(&server, &client, name, what).await;
    }
    for foreign in [&["RPUSH", name, "x"][..], &["HSET", name, "a", "b"], &["SADD", name, "x"]] {
        server.run::<()>(&["DEL", name]).await;
        server.run::<i64>(foreign).await;
        is_refused(&server, &client, name, foreign[0]).await;
    }
    // Once it is gone the key is as any other.
    server.run::<()>(&["DEL", name]).await;
    assert!(client.try_lock("k").await.unwrap().is_some());
}

#[tokio::test]
async fn keys_of_another_version_are_neither_seen_nor_touched() {
    let server = RedisServer::start();
    let client = client(&server.url(), "a").await;
    server.run::<()>(&["SET", "soloist:2:{00}:l:k", "of the future"]).await;
    let lease = client.lock("k").await.unwrap();
    assert_eq!(client.list("*").await.unwrap().len(), 1);
    lease.release().await.unwrap();
    let left: String = server.run(&["GET", "soloist:2:{00}:l:k"]).await;
    assert_eq!(left, "of the future");
}
