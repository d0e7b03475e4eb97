//! Primaries that end, hang or give way, under those who hold and wait.

use std::time::Duration;

use soloist::{Client, Lease, Loss};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cluster::{Cluster, shard, soon, until};

pub const LONG: Duration = Duration::from_secs(300);

pub fn print(what: &str, began: Instant, granted: Instant) {
    println!("first grant after {what}: {:.2} s", granted.duration_since(began).as_secs_f64());
}

/// Somebody who waits behind a holder.
async fn waiting(client: &Client) -> JoinHandle<Lease> {
    let next = client.clone();
    let waits = tokio::spawn(async move { next.lock("k").ttl(LONG).await.unwrap() });
    until(async || client.inspect("k").await.unwrap().waiting == 1).await;
    waits
}

/// Waits until the store counts the whole ttl of a lease: until its first renewal one that was handed over, or taken
/// without a script, has a short one, which no failover outlasts.
pub async fn confirmed(client: &Client, key: &str) {
    until(async || {
        let info = client.inspect(key).await.unwrap();
        let end = info.holding.and_then(|holding| holding.deadline).unwrap();
        u128::from(end.saturating_sub(info.now)) > (LONG / 2).as_micros()
    })
    .await;
}

/// Waits until the replica of a primary, which has the key, has all that it has.
pub async fn copied(cluster: &Cluster, primary: usize) {
    let mut admin = cluster.nodes[primary].admin().await;
    let mark = format!("soloist:1:{{{:02x}}}:mark", shard("k"));
    let () = redis::cmd("SET").arg(mark).arg(1).query_async(&mut admin).await.unwrap();
    let wait = redis::cmd("WAIT").arg(1).arg(20_000).query_async::<usize>(&mut admin).await;
    assert!(wait.unwrap() >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_a_primary_its_replica_is_followed() {
    let mut cluster = Cluster::start(3, true).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let slot = cluster.slot_of(0, "k").await;
    let mut at = cluster.owner(0, slot).await.unwrap();
    let asked = (at + 1) % 3;

    // An operator has it give way: nothing is lost.
    let held = a.lock("k").ttl(LONG).await.unwrap();
    let waits = waiting(&b).await;
    let replica = at + 3;
    let began = Instant::now();
    let () = cluster.ask(replica, &["CLUSTER", "FAILOVER"]).await.unwrap();
    assert_eq!(cluster.next_owner(asked, slot, at).await, replica);
    let before = held.token();
    soon(held.release()).await.unwrap();
    let second = soon(waits).await.unwrap();
    print("CLUSTER FAILOVER", began, Instant::now());
    assert!(second.token() > before);
    cluster.copies(at).await;
    at = replica;

    // It is killed, and comes back as a replica.
    let waits = waiting(&a).await;
    confirmed(&a, "k").await;
    copied(&cluster, at).await;
    let began = Instant::now();
    cluster.nodes[at].kill();
    let next = cluster.next_owner(asked, slot, at).await;
    let before = second.token();
    assert!(!second.is_lost());
    soon(second.release()).await.unwrap();
    let third = soon(waits).await.unwrap();
    print("kill -9 of the primary", began, Instant::now());
    assert!(third.token() > before);
    cluster.nodes[at].start_again();
    cluster.copies(at).await;
    at = next;

    // It hangs, and wakes up as one that knows nothing of all this.
    let waits = waiting(&b).await;
    confirmed(&b, "k").await;
    copied(&cluster, at).await;
    let began = Instant::now();
    cluster.nodes[at].freeze();
    let next = cluster.next_owner(asked, slot, at).await;
    let before = third.token();
    soon(third.release()).await.unwrap();
    let fourth = soon(waits).await.unwrap();
    print("a primary that hangs", began, Instant::now());
    assert!(fourth.token() > before);
    cluster.nodes[at].wake();
    cluster.copies(at).await;
    at = next;

    // What was not copied is told as lost, and tokens grow all the same.
    confirmed(&b, "k").await;
    copied(&cluster, at).await;
    let replica = (0..6).find(|node| node % 3 == at % 3 && *node != at).unwrap();
    for (name, value) in [("masteruser", "nobody"), ("masterauth", "x")] {
        let () = cluster.ask(replica, &["CONFIG", "SET", name, value]).await.unwrap();
    }
    let () = cluster.ask(at, &["CLIENT", "KILL", "TYPE", "replica"]).await.unwrap();
    until(async || {
        let info: String = cluster.ask(at, &["INFO", "replication"]).await.unwrap();
        info.contains("connected_slaves:0")
    })
    .await;
    let other = (0..).map(|n| format!("other {n}")).find(|key| shard(key) == shard("k")).unwrap();
    let lost = a.lock(&other).ttl(LONG).await.unwrap();
    let before = lost.token();
    confirmed(&a, &other).await;
    cluster.nodes[at].kill();
    assert_eq!(cluster.next_owner(asked, slot, at).await, replica);
    assert_eq!(soon(lost.lost()).await, Loss::Gone);
    let again = soon(b.lock(&other).into_future()).await.unwrap();
    assert!(again.token() > before && !fourth.is_lost());
    soon(fourth.release()).await.unwrap();
}
