//! Slots move and primaries end, again and again, while clients lock and compute; what they believed is checked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use soloist::Client;
use soloist::testing::{Checker, Dice, History, Record, Recorder, RecordingStore, What};
use tokio::time::Instant;

use crate::cluster::{Cluster, hasty, shard, soon, until};
use crate::failover::print;
use crate::party::{Party, Registers};

const CLIENTS: u32 = 4;
const TASKS: usize = 3;
/// In shards of all three primaries.
const LOCKS: &[&str] = &["lock 1", "lock 2", "lock 3", "lock 4"];
const FLIGHTS: &[&str] = &["flight 1", "flight 2", "flight 3"];
/// How keys begin that are free most of the time, in the shards of the locks: they are taken without a script.
const FREE: &str = "free ";
/// So many for each lock.
const BESIDE: usize = 8;

async fn party(id: u32, cluster: &Cluster, recorder: &Recorder) -> Party {
    let recorded = RecordingStore::new(cluster.store(hasty()).await, recorder.clone(), id);
    let client = Client::builder().holder(format!("client-{id}")).store(Arc::new(recorded)).unwrap();
    let registers = Registers::Memory(Arc::default());
    Party { id, client, recorder: recorder.clone(), registers, rotates: true }
}

fn free_keys() -> &'static [&'static str] {
    let beside = |lock: &&str| {
        let lock = shard(lock);
        let keys = (0..).map(|n| format!("{FREE}{n}")).filter(move |key| shard(key) == lock);
        keys.take(BESIDE).map(|key| &*key.leak()).collect::<Vec<_>>()
    };
    LOCKS.iter().flat_map(beside).collect::<Vec<_>>().leak()
}

fn grants(history: &History) -> impl Iterator<Item = u64> + '_ {
    history.records.iter().filter_map(|record| match record.what {
        What::Granted { token, .. } => Some(token),
        _ => None,
    })
}

/// How many were granted a key that many want.
fn served_in_line(history: &History) -> usize {
    let mut asked = BTreeSet::new();
    let granted = |record: &&Record| match &record.what {
        What::Asked { op, key, .. } if !key.starts_with(FREE) => !asked.insert(*op),
        What::Granted { op, .. } => asked.contains(op),
        _ => false,
    };
    history.records.iter().filter(granted).count()
}

/// Waits until somebody is granted something that he asked for after this.
async fn served(recorder: &Recorder, what: &str, began: Instant) {
    let probes = LOCKS.len() + FLIGHTS.len();
    let before = served_in_line(&recorder.history());
    until(async || served_in_line(&recorder.history()) >= before + probes).await;
    print(what, began, Instant::now());
}

/// Moves the slots of all keys to the next primary.
async fn move_all(cluster: &Cluster) {
    for key in LOCKS.iter().chain(FLIGHTS) {
        let slot = cluster.slot_of(0, key).await;
        let from = cluster.owner(0, slot).await.unwrap();
        cluster.move_slot(slot, from, (from + 1) % 3).await;
    }
}

/// Has a replica take the place of its primary. Answers which one it was.
async fn give_way(cluster: &Cluster, slot: u16) -> usize {
    let primary = cluster.owner(0, slot).await.unwrap();
    let replica = (primary + 3) % 6;
    // The others give one vote in twice their timeout for a primary: who asks too soon after the last time asks again.
    let asked = async || {
        let () = cluster.ask(replica, &["CLUSTER", "FAILOVER"]).await.unwrap();
        let over = until(async || cluster.owner(replica, slot).await == Some(replica));
        tokio::time::timeout(Duration::from_secs(6), over).await.is_ok()
    };
    until(asked).await;
    cluster.copies(primary).await;
    replica
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_moves_or_ends_no_promise_is_broken() {
    let mut cluster = Cluster::start(3, true).await;
    let (recorder, mut dice) = (Recorder::new(0), Dice::new(7));
    let stopped = Arc::new(AtomicBool::new(false));
    let (mut parties, mut tasks) = (Vec::new(), Vec::new());
    let (registers, free) = (Registers::Memory(Arc::default()), free_keys());
    for id in 1..=CLIENTS {
        let party = Party { registers: registers.clone(), ..party(id, &cluster, &recorder).await };
        for task in 0..=TASKS {
            let (party, dice, stopped) = (party.clone(), dice.split(), Arc::clone(&stopped));
            tasks.push(tokio::spawn(async move {
                let stopped = || stopped.load(Ordering::SeqCst);
                match task {
                    TASKS => party.hurry(dice, free, stopped).await,
                    _ => party.work(dice, LOCKS, FLIGHTS, stopped).await,
                }
            }));
        }
        parties.push(party);
    }
    served(&recorder, "the start", Instant::now()).await;
    let fault = |kind: &str| recorder.record(0, What::Fault { kind: kind.into() });
    let slot = cluster.slot_of(0, LOCKS[0]).await;

    for _ in 0..2 {
        fault("slots move");
        let began = Instant::now();
        move_all(&cluster).await;
        served(&recorder, "all slots moved", began).await;
        recorder.record(0, What::Calm);
    }
    for _ in 0..2 {
        fault("CLUSTER FAILOVER");
        let began = Instant::now();
        give_way(&cluster, slot).await;
        served(&recorder, "CLUSTER FAILOVER", began).await;
        recorder.record(0, What::Calm);
    }
    fault("kill -9");
    let began = Instant::now();
    let primary = cluster.owner(0, slot).await.unwrap();
    let (replica, asked) = ((primary + 3) % 6, (primary + 1) % 3);
    let lost = |recorder: &Recorder| {
        let last = grants(&recorder.history()).max().unwrap_or(0);
        recorder.record(0, What::DataLost { last });
    };
    cluster.nodes[primary].kill();
    lost(&recorder);
    until(async || cluster.owner(asked, slot).await == Some(replica)).await;
    lost(&recorder);
    served(&recorder, "kill -9", began).await;
    cluster.nodes[primary].start_again();
    cluster.copies(primary).await;
    recorder.record(0, What::Calm);
    served(&recorder, "all is well again", Instant::now()).await;

    stopped.store(true, Ordering::SeqCst);
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(60), task).await.expect("nobody hangs").unwrap();
    }
    for party in parties {
        soon(party.client.close()).await;
    }
    let history = recorder.history();
    let checker =
        Checker { hand_over: Duration::from_secs(4), slack: Duration::from_secs(6), ..Checker::default() };
    let violations = checker.check(&history);
    println!("{} records, {} grants", history.records.len(), grants(&history).count());
    if let Some(first) = violations.first() {
        panic!("{} violations: {first}", violations.len());
    }
}
