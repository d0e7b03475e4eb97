//! What the members of a cohort ask for, and the request with which one of them asks the store.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::client::odd_answer;
use crate::error::Result;
use crate::lease::Lease;
use crate::lock::held_at_most;
use crate::name::{Holder, Key, Note, Ticket};
use crate::place::{Place, Served};
use crate::protocol::{Mode, Request, Ttl, Want};
use crate::store::Store;

/// The request at the store, under way. Dropping it takes it back.
pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Lease>> + Send>>;

/// What the members of a cohort ask for alike: whoever asks for anything else is in another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    pub(crate) key: Key,
    pub(crate) ttl: Ttl,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) replicas: u32,
    /// How many hold it in a row.
    pub(crate) members: u8,
}

/// What each says of himself.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) holder: Holder,
    pub(crate) note: Option<Note>,
    pub(crate) max_waiting: u64,
}

impl Terms {
    /// The request with which one of them asks the store for all.
    pub(crate) fn request(&self, asker: &Asker) -> Request {
        Request {
            key: self.key.clone(),
            ticket: Ticket::mint(),
            holder: asker.holder.clone(),
            note: asker.note.clone(),
            want: Want::Lock,
            mode: Mode::Line,
            ttl: held_at_most(self.ttl, self.max_hold),
            bound: true,
            seen: None,
            max_waiting: Some(asker.max_waiting),
            tokens: self.members,
        }
    }
}

/// The request of a place, under way.
pub(crate) fn asking(mut place: Place, store: Arc<dyn Store>, replicas: u32) -> Asking {
    place.replicas(replicas);
    Box::pin(async move {
        match place.served(None).await? {
            Served::Lease(lease) => Ok(lease),
            _ => Err(odd_answer(&*store, "a lock is answered with a result")),
        }
    })
}
