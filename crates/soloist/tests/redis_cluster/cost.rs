//! What keeping many leases costs the nodes, counted in their own statistics.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use soloist::{Client, Lease, Moment};

use crate::cluster::{Cluster, hasty, shard, until};
use crate::moves::number;

const LEASES: usize = 1000;
const TTL: Duration = Duration::from_secs(6);

/// How often scripts ran at all nodes, and how many leases were written.
async fn counted(cluster: &Cluster) -> (u64, u64) {
    let mut sum = (0, 0);
    for node in &cluster.nodes {
        let info: String = node.run(&["INFO", "commandstats"]).await;
        let calls = |name: &str| number(&info, &format!("cmdstat_{name}:"), "calls=");
        sum = (sum.0 + calls("evalsha"), sum.1 + calls("set"));
    }
    sum
}

/// Waits until each lease ends later than it did by so much, and answers when each ends.
async fn pass(leases: &[Lease], time: Duration) {
    let ends: Vec<Moment> = leases.iter().map(|lease| lease.deadline().unwrap().after(time)).collect();
    until(async || leases.iter().zip(&ends).all(|(lease, end)| lease.deadline() >= Some(*end))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_one_shard_are_renewed_in_one_call() {
    let cluster = Cluster::start(3, false).await;
    let client = Client::builder().ttl(TTL).store(cluster.store(hasty()).await).unwrap();
    let keys: Vec<String> = (0..LEASES).map(|n| format!("many:{n}")).collect();
    let shards = keys.iter().map(|key| shard(key)).collect::<BTreeSet<_>>().len() as u64;
    let granted = stream::iter(&keys).map(|key| client.lock(key).into_future()).buffer_unordered(32);
    let leases: Vec<Lease> = granted.map(Result::unwrap).collect().await;
    // Until those that were taken at other times have found each other.
    pass(&leases, TTL / 3).await;
    let before = counted(&cluster).await;
    pass(&leases, TTL / 2).await;
    let after = counted(&cluster).await;
    let (calls, renewed) = (after.0 - before.0, after.1 - before.1);
    println!("{renewed} renewals of {LEASES} leases in {shards} shards took {calls} calls");
    assert!(renewed >= LEASES as u64, "{renewed}");
    // As few as can be is one a shard; half as many again are for those whose time was not the others'.
    assert!(calls * LEASES as u64 <= renewed * shards * 3 / 2, "{calls} for {renewed} of {shards} shards");
    assert!(leases.iter().all(|lease| !lease.is_lost()));
}
