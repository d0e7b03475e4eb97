//! Ends what its owner let go of: tried again while it can still matter, and never for ever.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::kept::Kept;
use crate::name::{Key, Ticket};
use crate::observe;
use crate::protocol::Who;
use crate::store::Store;

/// How long to try to end something that has no end of its own: a lease without expiry, a place in line.
const LONG: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Releases a dropped lease; a lost one, too, should the store take it for alive: a renewal may have arrived
/// whose answer did not, or the loss was that of an earlier grant of the same request. Then the next in line
/// would wait for a lease of nobody's.
pub(super) async fn release(store: &dyn Store, kept: &Kept) {
    let lost = kept.loss().is_some();
    if end(store, kept).await && !lost {
        observe::released(kept.subject());
    }
}

/// Ends a lease at the store. Answers whether that worked.
pub(super) async fn end(store: &dyn Store, kept: &Kept) -> bool {
    let end = kept.deadline().unwrap_or_else(|| Moment::now().after(LONG));
    let who = Who::Ticket(kept.ticket);
    let done = retry(end, || async { store.release(&kept.key, &who).await.map(drop) }).await;
    if let Err(error) = &done {
        observe::not_released(kept.subject(), error);
    }
    done.is_ok()
}

/// Takes an abandoned request back.
pub(super) async fn leave(store: &dyn Store, key: &Key, ticket: Ticket) {
    let end = Moment::now().after(LONG);
    if let Err(error) = retry(end, || async { store.leave(key, ticket).await.map(drop) }).await {
        observe::not_taken_back(key, &error);
    }
}

/// Tries until `end`, with growing pauses, while the store cannot be reached or takes no writes: it granted
/// what is to be ended, so a no may pass. Any other error is final.
async fn retry<F: Future<Output = Result<()>>>(end: Moment, mut verb: impl FnMut() -> F) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        match verb().await {
            Err(Error::Unavailable { .. } | Error::Refused { .. }) if Moment::now() < end => {
                tokio::time::sleep(pause).await
            }
            // The question was asked again and found nothing: whatever it was, it has ended.
            // Or the session has ended, and all that was in it.
            Err(Error::Unknown { .. } | Error::Closed) => return Ok(()),
            ended => return ended,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
