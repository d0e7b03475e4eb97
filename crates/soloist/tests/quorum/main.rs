//! A majority of several stores: what it promises, and what is done to it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod faults;
#[path = "../support/hostile.rs"]
mod hostile;
mod model;
#[path = "../support/party.rs"]
mod party;
#[path = "../support/redis_server.rs"]
mod redis_server;
#[path = "../support/request.rs"]
mod request;
mod servers;
mod simulation;
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use soloist::protocol::{Request, Ttl};
use soloist::store::quorum::QuorumStore;
use soloist::{Client, Lease, Store};

/// A generous limit for everything that is waited for.
pub const SOON: Duration = Duration::from_secs(60);

/// Fails instead of hanging.
pub async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this should have happened long ago")
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(mut so: impl FnMut() -> F) {
    soon(async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub fn quorum(nodes: Vec<Arc<dyn Store>>) -> Arc<QuorumStore> {
    Arc::new(QuorumStore::new(nodes).unwrap())
}

pub fn lock(key: &str, who: &str) -> Request {
    request::lock(key, who, Ttl::new(Duration::from_secs(60)))
}

/// One stands in line, and is given the key when the other releases it.
pub async fn handed_over(a: &Client, first: Lease, b: &Client) -> Lease {
    let b = b.clone();
    let waiting = tokio::spawn(async move { b.lock("k").await.unwrap() });
    until(|| async { a.inspect("k").await.unwrap().waiting == 1 }).await;
    let token = first.token();
    soon(first.release()).await.unwrap();
    let second = soon(waiting).await.unwrap();
    assert!(second.token() > token);
    second
}
