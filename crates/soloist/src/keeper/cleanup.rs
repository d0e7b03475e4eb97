//! Ends what its owner let go of: tried again while it can still matter, and never for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::kept::Kept;
use crate::name::{Key, Ticket};
use crate::observe;
use crate::protocol::{Left, Ttl, Who};
use crate::store::Store;

/// How long to try to end something that has no end of its own: a lease without expiry, a place in line.
const LONG: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the caller's own connection may take to leave before the other one is asked, too: the runtime that
/// drives it may be blocked or have ended.
const OWN_LINK: Duration = Duration::from_secs(1);

/// Something to be cleaned up.
#[derive(Debug)]
pub(super) enum Chore {
    /// Its owner dropped it.
    Release(Arc<Kept>),
    /// Its client was closed, and its owner was told.
    End(Arc<Kept>),
    /// A request was abandoned on its way.
    Leave(Abandoned),
}

/// A request that nobody waits for any more.
#[derive(Clone, Debug)]
pub(crate) struct Abandoned {
    pub(crate) key: Key,
    pub(crate) ticket: Ticket,
    /// What it would be held for.
    pub(crate) ttl: Ttl,
    /// Whether an answer is still owed, so that the store may carry it out later.
    pub(crate) unanswered: bool,
}

/// The store of a client, as its keeper sees it.
#[derive(Clone, Debug)]
pub(super) struct Stores {
    /// Over the client's own connections, which its runtime drives.
    pub(super) own: Arc<dyn Store>,
    /// Over connections of the keeper's, where the store has any and the keeper lives apart.
    pub(super) aside: Option<Arc<dyn Store>>,
}

impl Stores {
    /// For what does not depend on the order in which it arrives.
    pub(super) fn aside(&self) -> &Arc<dyn Store> {
        self.aside.as_ref().unwrap_or(&self.own)
    }
}

/// Does it. `closing`: the client is being closed, and waits for this.
pub(super) async fn clean_up(stores: Stores, chore: Chore, closing: bool) {
    match chore {
        Chore::Release(kept) => release(&**stores.aside(), &kept).await,
        Chore::End(kept) => drop(end(&**stores.aside(), &kept).await),
        Chore::Leave(abandoned) => leave(&stores, &abandoned, closing).await,
    }
}

/// Releases a dropped lease; a lost one, too, should the store take it for alive: a renewal may have arrived
/// whose answer did not, or the loss was that of an earlier grant of the same request. Then the next in line
/// would wait for a lease of nobody's.
async fn release(store: &dyn Store, kept: &Kept) {
    let lost = kept.loss().is_some();
    if end(store, kept).await && !lost {
        observe::released(kept.subject());
    }
}

/// Ends a lease at the store. Answers whether that worked.
async fn end(store: &dyn Store, kept: &Kept) -> bool {
    // A renewal may have been carried out whose answer was lost, or not carried out at all: then the store counts
    // longer than we do, though our own deadline is near or over.
    let end = Moment::now().after(kept.longest().map_or(LONG, |ttl| ttl.min(LONG)));
    let who = Who::Ticket(kept.ticket);
    let done = retry(end, || store.release(&kept.key, &who)).await;
    if let Err(error) = &done {
        observe::not_released(kept.subject(), error);
    }
    done.is_ok()
}

/// Takes an abandoned request back. An unanswered one may be carried out after it was left: where it was not
/// found, or the leaving may have overtaken it on another connection, it is left once more when the store has
/// settled.
async fn leave(stores: &Stores, abandoned: &Abandoned, closing: bool) {
    let Abandoned { key, ticket, ttl, unanswered } = abandoned;
    let (began, settles) = (Moment::now(), stores.own.settles());
    // Where the client waits for it: by then the request has ended by itself.
    let limit = if closing { ttl.duration().unwrap_or(LONG).saturating_add(settles) } else { LONG };
    let end = began.after(limit.min(LONG));
    let overtakes = AtomicBool::new(false);
    let mut done = retry(end, || leave_in_order(stores, abandoned, &overtakes)).await;
    let doubtful = overtakes.into_inner() || (*unanswered && matches!(done, Ok(Some(Left::Absent))));
    if doubtful && settles > Duration::ZERO {
        tokio::time::sleep(settles.saturating_sub(Moment::now().since(began))).await;
        let end = end.max(Moment::now().after(OWN_LINK));
        done = retry(end, || stores.aside().leave(key, *ticket)).await;
    }
    if let Err(error) = done {
        observe::not_taken_back(key, &error);
    }
}

/// Leaves over the connection that carried the request, and so after it. Where that one takes its time, over the
/// other.
async fn leave_in_order(stores: &Stores, abandoned: &Abandoned, overtakes: &AtomicBool) -> Result<Left> {
    let Abandoned { key, ticket, .. } = abandoned;
    let Some(aside) = &stores.aside else { return stores.own.leave(key, *ticket).await };
    match tokio::time::timeout(OWN_LINK, stores.own.leave(key, *ticket)).await {
        Ok(Ok(left)) => Ok(left),
        Ok(Err(Error::Closed)) => Err(Error::Closed),
        Ok(Err(_)) | Err(_) => {
            overtakes.store(true, Ordering::Relaxed);
            aside.leave(key, *ticket).await
        }
    }
}

/// Tries until `end`, with growing pauses, while the store cannot be reached or takes no writes: it granted
/// what is to be ended, so a no may pass. Any other error is final. `None`: it has ended, whatever it was.
async fn retry<T, F>(end: Moment, mut verb: impl FnMut() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<T>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match verb().await {
            Err(Error::Unavailable { .. } | Error::Refused { .. }) if Moment::now() < end => {
                tokio::time::sleep(pause).await
            }
            // The question was asked again and found nothing: whatever it was, it has ended.
            // Or the session has ended, and all that was in it.
            Err(Error::Unknown { .. } | Error::Closed) => return Ok(None),
            ended => return ended.map(Some),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
