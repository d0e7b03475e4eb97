//! Keepers on the runtime of the test.

use std::cell::Cell;

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// Has clients that are made on this thread from now on renew their leases on the runtime that makes them, in
/// place of the background thread of all others: a test that drives time, or that replays a run from a seed,
/// has everything on one thread then. As of old, a runtime that is blocked or ended renews nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// soloist::testing::keepers_here(true);
/// let client = soloist::Client::memory()?;
/// let lease = client.lock("report:42").await?; // renewed by a task of this runtime
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
pub fn keepers_here(here: bool) {
    HERE.set(here);
}

pub(crate) fn are_here() -> bool {
    HERE.get()
}
