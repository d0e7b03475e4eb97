//! Long lines: all are served, in order, and nobody's turn costs more for those who stand behind.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/request.rs"]
mod request;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_server::RedisServer;
use soloist::protocol::{Answer, Released, Request, Ttl, Who};
use soloist::store::local::LocalStore;
use soloist::store::memory::MemoryStore;
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{FencingToken, Store};
use tokio::sync::mpsc;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("this should have happened long ago")
}

fn lock(text: &str) -> Request {
    request::lock(text, "worker-7", Ttl::new(Duration::from_secs(600)))
}

async fn hold(store: &Arc<dyn Store>, request: &Request) {
    assert!(matches!(soon(store.acquire(request)).await.unwrap().answer, Answer::Granted(_)));
}

async fn release(store: &Arc<dyn Store>, request: &Request) {
    let released = soon(store.release(&request.key, &Who::Ticket(request.ticket))).await.unwrap();
    assert!(matches!(released, Released::Released { .. }), "{released:?}");
}

/// Everybody of several sessions stands in one line, and is served in order of arrival. Prints what it took.
async fn all_are_served_in_order(what: &str, sessions: Vec<Arc<dyn Store>>, count: usize) {
    let first = lock("k");
    hold(&sessions[0], &first).await;
    let (served, mut order) = mpsc::unbounded_channel();
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..count {
        let (store, request, served) = (sessions[n % sessions.len()].clone(), lock("k"), served.clone());
        let standing = soon(store.acquire(&request)).await.unwrap();
        let Answer::Queued(queued) = &standing.answer else { panic!("{standing:?}") };
        assert_eq!(queued.place, n as u64 + 1);
        tasks.spawn(async move {
            let Answer::Granted(grant) = store.wait(&request, standing).await.unwrap().answer else {
                panic!("a lock waits for a grant")
            };
            served.send((n, grant.token)).unwrap();
            release(&store, &request).await;
        });
    }
    let joined = began.elapsed();
    release(&sessions[0], &first).await;
    let mut last = FencingToken(0);
    for n in 0..count {
        let (who, token) = soon(order.recv()).await.unwrap();
        assert_eq!(who, n, "first come, first served");
        assert!(token > last);
        last = token;
    }
    while let Some(done) = soon(tasks.join_next()).await {
        done.unwrap();
    }
    let info = sessions[0].inspect(&first.key).await.unwrap();
    assert_eq!((info.holding, info.waiting), (None, 0));
    let served = began.elapsed() - joined;
    println!("{what}: {count} joined in {joined:?}, and were served in {served:?}");
}

#[tokio::test]
async fn thousands_are_served_in_order_in_memory() {
    let root = MemoryStore::new();
    let sessions = (0..4).map(|_| Arc::new(root.peer()) as Arc<dyn Store>).collect();
    all_are_served_in_order("memory", sessions, 10_000).await;
}

#[tokio::test]
async fn thousands_are_served_in_order_on_the_local_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let sessions =
        (0..4).map(|_| Arc::new(LocalStore::open(Some(&path)).unwrap()) as Arc<dyn Store>).collect();
    all_are_served_in_order("local", sessions, 10_000).await;
}

#[tokio::test]
async fn thousands_are_served_in_order_on_redis() {
    let server = RedisServer::start();
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(open(&server).await);
    }
    all_are_served_in_order("redis", sessions, 10_000).await;
}

async fn open(server: &RedisServer) -> Arc<dyn Store> {
    // A machine that is busy with other tests answers late, and that is not what is looked at here.
    let patient = RedisOptions::default().response_timeout(Duration::from_secs(20));
    Arc::new(RedisStore::connect_with(&server.url(), patient).await.unwrap())
}

/// How often each command ran on a server, in scripts too, and how long that took in microseconds.
async fn work(server: &RedisServer) -> BTreeMap<String, (u64, u64)> {
    let info: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut server.admin().await).await.unwrap();
    let commands = info.lines().filter_map(|line| {
        let (name, fields) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let field = |name: &str| {
            fields.split(',').find_map(|field| field.strip_prefix(name)).unwrap().parse::<u64>().unwrap()
        };
        Some((name.to_owned(), (field("calls="), field("usec="))))
    });
    commands.filter(|(name, _)| !matches!(&name[..], "info" | "ping" | "client|setinfo" | "hello")).collect()
}

/// What something cost a server: its commands, and the microseconds of its scripts.
async fn cost(server: &RedisServer, done: impl Future<Output = ()>) -> (BTreeMap<String, u64>, u64) {
    let before = work(server).await;
    done.await;
    let after = work(server).await;
    let was = |name: &str| before.get(name).copied().unwrap_or_default();
    let script = after["evalsha"].1 - was("evalsha").1;
    let calls = after.into_iter().map(|(name, (calls, _))| (name.clone(), calls - was(&name).0));
    (calls.filter(|(_, calls)| *calls > 0).collect(), script)
}

/// A key with a line of so many, on one session that nobody hears but by its answers.
async fn line_of(store: &Arc<dyn Store>, name: &str, count: usize) -> (Request, Vec<Request>) {
    let (first, waiters) = (lock(name), (0..count).map(|_| lock(name)).collect::<Vec<_>>());
    hold(store, &first).await;
    for waiter in &waiters {
        assert!(matches!(soon(store.acquire(waiter)).await.unwrap().answer, Answer::Queued(_)));
    }
    (first, waiters)
}

#[tokio::test]
async fn a_turn_a_look_and_a_leave_cost_the_same_in_a_long_line_as_in_a_short_one() {
    let server = RedisServer::start();
    let store = open(&server).await;
    // The server has to know the scripts first.
    let (first, line) = line_of(&store, "warm", 2).await;
    store.leave(&line[0].key, line[0].ticket).await.unwrap();
    release(&store, &first).await;
    let mut all = Vec::new();
    for count in [10, 100, 10_000] {
        let name = format!("line of {count}");
        let (first, line) = line_of(&store, &name, count).await;
        let look = cost(&server, async {
            let reply = store.acquire(&line[count - 1]).await.unwrap();
            assert!(matches!(reply.answer, Answer::Queued(queued) if queued.place == count as u64));
        });
        let look = look.await;
        let leave = cost(&server, async {
            store.leave(&first.key, line[count / 2].ticket).await.unwrap();
        });
        let leave = leave.await;
        // One place further to the front than when it was last seen.
        let moved = cost(&server, async {
            let reply = store.acquire(&line[count - 2]).await.unwrap();
            assert!(matches!(reply.answer, Answer::Queued(queued) if queued.place == count as u64 - 2));
        });
        let moved = moved.await;
        let turn = cost(&server, release(&store, &first)).await;
        println!(
            "{name}: look {} us, leave {} us, moved {} us, turn {} us",
            look.1, leave.1, moved.1, turn.1
        );
        all.push([look.0, leave.0, moved.0, turn.0]);
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
    let words = |at: usize| all[0][at].values().sum::<u64>();
    assert!(words(0) <= 10 && words(3) <= 12, "{all:#?}");
}

#[tokio::test]
async fn a_lock_and_a_waiter_take_little_of_the_servers_memory() {
    const COUNT: usize = 10_000;
    let server = RedisServer::start();
    let store = open(&server).await;
    let used = async || {
        let info: String =
            redis::cmd("INFO").arg("memory").query_async(&mut server.admin().await).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        line.parse::<usize>().unwrap()
    };
    let requests: Vec<_> = (0..COUNT).map(|n| lock(&format!("report:{n:05}"))).collect();
    hold(&store, &lock("warm")).await;
    let before = used().await;
    for some in requests.chunks(500) {
        let asked = some.iter().map(|request| store.acquire(request));
        futures_util::future::join_all(asked).await.into_iter().for_each(|reply| drop(reply.unwrap()));
    }
    let held = (used().await - before) / COUNT;
    let before = used().await;
    let _line = line_of(&store, "k", COUNT).await;
    let waiting = (used().await - before) / COUNT;
    println!("a held lock takes {held} bytes, a waiter {waiting}");
    // The names are of 12 and 8 bytes. With some room for another server's ways.
    assert!((60..=240).contains(&held), "a held lock takes {held} bytes");
    assert!((30..=60).contains(&waiting), "a waiter takes {waiting} bytes");
}
