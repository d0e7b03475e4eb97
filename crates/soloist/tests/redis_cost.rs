//! What waiting, handing over and sharing a result cost a real server: counted in its own statistics.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis_server::RedisServer;
use soloist::{Client, Flight, Moment};

const LONG: Duration = Duration::from_secs(600);
/// How long a hand-over lives that was not confirmed.
const SHORT: Duration = Duration::from_micros(soloist::protocol::HANDOVER_TTL);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("this should have happened long ago")
}

/// How often scripts ran, and how many messages they sent to sessions and watchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    scripts: u64,
    messages: u64,
}

struct Counted {
    server: RedisServer,
    admin: MultiplexedConnection,
}

impl Counted {
    async fn new() -> Self {
        let server = RedisServer::start();
        let admin = server.admin().await;
        Counted { server, admin }
    }

    async fn client(&self, holder: &str) -> Client {
        Client::builder().holder(holder).ttl(LONG).connect(&self.server.url()).await.unwrap()
    }

    async fn cost(&mut self) -> Cost {
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut self.admin).await.unwrap();
        let count = |name: &str, field: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:")));
            let mut fields = line.unwrap_or_default().split(',').filter_map(|field| field.split_once('='));
            fields
                .find_map(|(name, count)| (name == field).then(|| count.parse::<u64>().unwrap()))
                .unwrap_or(0)
        };
        // The first use of a script is asked for twice: its hash is not known yet.
        let by_hash = count("evalsha", "calls") - count("evalsha", "failed_calls");
        Cost { scripts: by_hash + count("eval", "calls"), messages: count("publish", "calls") }
    }

    /// What has been asked for since.
    async fn since(&mut self, before: Cost) -> Cost {
        let now = self.cost().await;
        Cost { scripts: now.scripts - before.scripts, messages: now.messages - before.messages }
    }

    async fn in_line(&self, client: &Client, key: &str, count: u64) {
        let line = async {
            while client.inspect(key).await.unwrap().waiting != count {
                tokio::task::yield_now().await;
            }
        };
        soon(line).await;
    }
}

#[tokio::test]
async fn who_waits_asks_nothing() {
    let mut server = Counted::new().await;
    let holder = server.client("holder").await;
    let waiting = server.client("waiting").await;
    let lease = holder.lock("k").await.unwrap();
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let client = waiting.clone();
            tokio::spawn(async move { client.lock("k").await.map(drop) })
        })
        .collect();
    server.in_line(&holder, "k", 50).await;
    let before = server.cost().await;
    // Not a wait for something to happen, but a while in which nothing may.
    tokio::time::sleep(Duration::from_secs(2)).await;
    lease.renew(LONG).await.unwrap();
    assert_eq!(
        server.since(before).await,
        Cost { scripts: 1, messages: 0 },
        "the renewal, which wakes nobody"
    );
    waiters.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_hand_over_is_one_script_and_one_message_however_long_the_line() {
    let mut server = Counted::new().await;
    let holder = server.client("holder").await;
    let waiting = server.client("waiting").await;
    let mut lease = holder.lock("k").await.unwrap();
    let (granted, mut grants) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..50 {
        let (client, granted) = (waiting.clone(), granted.clone());
        tokio::spawn(async move { granted.send(client.lock("k").await) });
    }
    server.in_line(&holder, "k", 50).await;
    let (before, began) = (server.cost().await, std::time::Instant::now());
    for _ in 0..10 {
        lease.release().await.unwrap();
        lease = soon(grants.recv()).await.unwrap().unwrap();
    }
    let cost = server.since(before).await;
    // Each: a release, and one message to the next holder; nobody watches. Who holds for less than a third of the hand-over's short ttl does not confirm it.
    assert!(cost.scripts <= 10 + u64::from(began.elapsed() > SHORT / 4), "{cost:?}");
    assert_eq!(cost.messages, 10, "{cost:?}");
}

#[tokio::test]
async fn a_turn_of_those_who_rotate_is_one_script_and_one_message() {
    let mut server = Counted::new().await;
    let clients = [server.client("a").await, server.client("b").await];
    let mut held = clients[0].lock("k").await.unwrap();
    let (other, line) = (clients[1].clone(), clients[1].clone());
    let mut waiting = tokio::spawn(async move { other.lock("k").await });
    server.in_line(&line, "k", 1).await;
    let (before, began) = (server.cost().await, std::time::Instant::now());
    for turn in 0..20 {
        let client = clients[turn % 2].clone();
        let rotating = tokio::spawn(async move { client.lock("k").rotate(held).await });
        held = soon(waiting).await.unwrap().unwrap();
        waiting = rotating;
    }
    let cost = server.since(before).await;
    assert!(cost.scripts <= 20 + u64::from(began.elapsed() > SHORT / 4), "{cost:?}");
    assert_eq!(cost.messages, 20, "{cost:?}");
    drop(held);
    soon(waiting).await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn the_row_of_a_cohort_ends_in_the_step_in_which_it_asks_again() {
    let mut server = Counted::new().await;
    let clients = [server.client("a").await, server.client("b").await];
    let mut tasks = tokio::task::JoinSet::new();
    let before = server.cost().await;
    for client in clients.iter().cycle().take(12) {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..100 {
                client.lock("k").cohort(4).await.unwrap().release().await.unwrap();
            }
        });
    }
    while let Some(done) = soon(tasks.join_next()).await {
        done.unwrap();
    }
    let cost = server.since(before).await;
    // A message for each row that ends, and one command; two where a machine that is held up made the row last.
    assert!(cost.messages >= 100 && cost.scripts < cost.messages * 3 / 2, "{cost:?}");
}

#[tokio::test]
async fn a_hand_over_is_confirmed_once_and_only_while_it_is_held() {
    let mut server = Counted::new().await;
    let holder = server.client("holder").await;
    let waiting = server.client("waiting").await;
    let lease = holder.lock("k").await.unwrap();
    let next = tokio::spawn(async move { waiting.lock("k").await.unwrap() });
    server.in_line(&holder, "k", 1).await;
    lease.release().await.unwrap();
    let lease = soon(next).await.unwrap();
    assert!(lease.deadline().unwrap().since(Moment::now()) <= SHORT, "no longer than the store has said");
    let before = server.cost().await;
    soon(async {
        while lease.deadline().unwrap().since(Moment::now()) <= SHORT {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!lease.is_lost());
    // Well past the hand-over's ttl nothing more is asked.
    tokio::time::sleep(SHORT).await;
    assert_eq!(server.since(before).await, Cost { scripts: 1, messages: 0 }, "one renewal");
    assert!(!lease.is_lost());
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_flight_costs_a_request_a_process_and_one_more() {
    let mut server = Counted::new().await;
    let leading = server.client("leader").await;
    let others = [server.client("b").await, server.client("c").await, server.client("d").await];
    let before = server.cost().await;
    let Flight::Leader(leader) = leading.once("k").join::<u32>().await.unwrap() else { panic!("a result") };
    let began = Arc::new(tokio::sync::Semaphore::new(0));
    let mut callers = Vec::new();
    for client in [&leading, &others[0], &others[1], &others[2]] {
        for _ in 0..100 {
            let (client, began) = (client.clone(), Arc::clone(&began));
            callers.push(tokio::spawn(async move {
                began.add_permits(1);
                client.once("k").join::<u32>().await
            }));
        }
    }
    let _all = soon(began.acquire_many(400)).await.unwrap();
    // Three stand in line, counted without a script of ours.
    let line = async {
        loop {
            let queued: Vec<String> =
                redis::cmd("KEYS").arg("soloist:1:*:q:k").query_async(&mut server.admin).await.unwrap();
            if let [queue] = &queued[..] {
                let len: u64 = redis::cmd("LLEN").arg(queue).query_async(&mut server.admin).await.unwrap();
                if len == 3 {
                    return;
                }
            }
        }
    };
    soon(line).await;
    leader.publish(7).await.unwrap();
    for caller in callers {
        assert!(matches!(soon(caller).await.unwrap().unwrap(), Flight::Done(7)));
    }
    // Four requests and the publication; three pushes, and word of the result for whoever keeps copies.
    assert_eq!(server.since(before).await, Cost { scripts: 5, messages: 4 });
}

#[tokio::test]
async fn only_who_is_watched_pays_for_it() {
    let mut server = Counted::new().await;
    let client = server.client("holder").await;
    let cycle = async || client.lock("k").await.unwrap().release().await.unwrap();
    cycle().await;
    let before = server.cost().await;
    cycle().await;
    let cost = server.since(before).await;
    // The release, and the acquire where the client has heard nothing of the server's clock for a second.
    assert!(matches!(cost, Cost { scripts: 1..=2, messages: 0 }), "{cost:?}");
    let _events = client.events().await.unwrap();
    let before = server.cost().await;
    cycle().await;
    assert_eq!(server.since(before).await, Cost { scripts: 2, messages: 2 });
}
