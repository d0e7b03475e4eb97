//! An allocator that counts, while it is asked to: what a waiter or a lease takes in the client.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

static ON: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, and a count.
pub(crate) struct Counting;

/// Counts from now on; what is freed of before counts below zero.
pub(crate) fn count() {
    BYTES.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
}

/// How many bytes more are in use than when the count began; it ends.
pub(crate) fn counted() -> i64 {
    ON.store(false, Ordering::Relaxed);
    BYTES.load(Ordering::Relaxed)
}

fn add(bytes: usize, sign: i64) {
    // Off, this costs one load: the speed of the other cases does not depend on it.
    if ON.load(Ordering::Relaxed) {
        BYTES.fetch_add(sign * bytes as i64, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came, and its answer is handed back;
// counting touches no memory but two atomics.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: the caller's promise is the one that is asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        add(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(layout.size(), -1);
        add(size, 1);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_kept_is_counted() {
        super::count();
        let kept = std::hint::black_box(vec![0_u8; 10 << 20]);
        let bytes = super::counted();
        // Other tests allocate at the same time.
        assert!((9 << 20..20 << 20).contains(&bytes), "{bytes}");
        drop(kept);
    }
}
