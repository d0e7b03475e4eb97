//! A server that takes no writes: too few replicas, no memory, a script that hangs.

use soloist::{Error, Flight};

use crate::fleet::{in_line, soon, until};
use crate::redis_server::RedisServer;
use crate::{MS, client, client_with, hasty};

/// A primary that wants a replica, and the one that it has.
async fn with_replica() -> (RedisServer, RedisServer) {
    let wants = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"];
    let quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
    let primary = RedisServer::start_with(&[&wants[..], &quick].concat());
    let port = primary.port().to_string();
    let replica = RedisServer::start_with(&[&["--replicaof", "127.0.0.1", &port], &quick[..]].concat());
    let counts = async || {
        let said: String = primary.run(&["INFO", "replication"]).await;
        said.contains("min_slaves_good_slaves:1")
    };
    until(counts).await;
    (primary, replica)
}

async fn too_few(primary: &RedisServer) {
    until(async || {
        primary.run::<String>(&["INFO", "replication"]).await.contains("min_slaves_good_slaves:0")
    })
    .await;
}

#[tokio::test]
async fn without_its_replica_a_server_refuses_the_release_which_is_done_when_it_is_back() {
    let (primary, replica) = with_replica().await;
    let one = client_with(&primary.url(), "a", hasty().give_up(MS(500))).await;
    let other = client(&primary.url(), "b").await;
    // One with an hour, and one that would never end by itself.
    let (lease, forever) =
        (one.lock("k").ttl(MS(3_600_000)).await.unwrap(), one.lock("f").no_expiry().await.unwrap());
    replica.freeze();
    too_few(&primary).await;
    for lease in [lease, forever] {
        let key = lease.key().to_string();
        let error = soon(lease.release()).await.unwrap_err();
        assert!(matches!(&error, Error::Refused { why, .. } if why.contains("NOREPLICAS")), "{error:?}");
        assert!(error.hint().unwrap().contains("min-replicas-to-write"));
        assert!(
            other.inspect(&key).await.unwrap().holding.is_some(),
            "it was not released, and not said to be"
        );
    }
    let error = soon(async { one.lock("new").await }).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("NOREPLICAS")), "{error:?}");
    replica.wake();
    for key in ["k", "f"] {
        until(async || other.inspect(key).await.unwrap().holding.is_none()).await;
    }
}

#[tokio::test]
async fn with_its_memory_full_a_server_still_ends_what_it_granted() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let (one, other) = (client(&server.url(), "a").await, client(&server.url(), "b").await);
    let lease = one.lock("k").ttl(MS(2000)).await.unwrap();
    let Flight::Leader(leader) = one.once("f").join::<u8>().await.unwrap() else { panic!() };
    let waiting = {
        let other = other.clone();
        tokio::spawn(async move { other.lock("k").await.unwrap().release().await })
    };
    let following = {
        let other = other.clone();
        tokio::spawn(async move { other.once("f").join::<u8>().await })
    };
    in_line(&one, "k", 1).await;
    in_line(&one, "f", 1).await;
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = soon(async { one.lock("new").await }).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("OOM")), "{error:?}");
    assert!(error.hint().unwrap().contains("maxmemory"));
    // It renews itself twice as long as it would live.
    let deadline = lease.deadline().unwrap();
    until(async || soloist::Moment::now() > deadline.after(MS(2000))).await;
    assert!(!lease.is_lost());
    lease.release().await.unwrap();
    soon(waiting).await.unwrap().unwrap();
    leader.publish(7).await.unwrap();
    assert!(matches!(soon(following).await.unwrap().unwrap(), Flight::Done(7)));
}

#[tokio::test]
async fn a_server_that_somebodys_script_keeps_busy_is_waited_for() {
    let server = RedisServer::start_with(&["--busy-reply-threshold", "50"]);
    let one = client(&server.url(), "a").await;
    let lease = one.lock("k").ttl(MS(20_000)).await.unwrap();
    let mut admin = server.admin().await;
    let hog = tokio::spawn(async move {
        let script =
            "local till = redis.call('TIME')[1] + 2; while tonumber(redis.call('TIME')[1]) < till do end";
        redis::cmd("EVAL").arg(script).arg(0).query_async::<()>(&mut admin).await
    });
    let mut probe = server.admin().await;
    soon(async { while redis::cmd("PING").query_async::<String>(&mut probe).await.is_ok() {} }).await;
    assert!(!hog.is_finished(), "the server is busy now");
    soon(lease.release()).await.unwrap();
    soon(hog).await.unwrap().unwrap();
    assert!(one.try_lock("k").await.unwrap().is_some());
}
