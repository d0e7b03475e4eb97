//! What is told at the first connection, and that all verbs reach the node that has their key.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use soloist::store::redis::RedisStore;
use soloist::{Client, Error, EventKind, Told};

use crate::cluster::{Cluster, hasty, shard, soon, until};
use crate::redis_server::{RedisServer, free_port};

/// Keys in many shards, with all that could move a slot.
fn keys() -> Vec<String> {
    (0..40).map(|n| format!("{{connect}}{n}}}{{")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_reaches_the_node_that_has_its_key() {
    let cluster = Cluster::shared().await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let mut events = a.events().await.unwrap();
    let mut leases = Vec::new();
    for key in keys() {
        leases.push(soon(a.lock(&key).into_future()).await.unwrap());
    }
    assert!(keys().iter().map(|key| shard(key)).collect::<BTreeSet<_>>().len() > 20);
    let listed = b.list("{connect}*").await.unwrap();
    assert_eq!(listed.iter().map(|info| info.key.as_str()).collect::<BTreeSet<_>>().len(), 40);
    assert!(listed.iter().all(|info| info.holding.is_some()));
    let mut waiting = Vec::new();
    for key in keys() {
        let next = b.clone();
        waiting.push(tokio::spawn(async move { next.lock(&key).await.unwrap() }));
    }
    for lease in leases {
        until(async || b.inspect(lease.key().as_str()).await.unwrap().waiting == 1).await;
        soon(lease.release()).await.unwrap();
    }
    for waits in waiting {
        drop(soon(waits).await.unwrap());
    }
    // Each was locked twice, and all of them tell.
    let mut locked = std::collections::BTreeMap::new();
    soon(async {
        while locked.len() < 40 || locked.values().any(|times| *times < 2) {
            if let Some(Told::Event(event)) = events.next().await
                && event.kind == EventKind::Locked
                && event.key.as_str().starts_with("{connect}")
            {
                *locked.entry(event.key.to_string()).or_insert(0) += 1;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flights_and_forced_leases_are_told_by_message() {
    let cluster = Cluster::shared().await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let held = a.lock("forced").ttl(Duration::from_secs(300)).await.unwrap();
    let next = soon(b.lock("forced").force().into_future()).await.unwrap();
    assert!(next.token() > held.token());
    soon(held.lost()).await;
    drop(next);
    let leads = a.clone();
    let flight = tokio::spawn(async move {
        leads
            .once("flight")
            .run(|| async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok::<_, std::convert::Infallible>(7)
            })
            .await
    });
    until(async || b.inspect("flight").await.unwrap().holding.is_some()).await;
    let heard: u32 =
        soon(b.once("flight").run(|| async { Ok::<_, std::convert::Infallible>(8) })).await.unwrap();
    assert_eq!((heard, soon(flight).await.unwrap().unwrap()), (7, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_cluster_and_what_is_one_is_told_at_once() {
    let cluster = Cluster::shared().await;
    let single = RedisServer::start();
    let told = |url: String| async move { RedisStore::connect_with(&url, hasty()).await.unwrap_err() };
    let error = told(single.url().replace("redis://", "redis-cluster://")).await;
    assert!(
        matches!(&error, Error::Refused { why, hint, .. } if why.contains("not in cluster mode") && hint.contains("redis://")),
        "{error}"
    );
    let error = told(cluster.nodes[0].url()).await;
    assert!(
        matches!(&error, Error::Refused { why, hint, .. } if why.contains("node of a cluster") && hint.contains("redis-cluster://")),
        "{error}"
    );
    let error = told(format!("redis-cluster://127.0.0.1:{}", free_port())).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let error = told(format!("{}/2", cluster.url())).await;
    assert!(matches!(&error, Error::BadUrl { why, .. } if why.contains("database 0")), "{error}");
    // Each host of the URL leads to all, also to those that it does not name.
    let url = format!("redis-cluster://127.0.0.1:{},{}", free_port(), cluster.host(2));
    let client =
        Client::builder().store(std::sync::Arc::new(RedisStore::connect(&url).await.unwrap())).unwrap();
    for key in ["a", "b", "c", "d", "e"] {
        drop(soon(client.lock(key).into_future()).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_at_once() {
    let cluster =
        Cluster::start_with(1, false, &["--user", "store", "on", ">geheim-4711", "~*", "&*", "+@all"]).await;
    let url = |password: &str| format!("redis-cluster://store:{password}@{}", cluster.host(0));
    let error = RedisStore::connect(&url("falsch-0815")).await.unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(matches!(error, Error::Refused { .. }) && !said.contains("falsch"), "{said}");
    let client = Client::connect(&url("geheim-4711")).await.unwrap();
    drop(soon(client.lock("k").into_future()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_those_of_the_keys_own_primary_and_all_nodes_are_examined() {
    let cluster = Cluster::start(3, true).await;
    let client = cluster.client("a").await;
    for key in ["a", "b", "c", "d", "e", "f"] {
        soon(soon(client.lock(key).replicas(1).into_future()).await.unwrap().release()).await.unwrap();
        let error = soon(client.lock(key).replicas(2).into_future()).await.unwrap_err();
        assert!(matches!(error, Error::NotReplicated { .. }), "{error}");
    }
    let findings = soon(client.examine()).await.unwrap();
    let about = |code: &str| findings.iter().filter(|finding| finding.code == code).count();
    assert_eq!((about("cluster"), about("open-slots"), about("slots"), about("unavailable")), (1, 0, 0, 0));
    assert_eq!(about("latency"), 6, "each node is looked at: {findings:?}");
    let slot = cluster.slot_of(0, "a").await;
    let from = cluster.owner(0, slot).await.unwrap();
    cluster.begin_move(slot, from, (from + 1) % 3).await;
    let findings = soon(client.examine()).await.unwrap();
    assert_eq!(findings.iter().filter(|finding| finding.code == "open-slots").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_guard_holds_in_each_shard() {
    let cluster = Cluster::start(3, false).await;
    let guard = Duration::from_secs(2);
    let store = cluster.store(hasty().boot_guard(guard)).await;
    let client = Client::builder().ttl(guard).store(store).unwrap();
    let error = soon(client.try_lock("k").into_future()).await.unwrap_err();
    assert!(matches!(error, Error::Guarded { .. }), "{error}");
    soon(soon(client.lock("k").into_future()).await.unwrap().release()).await.unwrap();
    drop(soon(client.try_lock("k").into_future()).await.unwrap().unwrap());
}
