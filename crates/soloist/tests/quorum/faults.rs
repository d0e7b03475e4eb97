//! Nodes that are down, slow or empty, and clients that are cut off from one of them.

use std::sync::Arc;
use std::time::Duration;

use soloist::protocol::{Mode, Who};
use soloist::store::memory::{MemoryStore, StoreClock};
use soloist::testing::{Checker, End, FaultyStore, Rates, Recorder, Verb, What};
use soloist::{Client, Error, Loss, Store, Want};

use crate::{handed_over, lock, quorum, soon, until};

const TTL: Duration = Duration::from_secs(20);

/// Three nodes, and one client's way to each.
struct Ground(Vec<MemoryStore>);

impl Ground {
    fn new() -> Self {
        Ground((0..3).map(|_| MemoryStore::new()).collect())
    }

    fn client(&self, holder: &str) -> (Client, Vec<Arc<FaultyStore>>) {
        let ways: Vec<_> =
            self.0.iter().map(|root| Arc::new(FaultyStore::new(Arc::new(root.peer())))).collect();
        let nodes = ways.iter().map(|way| Arc::clone(way) as Arc<dyn Store>).collect();
        (Client::builder().holder(holder).ttl(TTL).store(quorum(nodes)).unwrap(), ways)
    }
}

#[tokio::test]
async fn with_any_one_node_away_all_goes_on() {
    for away in 0..3 {
        let ground = Ground::new();
        let ((a, to_a), (b, to_b)) = (ground.client("a"), ground.client("b"));
        to_a[away].away(true);
        to_b[away].away(true);
        let first = soon(a.lock("k")).await.unwrap();
        assert!(soon(b.try_lock("k")).await.unwrap().is_none());
        let second = handed_over(&a, first, &b).await;
        soon(second.release()).await.unwrap();
    }
}

#[tokio::test]
async fn a_slow_node_holds_nobody_up() {
    let ground = Ground::new();
    let ((a, ways), (b, _)) = (ground.client("a"), ground.client("b"));
    let slow = Rates { late: 1000, late_call: 1000, lateness: Duration::from_secs(3600), ..Rates::default() };
    ways[1].rates(slow);
    let lease = soon(a.lock("k")).await.unwrap();
    assert!(soon(b.try_lock("k")).await.unwrap().is_none());
    soon(lease.renew(TTL)).await.unwrap();
    soon(lease.release()).await.unwrap();
    assert!(soon(b.try_lock("k")).await.unwrap().is_some());
}

/// Whoever has the bare majority and loses one of its nodes may have lost the lease, though two nodes have not said so: one
/// of them never had it. The word of one has all asked at once, not at the next renewal.
#[tokio::test]
async fn a_lease_that_one_of_its_two_nodes_ended_is_asked_for_at_once() {
    let ground = Ground::new();
    let other = lock("k", "other");
    ground.0[2].acquire(&other).await.unwrap();
    let (a, _) = ground.client("a");
    let lease = soon(a.lock("k").ttl(Duration::from_secs(3600))).await.unwrap();
    ground.0[1].release(lease.key(), &Who::Any).await.unwrap();
    soon(lease.lost()).await;
    assert!(soon(a.inspect("k")).await.unwrap().holding.is_none_or(|held| held.holder.as_str() != "a"));
}

#[tokio::test]
async fn without_a_majority_it_says_so_and_holders_lose_by_their_own_clock() {
    let ground = Ground::new();
    let (a, ways) = ground.client("a");
    let lease = soon(a.lock("k").ttl(Duration::from_secs(2))).await.unwrap();
    ways[0].away(true);
    ways[2].away(true);
    let failed = soon(a.lock("other")).await.unwrap_err();
    assert!(matches!(&failed, Error::Unavailable { why, .. } if why.contains("2 of 3")), "{failed}");
    assert!(soon(a.inspect("k")).await.is_err());
    assert_eq!(soon(lease.lost()).await, Loss::Expired);
    ways[0].away(false);
    soon(async { while a.lock("other").await.is_err() {} }).await;
}

#[tokio::test]
async fn what_a_minority_granted_is_given_back() {
    let ground = Ground::new();
    let ((a, ways), (b, _)) = (ground.client("a"), ground.client("b"));
    ways[1].away(true);
    ways[2].away(true);
    assert!(soon(a.try_lock("k")).await.is_err());
    let key = soloist::Key::new("k").unwrap();
    until(|| async { ground.0[0].inspect(&key).await.unwrap().holding.is_none() }).await;
    assert!(soon(b.try_lock("k")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_renewal_puts_a_lease_where_it_is_missing_and_takes_it_from_nobody() {
    let ground = Ground::new();
    let (a, ways) = ground.client("a");
    let key = soloist::Key::new("k").unwrap();
    ways[2].away(true);
    let lease = soon(a.lock("k")).await.unwrap();
    // Somebody else has it there: a part of nothing.
    let theirs = soloist::protocol::Request { mode: Mode::Try, ..crate::lock("k", "other") };
    ground.0[2].acquire(&theirs).await.unwrap();
    ways[2].away(false);
    soon(lease.renew(TTL)).await.unwrap();
    assert_eq!(ground.0[2].inspect(&key).await.unwrap().holding.unwrap().holder.as_str(), "other");
    ground.0[2].leave(&key, theirs.ticket).await.unwrap();
    until(|| async {
        lease.renew(TTL).await.unwrap();
        let holding = ground.0[2].inspect(&key).await.unwrap().holding;
        holding.is_some_and(|holding| holding.holder.as_str() == "a")
    })
    .await;
    // Now the two others are enough, whichever they are.
    ways[0].away(true);
    soon(lease.renew(TTL)).await.unwrap();
    soon(lease.release()).await.unwrap();
}

/// A node that has a lease again counts once a renewal has shown that, though it is always the last to answer.
#[tokio::test]
async fn a_node_that_is_slower_than_the_others_counts_again() {
    let clocks: Vec<_> = (0..3).map(|_| StoreClock::real()).collect();
    let ground = Ground(clocks.iter().map(|clock| MemoryStore::with_clock(clock.clone())).collect());
    // It has the lease under a token that is larger than the lease's own, as where it gets it much later.
    clocks[2].step(10_000_000);
    let (a, ways) = ground.client("a");
    let key = soloist::Key::new("k").unwrap();
    ways[2].away(true);
    let lease = soon(a.lock("k")).await.unwrap();
    ways[2].away(false);
    ways[2]
        .rates_of(Verb::Renew, Rates { late: 1000, lateness: Duration::from_millis(20), ..Rates::default() });
    until(|| async {
        lease.renew(TTL).await.unwrap();
        ground.0[2].inspect(&key).await.unwrap().holding.is_some()
    })
    .await;
    until(|| async {
        ways[0].away(false);
        lease.renew(TTL).await.unwrap();
        ways[0].away(true);
        lease.renew(TTL).await.is_ok()
    })
    .await;
    soon(lease.release()).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_set_at_one_node_ends_no_lease() {
    let clocks: Vec<_> = (0..3).map(|_| StoreClock::real()).collect();
    let ground = Ground(clocks.iter().map(|clock| MemoryStore::with_clock(clock.clone())).collect());
    let ((a, _), (b, _)) = (ground.client("a"), ground.client("b"));
    let lease = soon(a.lock("k")).await.unwrap();
    let key = lease.key().clone();
    until(|| async { ground.0[1].inspect(&key).await.unwrap().holding.is_some() }).await;
    clocks[1].step(3_600_000_000);
    assert!(soon(b.try_lock("k")).await.unwrap().is_none(), "one node is no majority");
    soon(lease.renew(TTL)).await.unwrap();
    assert!(!lease.is_lost());
    let token = lease.token();
    soon(lease.release()).await.unwrap();
    assert!(soon(b.lock("k")).await.unwrap().token() > token);
}

/// Who dies when the nodes have granted, and before that is one lease, costs the others no more than a hand-over to one
/// that is frozen, however long its ttl.
#[tokio::test]
async fn who_dies_in_mid_acquire_costs_no_more_than_a_hand_over() {
    let ground = Ground::new();
    let ((a, ways), (b, _)) = (ground.client("a"), ground.client("b"));
    let never = Rates { late_call: 1000, lateness: Duration::from_secs(36_000), ..Rates::default() };
    ways.iter().for_each(|way| way.rates_of(Verb::Renew, never));
    let asking = tokio::spawn(async move { a.lock("k").ttl(Duration::from_secs(3600)).await.map(drop) });
    let key = soloist::Key::new("k").unwrap();
    until(|| async { ground.0[1].inspect(&key).await.unwrap().holding.is_some() }).await;
    // Nothing of it can be said any more, not even by its keeper.
    ways.iter().for_each(|way| way.away(true));
    asking.abort();
    drop(soon(b.lock("k")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_contenders_each_cut_off_from_a_node_of_its_own_never_work_at_once() {
    let (ground, recorder) = (Ground::new(), Recorder::new(1));
    let mut tasks = Vec::new();
    for cut in 0..3_u32 {
        let (client, ways) = ground.client(&format!("client-{cut}"));
        ways[cut as usize].away(true);
        ways[cut as usize].rates_of(Verb::Acquire, Rates::default());
        let recorder = recorder.clone();
        tasks.push(tokio::spawn(async move {
            for turn in 0..10_u64 {
                let op = recorder.op();
                let (want, mode) = (Want::Lock, Mode::Line);
                recorder.record(cut, What::Asked { op, key: "k".into(), want, mode, wait: None });
                let lease = client.lock("k").await.unwrap();
                let sure = lease.deadline().map(Recorder::at);
                recorder.record(cut, What::Granted { op, token: lease.token().0, sure });
                tokio::time::sleep(Duration::from_millis(turn % 4)).await;
                let sure = lease.deadline().map(Recorder::at);
                recorder.record(cut, What::Ended { op, how: End::LetGo, sure });
                lease.release().await.unwrap();
            }
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    let violations: Vec<_> = Checker::default().check(&recorder.history());
    let serious: Vec<_> =
        violations.iter().map(ToString::to_string).filter(|it| !it.starts_with("NothingLeft")).collect();
    assert_eq!(serious, Vec::<String>::new());
}
