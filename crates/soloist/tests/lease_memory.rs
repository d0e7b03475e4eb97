//! How much memory a client needs for each lease that it holds, and for each that it waits for.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "keeper/odd.rs"]
mod odd;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use odd::Odd;
use redis_server::RedisServer;
use soloist::{Client, Lease};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Counts what is allocated and not yet freed.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it asks the system's allocator for everything, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const LEASES: usize = 10_000;
const SOON: Duration = Duration::from_secs(60);

/// One test at a time: they count what is allocated, whoever does it.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn a_held_lease_takes_less_than_a_kibibyte() {
    let _alone = ALONE.lock().await;
    let client = Client::builder().holder("worker-7").store(Arc::new(Odd::forgetful())).unwrap();
    client.lock("first").await.unwrap().release().await.unwrap();
    let mut leases: Vec<Lease> = Vec::with_capacity(LEASES);
    let before = IN_USE.load(Ordering::Relaxed);
    for n in 0..LEASES {
        leases.push(client.lock(format!("a key of some forty characters {n:08}")).await.unwrap());
    }
    let each = (IN_USE.load(Ordering::Relaxed) - before) / LEASES + size_of::<Lease>();
    println!("{each} bytes a lease");
    assert!(each < 1024, "{each} bytes a lease");
    drop(leases);
    client.flush().await;
    let after = IN_USE.load(Ordering::Relaxed).saturating_sub(before) / LEASES;
    assert!(after < 64, "{after} bytes of each are still there");
}

/// Returns when nobody does anything any more: what is in use stays the same while all tasks have many turns.
async fn all_quiet() {
    let (mut last, mut same) = (0, 0);
    while same < 1_000 {
        tokio::task::yield_now().await;
        let now = IN_USE.load(Ordering::Relaxed);
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
}

const WAITERS: usize = 2_000;
/// It was 1,660 when this was written, in a build without optimisations.
const MOST: usize = 2 << 10;

#[tokio::test]
async fn a_waiter_takes_less_than_two_kibibytes_with_its_task() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let client = Client::builder().holder("worker-7").connect(&server.url()).await.unwrap();
    let (held, observer) = (client.lock("line").await.unwrap(), client.clone());
    let mut all = JoinSet::new();
    let mut stand = |count: usize| {
        for _ in 0..count {
            let client = client.clone();
            all.spawn(async move { client.lock("line").await.map(drop) });
        }
    };
    let in_line = async |count: usize| {
        let ask = async || observer.list("line").await.unwrap().first().map_or(0, |info| info.waiting);
        while ask().await < count as u64 {
            tokio::task::yield_now().await;
        }
    };
    stand(1);
    tokio::time::timeout(SOON, in_line(1)).await.unwrap();
    let before = IN_USE.load(Ordering::Relaxed);
    stand(WAITERS);
    tokio::time::timeout(SOON, in_line(WAITERS + 1)).await.unwrap();
    // And until each has heard that it waits.
    tokio::time::timeout(SOON, all_quiet()).await.unwrap();
    let each = (IN_USE.load(Ordering::Relaxed) - before) / WAITERS;
    println!("{each} bytes a waiter");
    assert!(each < MOST, "{each} bytes a waiter");
    all.shutdown().await;
    held.release().await.unwrap();
    client.close().await;
}
