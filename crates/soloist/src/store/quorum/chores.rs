//! What goes on after a majority has decided: slow nodes are told, too, and missing leases are put back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// The longest that any of them may take.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// Tasks that end with the store that began them: dropping this ends them.
#[derive(Debug, Default)]
pub(super) struct Chores(Mutex<JoinSet<()>>);

impl Chores {
    /// Begins one, on the runtime that this is called on. Without one it is not done: what it would have ended ends by
    /// its ttl.
    pub(super) fn begin(&self, chore: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while all.try_join_next().is_some() {}
        let bounded = async move { drop(tokio::time::timeout(LONGEST, chore).await) };
        all.spawn_on(bounded, &runtime);
    }

    /// Waits for those that are under way, for so long at most, and ends the rest.
    pub(super) async fn end(&self, limit: Duration) {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while all.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(limit, ended).await;
    }
}
