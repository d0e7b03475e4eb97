//! Cohorts of several real processes, one of which is killed in the middle of its turn, or frozen past its ttl.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_server::RedisServer;
use soloist::testing::{SecondProcess, role, says};
use soloist::{Client, Error, FencingToken, Lease};
use tokio::task::JoinSet;

const URL: &str = "SOLOIST_URL";
const GUARDED: &str = "SOLOIST_GUARDED";
const TASKS: usize = 6;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("this should have happened long ago")
}

async fn client(url: &str) -> Client {
    Client::builder().ttl(Duration::from_secs(3)).connect(url).await.unwrap()
}

/// Works under the lease, on what the system itself guards: a process that is killed lets go of it. `dying`: one is just
/// doing so, and what the store goes by may be closed before what is guarded.
async fn work(lease: &Lease, guarded: &Path, dying: &AtomicBool) {
    let file = File::open(guarded).unwrap();
    let mut alone = file.try_lock().is_ok();
    if !alone && dying.swap(false, Ordering::Relaxed) {
        file.lock().unwrap();
        alone = true;
    }
    // A machine that stands still for longer than the ttl ends the lease, which then says so.
    assert!(alone || lease.is_lost(), "somebody else is in here");
    tokio::task::yield_now().await;
    file.unlock().unwrap();
}

/// Takes turns until so many have been had; the tokens, in their order.
async fn turns(url: &str, guarded: &Path, wanted: usize, dying: bool) -> Vec<FencingToken> {
    let (client, all, mut tasks) = (client(url).await, Arc::new(Mutex::new(Vec::new())), JoinSet::new());
    let dying = Arc::new(AtomicBool::new(dying));
    for _ in 0..TASKS {
        let (client, all, guarded) = (client.clone(), Arc::clone(&all), guarded.to_owned());
        let dying = Arc::clone(&dying);
        tasks.spawn(async move {
            while all.lock().unwrap().len() < wanted {
                let lease = client.lock("k").cohort(16).await.unwrap();
                work(&lease, &guarded, &dying).await;
                all.lock().unwrap().push(lease.token());
                let released = lease.release().await;
                assert!(matches!(released, Ok(()) | Err(Error::Lost { .. })), "{released:?}");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    client.close().await;
    let all = all.lock().unwrap();
    all.clone()
}

/// One is killed at some moment, and the others go on.
async fn killed(url: &str) {
    let dir = tempfile::tempdir().unwrap();
    let guarded: PathBuf = dir.path().join("guarded");
    File::create(&guarded).unwrap();
    let mut last = FencingToken(0);
    for round in 0..3_u64 {
        let env = [(URL, url), (GUARDED, guarded.to_str().unwrap())];
        let mut other = SecondProcess::in_role("a_process", "cohort", &env);
        assert_eq!(soon(other.says()).await.as_deref(), Some("begun"));
        let mut tokens = soon(turns(url, &guarded, 300, false)).await;
        // Now the other has the key for himself, and is killed in the middle of his turn, or between two.
        tokio::time::sleep(Duration::from_millis(1 + 7 * round)).await;
        other.kill();
        tokens.extend(soon(turns(url, &guarded, 300, true)).await);
        other.reap();
        assert!(tokens.is_sorted_by(|one, next| one < next), "tokens grow");
        assert!(tokens[0] > last);
        last = tokens[tokens.len() - 1];
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_in_its_turn_on_redis() {
    let server = RedisServer::start();
    killed(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_in_its_turn_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    killed(&format!("local:{}", dir.path().join("store").display())).await;
}

#[tokio::test]
async fn a_process() {
    if role().is_none() {
        return;
    }
    let (url, guarded) = (std::env::var(URL).unwrap(), PathBuf::from(std::env::var_os(GUARDED).unwrap()));
    turns(&url, &guarded, 10, false).await;
    says("begun");
    turns(&url, &guarded, usize::MAX, false).await;
}
