//! Three real servers: frozen, killed, and started again without what they knew.

use std::sync::Arc;
use std::time::Duration;

use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Client, Error, Store};

use crate::redis_server::RedisServer;
use crate::{handed_over, quorum, soon, until};

const GUARD: Duration = Duration::from_secs(600);

async fn servers() -> Vec<RedisServer> {
    let servers: Vec<_> = (0..3).map(|_| RedisServer::start()).collect();
    for server in &servers {
        server.season().await;
    }
    servers
}

async fn client(servers: &[RedisServer], holder: &str) -> Client {
    let mut nodes: Vec<Arc<dyn Store>> = Vec::new();
    for server in servers {
        let options = RedisOptions::default().boot_guard(GUARD).give_up(Duration::from_secs(3));
        nodes.push(Arc::new(RedisStore::connect_with(&server.url(), options).await.unwrap()));
    }
    Client::builder().holder(holder).store(quorum(nodes)).unwrap()
}

#[tokio::test]
async fn a_server_that_lost_its_data_makes_no_second_holder_and_gets_the_lease_again() {
    let mut servers = servers().await;
    let (a, b) = (client(&servers, "a").await, client(&servers, "b").await);
    let lease = soon(a.lock("k")).await.unwrap();
    servers[0].start_again(); // kill -9, and nothing was written
    until(|| async { b.inspect("k").await.is_ok() }).await;
    // The one that knows nothing is asked, too.
    assert!(soon(b.try_lock("k")).await.unwrap().is_none(), "two holders");
    servers[0].season().await; // as after the longest ttl
    let (key, held) = (lease.key().clone(), RedisStore::connect(&servers[0].url()).await.unwrap());
    until(|| async {
        lease.renew(Duration::from_secs(30)).await.unwrap();
        held.inspect(&key).await.unwrap().holding.is_some()
    })
    .await;
    // It counts from the next renewal on that the two others confirm, once it has answered that itself.
    for _ in 0..50 {
        lease.renew(Duration::from_secs(30)).await.unwrap();
    }
    // Now that one and another are a majority.
    servers[1].kill();
    until(|| async {
        assert!(!lease.is_lost());
        lease.renew(Duration::from_secs(30)).await.is_ok()
    })
    .await;
    soon(lease.release()).await.unwrap();
    drop(soon(b.lock("k")).await.unwrap());
}

#[tokio::test]
async fn a_frozen_server_is_no_majority() {
    let servers = servers().await;
    let (a, b) = (client(&servers, "a").await, client(&servers, "b").await);
    servers[2].freeze();
    let first = soon(a.lock("k")).await.unwrap();
    assert!(soon(b.try_lock("k")).await.unwrap().is_none());
    let second = handed_over(&a, first, &b).await;
    servers[2].wake();
    soon(second.release()).await.unwrap();
    drop(soon(a.lock("k")).await.unwrap());
}

#[tokio::test]
async fn by_url_a_minority_may_be_away_at_first_and_a_fresh_server_is_guarded() {
    let mut servers: Vec<_> = (0..3).map(|_| RedisServer::start()).collect();
    let url = servers.iter().map(|server| server.url()).collect::<Vec<_>>().join(",");
    let url = format!("quorum:{url}");
    let guarded = Client::connect(&url).await.unwrap();
    let told = guarded.try_lock("k").await;
    assert!(matches!(told, Err(Error::Guarded { .. })), "{told:?}");
    for server in &servers {
        server.season().await;
    }
    servers[1].kill();
    let client = soon(Client::connect(&url)).await.unwrap();
    let lease = soon(client.lock("k")).await.unwrap();
    servers[1].start_again();
    servers[1].season().await;
    // It is found, and has the lease then.
    let (key, there) = (lease.key().clone(), RedisStore::connect(&servers[1].url()).await.unwrap());
    until(|| async {
        lease.renew(Duration::from_secs(30)).await.unwrap();
        there.inspect(&key).await.unwrap().holding.is_some()
    })
    .await;
    servers[0].kill();
    servers[1].kill();
    let failed = Client::connect(&url).await;
    assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
}
