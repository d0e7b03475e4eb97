//! Where the state of the keys lives. A store is one small object-safe trait; a wrapper is a store too.

mod hub;
pub mod local;
pub mod memory;
pub mod prefix;
pub mod redis;
mod url;
mod waiting;

use std::fmt::Debug;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::clock::{Moment, Reading};
use crate::error::{Loss, Result};
use crate::event::Event;
use crate::name::{Key, Ticket};
use crate::protocol::{
    Answer, Grant, KeyInfo, Left, Micros, Outcome, Publication, Published, Released, Renewal, Renewed,
    Request, Who,
};

pub use url::StoreUrl;

/// An answer to a request, with the clocks at which it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// Both clocks when it was given.
    pub read: Reading,
}

impl Reply {
    /// The answer to a request that was sent at `sent`, when the store's clock read `now`.
    pub fn new(answer: Answer, sent: Moment, now: Micros) -> Self {
        Reply { answer, read: Reading { client: sent, store: now } }
    }

    /// When a grant's ttl began, on the safe side, on the client's clock. A grant that came by message is
    /// dated by the last reading of both clocks, and never later than its arrival.
    pub fn began(&self, grant: &Grant) -> Moment {
        self.read.no_earlier_than(grant.from).min(Moment::now())
    }
}

/// What a store says about leases without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The lease of this ticket has ended.
    Lost(Ticket, Loss),
    /// The connection was lost and is back, so that notices may have been missed, or the store was closed: ask
    /// about every lease.
    AskAgain,
}

/// One of the things that a subscriber of events hears.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// Something happened.
    Event(Event),
    /// Events were missed here: the connection was cut, or the subscriber was too slow.
    Missed,
}

/// A subscription to a store's events; dropping it ends it.
pub type EventStream = futures_util::stream::BoxStream<'static, Told>;

/// Keeps the state of keys, and decides.
///
/// All verbs are idempotent by ticket: a store repeats a request whose answer was lost, and answers
/// [`crate::Error::Unavailable`] when it gave up. Dropping the future of any verb leaves the request in the
/// state "unknown"; [`Store::leave`] makes an end of it.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The store's name for messages, without secrets: `redis://127.0.0.1:6379/0`.
    fn name(&self) -> &str;

    /// Asks for a key, once. After [`Answer::Queued`] the request stands in line until it is served or
    /// [left](Store::leave), whether or not anybody [waits](Store::wait).
    async fn acquire(&self, request: &Request) -> Result<Reply>;

    /// Waits until a request that stands in line is served: [`Answer::Granted`] or [`Answer::Done`].
    /// `standing` is the answer that put it there. Dropping the future only stops listening: the place is
    /// kept, and `wait` may be called again.
    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply>;

    /// Gives a request up: out of the line, or the grant that crossed it is passed on to the next.
    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left>;

    /// Renews leases, as many as there are, in few steps; the answers stand in the order of the questions.
    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>>;

    /// Ends a lease and hands the key over to the next in line.
    async fn release(&self, key: &Key, who: &Who) -> Result<Released>;

    /// Publishes the result of a flight.
    async fn publish(&self, publication: &Publication) -> Result<Published>;

    /// Drops the result of a key. Answers whether there was one.
    async fn forget(&self, key: &Key) -> Result<bool>;

    /// Ends what has ended and hands over what is free, so that it is told at once.
    async fn touch(&self, key: &Key) -> Result<()>;

    /// The result of a key, if one is kept, changing nothing.
    async fn result(&self, key: &Key) -> Result<Option<Outcome>>;

    /// Everything about one key, changing nothing.
    async fn inspect(&self, key: &Key) -> Result<KeyInfo>;

    /// Every key that is held, waited for or has a result, whose name begins with `prefix`, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>>;

    /// What happens from now on, to all keys.
    async fn events(&self) -> Result<EventStream>;

    /// What the store says about leases without being asked.
    fn notices(&self) -> broadcast::Receiver<Notice>;

    /// Whether leases that are bound to a session end with it, at once.
    fn leases_end_with_sessions(&self) -> bool {
        false
    }

    /// A descriptor that keeps the leases of this store's session alive for as long as any process has it
    /// open. Only the local store has one.
    fn liveness(&self) -> Result<Option<std::os::fd::OwnedFd>> {
        Ok(None)
    }

    /// Ends every wait with [`crate::Error::Closed`] and gives up the places; other verbs still work. Called before
    /// [`Store::close`], so that what was granted until then can be released.
    async fn stop_waiting(&self) {}

    /// Ends the session: connections are closed, waiters are woken with [`crate::Error::Closed`].
    async fn close(&self);
}
