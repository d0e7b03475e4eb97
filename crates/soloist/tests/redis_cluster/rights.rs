//! The rights that docs/redis.md names for a cluster: enough for everything, and each that is missing is named.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Client, Error, Finding, Level, Told};

use crate::cluster::{Cluster, soon, until};

/// The rights of the page, one word each; the second user on it is that of a cluster.
fn documented() -> Vec<&'static str> {
    let page = include_str!("../../../../docs/redis.md");
    let line = page.lines().filter(|line| line.starts_with("ACL SETUSER soloist")).nth(1).unwrap();
    line.split_whitespace().skip_while(|word| *word != "resetkeys").collect()
}

/// Has the user `worker` these rights at every node, and no others.
async fn give(cluster: &Cluster, rights: &[&str]) {
    for node in 0..cluster.nodes.len() {
        let words = [&["ACL", "SETUSER", "worker", "reset", "on", ">pw"], rights].concat();
        let () = cluster.ask(node, &words).await.unwrap();
    }
}

fn url(cluster: &Cluster) -> String {
    cluster.url().replace("redis-cluster://", "redis-cluster://worker:pw@")
}

/// That a refusal is about this right, and says how it is given.
fn is_about(right: &str, error: Error) {
    let said = format!("{right}: {error:?}");
    let finding = Finding::from(error);
    let fix = finding.fix.unwrap_or_default();
    assert_eq!(finding.code, "rights", "{said}");
    assert!(fix.split_whitespace().any(|word| word == right) && fix.contains("every node"), "{said}: {fix}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_user_can_do_everything() {
    let cluster = Cluster::start(2, false).await;
    give(&cluster, &documented()).await;
    let url = url(&cluster);
    let (a, b) = (Client::connect(&url).await.unwrap(), Client::connect(&url).await.unwrap());
    let mut events = soon(a.events()).await.unwrap();
    for key in ["a", "b", "c", "d", "e"] {
        let lease = soon(a.lock(key).into_future()).await.unwrap();
        let waiting = {
            let b = b.clone();
            tokio::spawn(async move { b.lock(key).await })
        };
        until(async || a.inspect(key).await.unwrap().waiting == 1).await;
        assert!(b.try_lock(key).await.unwrap().is_none());
        drop(b.lock(key).wait(Duration::from_millis(5)).await);
        lease.renew(Duration::from_secs(30)).await.unwrap();
        lease.release().await.unwrap();
        let id = soon(waiting).await.unwrap().unwrap().detach().await.unwrap();
        drop(soon(a.lock(key).force().into_future()).await.unwrap());
        assert!(b.release(&id).await.is_err());
        a.break_lock(key).await.unwrap();
    }
    let large = "x".repeat(100_000);
    let run = || async { Ok::<_, Infallible>(large.clone()) };
    assert_eq!(soon(a.once("r").keep(Duration::from_secs(30)).run(run)).await.unwrap().len(), 100_000);
    assert_eq!(b.result::<String>("r").await.unwrap().unwrap().len(), 100_000);
    assert_eq!(b.list("*").await.unwrap().len(), 1);
    assert!(b.forget("r").await.unwrap());
    assert!(matches!(soon(events.next()).await, Some(Told::Event(_))));

    // In a slot that moves.
    let slot = cluster.slot_of(0, "moves").await;
    let from = cluster.owner(0, slot).await.unwrap();
    let lease = soon(a.lock("moves").into_future()).await.unwrap();
    cluster.begin_move(slot, from, 1 - from).await;
    let next = tokio::spawn(async move { b.lock("moves").await });
    cluster.end_move(slot, from, 1 - from).await;
    soon(lease.release()).await.unwrap();
    drop(soon(next).await.unwrap().unwrap());
    let guarded = Client::connect(&format!("{url}?boot_guard=50ms")).await.unwrap();
    drop(soon(guarded.lock("g").into_future()).await.unwrap());

    for node in 0..2 {
        let refused: Vec<redis::Value> = cluster.ask(node, &["ACL", "LOG"]).await.unwrap();
        let refused: Vec<_> = refused.iter().map(|entry| format!("{entry:?}")).collect();
        // The name of the client library, of which newer servers are told.
        let harmful: Vec<_> = refused.iter().filter(|entry| !entry.contains("cmd=client")).collect();
        assert!(harmful.is_empty(), "{harmful:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_that_is_missing_is_named_at_every_node() {
    let cluster = Cluster::start(3, true).await;
    let all = documented();
    let rights: Vec<&str> =
        all.iter().copied().filter(|word| !word.contains("reset") && *word != "-@all").collect();
    assert!(rights.len() > 20, "{rights:?}");
    let admin = cluster.client("admin").await;
    until(async || {
        let findings = admin.examine().await.unwrap();
        findings.iter().filter(|finding| finding.code == "latency").count() == 6
    })
    .await;
    for (n, right) in [""].iter().chain(&rights).enumerate() {
        let have: Vec<&str> = all.iter().copied().filter(|word| word != right).collect();
        give(&cluster, &have).await;
        let patient = RedisOptions::default().give_up(Duration::from_secs(3600));
        let client = match soon(RedisStore::connect_with(&url(&cluster), patient)).await {
            Ok(store) => Client::builder().store(Arc::new(store)).unwrap(),
            Err(error) => {
                is_about(right, error);
                continue;
            }
        };
        let findings = soon(client.examine()).await.unwrap();
        let found: Vec<_> = findings.iter().filter(|finding| finding.code == "rights").collect();
        if right.is_empty() {
            assert!(found.is_empty(), "the documented user lacks nothing: {found:?}");
            continue;
        }
        assert_eq!(found.len(), 6, "{right} at each node: {found:?}");
        for finding in found {
            let named = match right.split_at(1) {
                ("+", command) => finding.what.split([' ', ',']).any(|word| word == command),
                ("~", _) => finding.what.contains("keys"),
                _ => finding.what.contains("channels"),
            };
            let fix = finding.fix.as_deref().unwrap();
            assert!(named && finding.node.is_some() && finding.level == Level::Error, "{right}: {finding:?}");
            assert!(
                fix.starts_with("ACL SETUSER worker ") && fix.split(' ').any(|word| word == *right),
                "{fix}"
            );
        }
        // Whoever needs it is told so, and not after the time for an outage.
        match soon(client.try_lock(format!("k{n}")).into_future()).await {
            Ok(lease) => {
                if let Err(error) = soon(lease.unwrap().release()).await {
                    is_about(right, error);
                }
            }
            Err(error) => is_about(right, error),
        }
        // Not closed: that would wait for what may not be released.
    }
    for node in &cluster.nodes {
        let left: Vec<String> = node.run(&["KEYS", "*doctor*"]).await;
        assert!(left.is_empty(), "it leaves nothing behind: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_follow_a_slot_is_told_so() {
    let cluster = Cluster::start(2, false).await;
    let have: Vec<&str> = documented().into_iter().filter(|word| *word != "+asking").collect();
    give(&cluster, &have).await;
    let client = Client::connect(&url(&cluster)).await.unwrap();
    let slot = cluster.slot_of(0, "k").await;
    let from = cluster.owner(0, slot).await.unwrap();
    cluster.begin_move(slot, from, 1 - from).await;
    is_about("+asking", soon(client.try_lock("k").into_future()).await.unwrap_err());
}
