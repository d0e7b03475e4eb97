//! A process that forks: the child has all memory of its parent, and none of its threads.

use std::time::Duration;

use soloist::{Client, Moment};
use tokio::runtime::{Builder, Runtime};

use crate::fleet::{Fleet, soon};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs this in a forked child. Answers its exit code.
fn in_a_child(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs what needs no other thread, and ends without unwinding into the harness.
    match unsafe { libc::fork() } {
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                // SAFETY: it only sets when the child is killed, should it hang.
                unsafe { libc::alarm(60) };
                work()
            }));
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code.unwrap_or(101)) }
        }
        child => {
            assert!(child > 0, "fork");
            let mut status = 0;
            // SAFETY: it is a child of ours, and `status` lives.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
        }
    }
}

#[test]
fn a_child_ends_nothing_of_its_parents_and_keeps_its_own() {
    let runtime_of_parent = runtime();
    let (fleet, other, lease) = runtime_of_parent.block_on(async {
        let fleet = Fleet::redis().await;
        let (client, other) = (fleet.client("parent").await, fleet.client("other").await);
        let lease = client.lock("k").ttl(Duration::from_secs(60)).await.unwrap();
        (fleet, other, lease)
    });
    let mut copy = Some(lease);
    let code = in_a_child(|| {
        // Nobody is there to release it.
        drop(copy.take());
        // A client of the child's own is kept where there is somebody.
        runtime().block_on(async {
            let ttl = Duration::from_millis(900);
            let client = Client::memory().unwrap();
            let held = client.lock("own").ttl(ttl).await.unwrap();
            let granted = Moment::now();
            while Moment::now() < granted.after(ttl * 2) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            i32::from(held.is_lost())
        })
    });
    assert_eq!(code, 0, "1: a lease of the child's own was lost");
    let lease = copy.expect("the parent has it still");
    runtime_of_parent.block_on(async {
        let holding = other.inspect("k").await.unwrap().holding.expect("nobody has released it");
        assert_eq!(holding.token, lease.token());
        soon(lease.release()).await.unwrap();
    });
    drop(fleet);
}
