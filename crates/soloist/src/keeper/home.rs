//! Where keepers live: on one thread of their own, whatever becomes of the runtime that made the client.

use std::future::pending;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

/// Where a keeper lives.
pub(super) enum Home {
    /// On the thread of all keepers. What it asks a store for must not need the caller's runtime.
    Own(Handle),
    /// On the runtime that made the client: under virtual time, in a process that was forked after the
    /// thread began, and where no thread could be started. It ends with that runtime.
    Callers(Handle),
}

/// The thread of all keepers of this process: begun by the first, it lives as long as the process.
static THREAD: OnceLock<Option<Thread>> = OnceLock::new();

struct Thread {
    runtime: Handle,
    /// The process that has it: a fork has all memory of its parent, and none of its other threads.
    process: u32,
}

/// The one place that decides where a keeper lives. `None`: nowhere.
pub(super) fn home() -> Option<Home> {
    #[cfg(feature = "testing")]
    if crate::testing::keepers::are_here() {
        return Handle::try_current().ok().map(Home::Callers);
    }
    match THREAD.get_or_init(begin) {
        Some(thread) if thread.process == std::process::id() => Some(Home::Own(thread.runtime.clone())),
        _ => Handle::try_current().ok().map(Home::Callers),
    }
}

fn begin() -> Option<Thread> {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("soloist-keeper".into());
    // Each keeper's task ends with its client; the thread then sleeps, and ends with the process.
    thread.spawn(move || runtime.block_on(pending::<()>())).ok()?;
    Some(Thread { runtime: handle, process: std::process::id() })
}
