//! How much memory a client needs for each lease that it holds.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "keeper/odd.rs"]
mod odd;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use odd::Odd;
use soloist::{Client, Lease};

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

#[tokio::test]
async fn a_held_lease_takes_less_than_a_kibibyte() {
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
