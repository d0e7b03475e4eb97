//! Everybody comes back at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fleet::{in_line, soon};
use crate::redis_server::RedisServer;
use crate::{MS, client};

/// How often scripts were run by a server since it started.
async fn scripts_run(server: &RedisServer) -> u64 {
    let said: String = server.run(&["INFO", "commandstats"]).await;
    let runs = said.lines().filter(|line| line.starts_with("cmdstat_eval"));
    runs.map(|line| line.split_once("calls=").unwrap().1.split(',').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

const CLIENTS: usize = 10;
const EACH: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_those_who_wait_ask_about_once_each() {
    let mut server = RedisServer::start();
    let holder = client(&server.url(), "holder").await;
    let _lease = holder.lock("k").ttl(MS(3_600_000)).await.unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let mut waiting = tokio::task::JoinSet::new();
    for at in 0..CLIENTS {
        let client = client(&server.url(), &format!("client {at}")).await;
        for _ in 0..EACH {
            let (client, inside) = (client.clone(), Arc::clone(&inside));
            waiting.spawn(async move {
                let lease = client.lock("k").await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                // One whose hand-over was lost with a connection is passed over, and asks again.
                let _ = lease.release().await;
            });
        }
    }
    in_line(&holder, "k", (CLIENTS * EACH) as u64).await;
    server.start_again_empty();
    while let Some(served) = soon(waiting.join_next()).await {
        served.unwrap();
    }
    let (waiters, runs) = ((CLIENTS * EACH) as u64, scripts_run(&server).await);
    // Each joins the line anew, by hash and by source at worst, perhaps once more for its other connection; it
    // confirms its lease and releases it.
    assert!(runs >= 2 * waiters && runs <= 8 * waiters, "{runs} scripts for {waiters} waiters");
}
