//! Slots that move under those who hold and wait.

use std::sync::mpsc;
use std::time::Duration;

use soloist::{Client, Lease};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, hasty, soon, until};

const LONG: Duration = Duration::from_secs(300);
/// Longer than a message takes on the slowest machine, shorter than the slow look that would hide a lost one.
const BY_MESSAGE: Duration = Duration::from_secs(12);

pub async fn by_message<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BY_MESSAGE, future).await.expect("a message, not a slow look")
}

/// Somebody who stands in line, the last one so far.
async fn waits(client: &Client, key: &'static str) -> JoinHandle<Lease> {
    let before = client.inspect(key).await.unwrap().waiting;
    let next = client.clone();
    let waits = tokio::spawn(async move { next.lock(key).ttl(LONG).await.unwrap() });
    until(async || client.inspect(key).await.unwrap().waiting == before + 1).await;
    waits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_holds_on_and_who_waits_is_served_in_order() {
    served_in_order(&[]).await;
}

/// On servers with these arguments.
pub async fn served_in_order(more: &[&str]) {
    let cluster = Cluster::start_with(3, false, more).await;
    let clients = [cluster.client("0").await, cluster.client("1").await, cluster.client("2").await];
    let slot = cluster.slot_of(0, "k").await;
    let mut at = cluster.owner(0, slot).await.unwrap();
    let held = clients[0].lock("k").ttl(Duration::from_secs(5)).await.unwrap();
    let mut line = Vec::new();
    for client in clients.iter().cycle().take(6) {
        line.push(waits(client, "k").await);
    }
    let (mut last, mut now) = (held.token(), held);
    for next in line {
        // Each time it is handed over where nobody heard a moment ago.
        let to = (at + 1) % 3;
        cluster.move_slot(slot, at, to).await;
        at = to;
        assert!(!now.is_lost());
        by_message(now.release()).await.unwrap();
        now = by_message(next).await.unwrap();
        assert!(now.token() > last);
        last = now.token();
    }
    assert_eq!(clients[1].list("k").await.unwrap().len(), 1);
    by_message(now.release()).await.unwrap();
}

/// A server begins a script if all of its keys are there, and stops it at the first command that means a key which is
/// not: the release would have deleted the lease and told the next one, whose lease it cannot write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_by_halves_while_a_slot_moves() {
    whole(&[]).await;
}

/// On servers with these arguments.
pub async fn whole(more: &[&str]) {
    let cluster = Cluster::start_with(2, false, more).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let slot = cluster.slot_of(0, "k").await;
    let from = cluster.owner(0, slot).await.unwrap();
    let held = a.lock("k").ttl(LONG).await.unwrap();
    let waits = waits(&b, "k").await;
    cluster.begin_move(slot, from, 1 - from).await;

    let releasing = tokio::spawn(held.release());
    let refused = async |node: usize| {
        let stats: String = cluster.ask(node, &["INFO", "errorstats"]).await.unwrap();
        stats.contains("errorstat_TRYAGAIN") || stats.contains("errorstat_ASK")
    };
    until(async || refused(from).await).await;
    for (moved, _) in (0..10).enumerate() {
        assert!(!releasing.is_finished() && !waits.is_finished(), "{moved} of its keys are moved");
        if cluster.move_keys(slot, from, 1 - from, 1).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(async || refused(1 - from).await).await;
    assert!(!releasing.is_finished() && !waits.is_finished(), "all of its keys are moved");
    cluster.end_move(slot, from, 1 - from).await;
    by_message(releasing).await.unwrap().unwrap();
    let next = by_message(waits).await.unwrap();
    let holding = a.inspect("k").await.unwrap().holding.unwrap();
    assert_eq!((holding.holder.as_str(), holding.token), ("b", next.token()));
    for node in 0..2 {
        // What a script is refused with before it begins is not counted as failed, but that it was forgotten is.
        let stats: String = cluster.ask(node, &["INFO", "commandstats"]).await.unwrap();
        let errors: String = cluster.ask(node, &["INFO", "errorstats"]).await.unwrap();
        let failed = |name: &str| number(&stats, name, "failed_calls=");
        let stopped = failed("cmdstat_eval:") + failed("cmdstat_evalsha:");
        let forgotten = number(&errors, "errorstat_NOSCRIPT:", "count=");
        assert!(stopped <= forgotten, "a script stopped halfway: {errors} {stats}");
    }
}

/// A number of what a server tells in lines: 0 where it tells nothing.
pub fn number(told: &str, line: &str, name: &str) -> u64 {
    let line = told.lines().find(|told| told.starts_with(line)).unwrap_or_default();
    let number = line.split_once(name).map_or("0", |(_, number)| number);
    number.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// A process of its own runtime, that can be frozen: it stands in line.
struct Frozen {
    wake: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<u64>,
}

impl Frozen {
    /// Stands in line for a key; frozen from the moment at which this returns.
    fn start(url: String, key: &'static str) -> Self {
        let (wake, woken) = mpsc::channel();
        let (stands, standing) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let store = soloist::store::redis::RedisStore::connect_with(&url, hasty()).await.unwrap();
                let client = Client::builder().holder("frozen").store(std::sync::Arc::new(store)).unwrap();
                let waits = waits(&client, key).await;
                stands.send(()).unwrap();
                let () = woken.recv().unwrap();
                let lease = by_message(waits).await.unwrap();
                let token = lease.token().0;
                soon(lease.release()).await.unwrap();
                token
            })
        });
        standing.recv().unwrap();
        Frozen { wake, thread }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_does_not_hear_yet_where_a_slot_went_keeps_his_place() {
    keeps_his_place(&[]).await;
}

/// On servers with these arguments.
pub async fn keeps_his_place(more: &[&str]) {
    let cluster = Cluster::start_with(2, false, more).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let slot = cluster.slot_of(0, "k").await;
    let from = cluster.owner(0, slot).await.unwrap();
    let held = a.lock("k").ttl(LONG).await.unwrap();
    let url = cluster.url();
    let frozen = tokio::task::spawn_blocking(move || Frozen::start(url, "k")).await.unwrap();
    let second = waits(&b, "k").await;
    cluster.move_slot(slot, from, 1 - from).await;
    let token = held.token();
    soon(held.release()).await.unwrap();
    let info = a.inspect("k").await.unwrap();
    assert_eq!(info.holding.as_ref().map(|holding| holding.holder.as_str()), Some("frozen"), "{info:?}");
    assert_eq!(info.waiting, 1);
    frozen.wake.send(()).unwrap();
    let first = tokio::task::spawn_blocking(|| frozen.thread.join().unwrap()).await.unwrap();
    let second = by_message(second).await.unwrap();
    assert!(token.0 < first && first < second.token().0, "in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_dead_when_a_slot_moves_costs_no_more_than_a_hand_over() {
    the_dead(&[]).await;
}

/// On servers with these arguments.
pub async fn the_dead(more: &[&str]) {
    let cluster = Cluster::start_with(2, false, more).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let slot = cluster.slot_of(0, "k").await;
    let from = cluster.owner(0, slot).await.unwrap();
    let held = a.lock("k").ttl(LONG).await.unwrap();
    // He stands in line, and nobody is there any more who could leave it.
    let store = cluster.store(hasty()).await;
    let request = soloist::protocol::Request {
        key: soloist::Key::new("k").unwrap(),
        ticket: soloist::Ticket::mint(),
        holder: soloist::Holder::new("dead").unwrap(),
        note: None,
        want: soloist::Want::Lock,
        mode: soloist::protocol::Mode::Line,
        ttl: soloist::protocol::Ttl::new(LONG),
        bound: false,
        seen: None,
        max_waiting: None,
        tokens: 1,
    };
    soloist::Store::acquire(&*store, &request).await.unwrap();
    drop(store);
    let second = waits(&b, "k").await;
    cluster.move_slot(slot, from, 1 - from).await;
    soon(held.release()).await.unwrap();
    let second = by_message(second).await.unwrap();
    drop(second);

    // Where nothing has moved he costs nothing.
    let held = a.lock("other").ttl(LONG).await.unwrap();
    let store = cluster.store(hasty()).await;
    let request = soloist::protocol::Request { key: soloist::Key::new("other").unwrap(), ..request };
    soloist::Store::acquire(&*store, &request).await.unwrap();
    soloist::Store::close(&*store).await;
    soon(held.release()).await.unwrap();
    assert!(a.inspect("other").await.unwrap().holding.is_none());
}
