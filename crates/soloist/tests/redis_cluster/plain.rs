//! Nodes that do not know sharded messages, as those of 6.2: there it is told plainly, to all nodes.

use std::time::Duration;

use futures_util::StreamExt;
use soloist::{Client, EventKind, Level, Told};

use crate::cluster::{Cluster, is_old, soon, until};
use crate::moves;

/// The installed server, without the words that it would need; one of 6.2 as it is.
fn plain() -> &'static [&'static str] {
    const WITHOUT: &[&str] = &[
        "--rename-command",
        "SPUBLISH",
        "",
        "--rename-command",
        "SSUBSCRIBE",
        "",
        "--rename-command",
        "SUNSUBSCRIBE",
        "",
    ];
    if is_old() { &[] } else { WITHOUT }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_told_by_message() {
    let cluster = Cluster::start_with(3, false, plain()).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let mut events = soon(a.events()).await.unwrap();
    // In all of them; forty slow looks would take longer than anybody waits here.
    for n in 0..40 {
        let key = format!("k{n}");
        let lease = soon(a.lock(&key).into_future()).await.unwrap();
        let waits = {
            let (b, key) = (b.clone(), key.clone());
            tokio::spawn(async move { b.lock(key).await.unwrap() })
        };
        until(async || a.inspect(&key).await.unwrap().waiting == 1).await;
        soon(lease.release()).await.unwrap();
        let next = soon(waits).await.unwrap();
        let taken = soon(a.lock(&key).force().into_future()).await.unwrap();
        soon(next.lost()).await;
        soon(taken.release()).await.unwrap();
    }
    let mut locked = std::collections::BTreeMap::new();
    soon(async {
        while locked.len() < 40 || locked.values().any(|times| *times < 3) {
            if let Some(Told::Event(event)) = events.next().await
                && (event.kind == EventKind::Locked || matches!(event.kind, EventKind::TakenOver { .. }))
            {
                *locked.entry(event.key.to_string()).or_insert(0) += 1;
            }
        }
    })
    .await;
    // Who is gone costs nobody any time, though a plain message to nobody might be heard elsewhere.
    let held = soon(a.lock("line").ttl(Duration::from_secs(300)).into_future()).await.unwrap();
    let gone = cluster.client("gone").await;
    let waits = {
        let gone = gone.clone();
        tokio::spawn(async move { gone.lock("line").await })
    };
    until(async || a.inspect("line").await.unwrap().waiting == 1).await;
    soon(gone.close()).await;
    assert!(soon(waits).await.unwrap().is_err());
    soon(held.release()).await.unwrap();
    assert!(a.inspect("line").await.unwrap().holding.is_none());
    let findings = soon(a.examine()).await.unwrap();
    assert!(findings.iter().all(|finding| finding.level < Level::Error), "{findings:?}");
    for node in &cluster.nodes {
        let stats: String = node.run(&["INFO", "commandstats"]).await;
        assert!(stats.contains("cmdstat_publish:") && stats.contains("cmdstat_subscribe:"), "{stats}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_user_lacks_nothing() {
    let page = include_str!("../../../../docs/redis.md");
    let line = page.lines().filter(|line| line.starts_with("ACL SETUSER soloist")).nth(2).unwrap();
    let cluster = Cluster::start_with(2, false, plain()).await;
    for node in 0..2 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let () = cluster.ask(node, &words).await.unwrap();
    }
    let url = cluster.url().replace("redis-cluster://", "redis-cluster://soloist:PASSWORD@");
    let client = Client::connect(&url).await.unwrap();
    let mut events = soon(client.events()).await.unwrap();
    soon(soon(client.lock("k").into_future()).await.unwrap().release()).await.unwrap();
    assert!(matches!(soon(events.next()).await, Some(Told::Event(_))));
    let findings = soon(client.examine()).await.unwrap();
    assert!(findings.iter().all(|finding| finding.code != "rights"), "{findings:?}");
    let () = cluster.ask(1, &["ACL", "SETUSER", "soloist", "-subscribe"]).await.unwrap();
    let findings = soon(client.examine()).await.unwrap();
    let found = findings.iter().find(|finding| finding.code == "rights").unwrap();
    assert!(found.what.contains("subscribe") && found.node == Some(cluster.host(1)), "{found:?}");
    assert!(found.fix.as_ref().unwrap().contains("+publish +subscribe +unsubscribe +asking"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_served_in_order_while_slots_move() {
    moves::served_in_order(plain()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_by_halves_while_a_slot_moves() {
    moves::whole(plain()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_does_not_hear_yet_where_a_slot_went_keeps_his_place() {
    moves::keeps_his_place(plain()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_dead_when_a_slot_moves_costs_no_more_than_a_hand_over() {
    moves::the_dead(plain()).await;
}
