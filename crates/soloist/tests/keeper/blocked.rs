//! The runtime of the caller is blocked, or has ended.

use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use soloist::{Client, Moment};
use tokio::runtime::{Builder, Runtime};

use crate::fleet::{Fleet, in_line, soon, until};

const TTL: Duration = Duration::from_millis(1500);

fn workers(count: usize) -> Runtime {
    match count {
        0 => Builder::new_current_thread().enable_all().build().unwrap(),
        _ => Builder::new_multi_thread().worker_threads(count).enable_all().build().unwrap(),
    }
}

/// Blocks every thread of a runtime for three ttls of a lease that is held there, while another client tries to
/// get the key. Zero workers are a runtime of one thread.
async fn blocked(fleet: Fleet, count: usize) {
    let fleet = Arc::new(fleet);
    let (other, holders) = (fleet.client("other").await, Arc::clone(&fleet));
    let (held, is_held) = tokio::sync::oneshot::channel();
    let (unblock, blocked) = mpsc::channel::<()>();
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let holder = std::thread::spawn(move || {
        let runtime = workers(count);
        let lease = runtime.block_on(async {
            let client = holders.client_with(|builder| builder.holder("holder").ttl(TTL)).await;
            client.lock("k").await.unwrap()
        });
        if count == 0 {
            runtime.block_on(async {
                held.send(()).unwrap();
                // Returns when the other end is dropped.
                let _ = blocked.lock().unwrap().recv();
            });
        } else {
            let all_blocked = Arc::new(Barrier::new(count + 1));
            for _ in 0..count {
                let (all_blocked, blocked) = (Arc::clone(&all_blocked), Arc::clone(&blocked));
                runtime.spawn(async move {
                    all_blocked.wait();
                    let _ = blocked.lock().unwrap().recv();
                });
            }
            all_blocked.wait();
            held.send(()).unwrap();
            let _ = blocked.lock().unwrap().recv();
        }
        // Before anything of the runtime goes on.
        assert!(!lease.is_lost());
        runtime.block_on(async { soon(lease.release()).await.unwrap() });
    });
    soon(is_held).await.unwrap();
    let began = Moment::now();
    while Moment::now().since(began) < 3 * TTL {
        let taken = other.try_lock("k").await.unwrap();
        assert!(taken.is_none(), "after {:?} of a blocked runtime", Moment::now().since(began));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(unblock);
    soon(tokio::task::spawn_blocking(move || holder.join().unwrap())).await.unwrap();
    soon(until(|| async { other.try_lock("k").await.unwrap().is_some() })).await;
}

#[tokio::test]
async fn blocking_all_workers_loses_nothing_in_memory() {
    blocked(Fleet::memory().await, 2).await;
}

#[tokio::test]
async fn blocking_all_workers_loses_nothing_on_the_local_store() {
    blocked(Fleet::local().await, 2).await;
}

#[tokio::test]
async fn blocking_all_workers_loses_nothing_on_redis() {
    blocked(Fleet::redis().await, 2).await;
}

#[tokio::test]
async fn blocking_the_only_thread_loses_nothing_in_memory() {
    blocked(Fleet::memory().await, 0).await;
}

#[tokio::test]
async fn blocking_the_only_thread_loses_nothing_on_the_local_store() {
    blocked(Fleet::local().await, 0).await;
}

#[tokio::test]
async fn blocking_the_only_thread_loses_nothing_on_redis() {
    blocked(Fleet::redis().await, 0).await;
}

/// A runtime ends while one of its tasks holds a key and another waits for one.
async fn ended(fleet: Fleet) {
    let fleet = Arc::new(fleet);
    let (other, holders) = (fleet.client("other").await, Arc::clone(&fleet));
    let runtime = workers(1);
    let (send, client) = tokio::sync::oneshot::channel::<Client>();
    let opening = async move {
        let client = holders.client("holder").await;
        let mut held = client.lock("k").no_expiry().await.unwrap();
        held = client.lock("dropped").no_expiry().await.map(|_dropped| held).unwrap();
        send.send(client).ok().unwrap();
        std::future::pending::<()>().await;
        drop(held);
    };
    runtime.spawn(opening);
    // Kept: the end of the session would free what it holds, too.
    let client = soon(client).await.unwrap();
    let busy = other.lock("busy").await.unwrap();
    let asker = client.clone();
    runtime.spawn(async move { asker.lock("busy").await });
    in_line(&other, "busy", 1).await;
    runtime.shutdown_background();
    for key in ["k", "dropped"] {
        soon(async { other.lock(key).await }).await.unwrap().release().await.unwrap();
    }
    in_line(&other, "busy", 0).await;
    busy.release().await.unwrap();
    soon(async { other.lock("busy").await }).await.unwrap().release().await.unwrap();
    drop(client);
}

#[tokio::test]
async fn what_an_ended_runtime_held_is_released_in_memory() {
    ended(Fleet::memory().await).await;
}

#[tokio::test]
async fn what_an_ended_runtime_held_is_released_on_the_local_store() {
    ended(Fleet::local().await).await;
}

#[tokio::test]
async fn what_an_ended_runtime_held_is_released_on_redis() {
    ended(Fleet::redis().await).await;
}

#[tokio::test]
async fn what_a_panic_unwinds_through_is_released() {
    let fleet = Arc::new(Fleet::redis().await);
    let (other, holders) = (fleet.client("other").await, Arc::clone(&fleet));
    let (send, client) = mpsc::channel();
    let panicked = std::thread::spawn(move || {
        workers(0).block_on(async {
            let client = holders.client("holder").await;
            let _held = client.lock("k").no_expiry().await.unwrap();
            send.send(client).unwrap();
            std::panic::resume_unwind(Box::new("on purpose"));
        })
    });
    assert!(panicked.join().is_err());
    soon(async { other.lock("k").await }).await.unwrap().release().await.unwrap();
    drop(client);
}
