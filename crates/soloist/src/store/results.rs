//! What becomes of results, heard without waiting: for a cache of them.

use std::fmt::Debug;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use super::Told;
use crate::clock::Moment;
use crate::event::EventKind;

/// How many events of results a reader may be behind before it misses some.
pub(crate) const RESULTS_KEPT: usize = 4096;

/// What becomes of results: a subscription that whoever keeps copies of them looks into; see [`Store::results`]. It
/// hears of every result that is published, fails, or is forgotten; of other things it may.
///
/// [`Store::results`]: super::Store::results
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// use soloist::store::{Store, memory::MemoryStore};
///
/// let store = MemoryStore::new();
/// let mut results = store.results().await?.expect("it tells of results");
/// assert!(results.complete().is_some());
/// assert!(results.hear().is_none(), "nothing has happened");
/// # Ok(())
/// # }
/// ```
pub trait Results: Debug + Send {
    /// A moment before which nothing can have happened that [`Results::hear`] does not tell from now on, or has told.
    /// `None` while that is not known, or nothing is heard. Does not wait.
    fn complete(&self) -> Option<Moment>;

    /// The next thing that has been heard; [`Told::Missed`] where some were not. `None`: no more for now. Does not wait.
    fn hear(&mut self) -> Option<Told>;
}

/// Whether it is about a result.
pub(crate) fn is_about_a_result(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Published | EventKind::Failed | EventKind::Forgotten)
}

/// The next of what was sent on a channel.
pub(crate) fn hear(told: &mut broadcast::Receiver<Told>) -> Option<Told> {
    match told.try_recv() {
        Ok(told) => Some(told),
        Err(TryRecvError::Lagged(_)) => Some(Told::Missed),
        Err(TryRecvError::Empty | TryRecvError::Closed) => None,
    }
}
