//! Where the state of the keys lives. A store is one small object-safe trait; a wrapper is a store too.
//!
//! Users name a store by its [URL](StoreUrl), or open one of [`local`], [`memory`], [`redis`] and hand it to
//! [`ClientBuilder::store`](crate::ClientBuilder::store). The rest of this module is for those who write one.

mod hub;
#[cfg(soloist_shuttle)]
pub use hub::interleavings;
pub mod local;
pub mod memory;
pub(crate) mod open;
pub(crate) mod password;
pub mod prefix;
pub mod quorum;
pub mod redis;
mod results;
#[cfg(feature = "testing")]
pub(crate) mod simulated;
mod store_clock;
mod url;
mod waiting;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::clock::{Moment, Reading};
use crate::error::{Loss, Result};
use crate::event::Event;
use crate::finding::Finding;
use crate::name::{FencingToken, Key, Ticket};
use crate::protocol::{
    Answer, Grant, Holding, KeyInfo, Left, Micros, Outcome, Publication, Published, Released, Renewal,
    Renewed, Request, Who,
};

pub use results::Results;
pub use url::StoreUrl;
#[cfg(feature = "testing")]
pub(crate) use url::{PASSWORD, with_password};

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
        self.began_by(grant, Moment::now())
    }

    /// The same, where it is known what the time is.
    pub(crate) fn began_by(&self, grant: &Grant, now: Moment) -> Moment {
        self.read.no_earlier_than(grant.from).min(now)
    }
}

/// What came of a [rotation](Store::rotate).
#[derive(Clone, Debug)]
pub enum Rotated {
    /// The lease with this token has ended, and this is the answer to the request, as of [`Store::acquire`].
    Asked(FencingToken, Result<Reply>),
    /// The lease was not held any more, but this one, if any. Nothing was asked for.
    NotHeld(Option<Holding>),
}

/// What a store says about leases without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The lease of this ticket with this token has ended. Invariant: it says nothing of another grant of the same
    /// request, which may be older or newer than this message.
    Lost(Ticket, FencingToken, Loss),
    /// The connection was lost and is back, so that notices may have been missed, or the store was closed: ask
    /// about every lease.
    AskAgain,
}

/// One of the things that a subscriber of events hears; see [`Client::events`](crate::Client::events).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// Something happened.
    Event(Event),
    /// Events were missed here: the connection was cut, the store did not know for a while that somebody watches, or
    /// the subscriber was too slow. What holds now is
    /// told by [`Client::list`](crate::Client::list).
    Missed,
    /// The store's clock was set, by so many milliseconds: leases end so much earlier, or later if it is negative.
    /// Or this machine stood still for so long without its own clock noticing. Only a Redis store can tell; every
    /// lease of this client is then asked about at once.
    ClockStepped {
        /// By how much; negative is back.
        by_ms: i64,
    },
}

/// A subscription to a store's events; dropping it ends it. A [`Stream`](futures_core::Stream): read it with
/// `next` of `futures_util::StreamExt` or of `tokio_stream::StreamExt`. Drop it when its client is closed: it may
/// end then, but need not.
///
/// # Cancel safety
/// Dropping the future of `next` loses no event, so it may stand in a `select!`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use futures_util::StreamExt;
/// use soloist::Told;
///
/// let mut events = client.events().await?;
/// let lease = client.lock("report:42").await?;
/// tokio::select! {
///     told = events.next() => match told {
///         Some(Told::Event(event)) => assert_eq!(event.token, lease.token()),
///         Some(_) => println!("missed some: list the keys"),
///         None => println!("closed"),
///     },
///     loss = lease.lost() => println!("lost: {loss}"),
/// }
/// # Ok(())
/// # }
/// ```
pub type EventStream = futures_util::stream::BoxStream<'static, Told>;

/// Releases, and then asks.
async fn rotate_in_two_steps<S: Store + ?Sized>(
    store: &S,
    held: Ticket,
    request: &Request,
) -> Result<Rotated> {
    Ok(match store.release(&request.key, &Who::Ticket(held)).await? {
        Released::Released { token } => Rotated::Asked(token, store.acquire(request).await),
        Released::NotHeld(holding) => Rotated::NotHeld(holding),
    })
}

/// Keeps the state of keys, and decides.
///
/// All verbs are idempotent by ticket: a store repeats a request whose answer was lost, and answers
/// [`crate::Error::Unavailable`] when it gave up, [`crate::Error::Refused`] when the store says no, and
/// [`crate::Error::Closed`] after [`Store::close`]. Whatever the verb: [`protocol`](crate::protocol) is the law,
/// and every answer has to be as the machine's there.
///
/// # Cancel safety
/// Dropping the future of a verb in flight leaves it unknown whether it was carried out, and harms nothing:
/// asking again with the same ticket is the same request, and [`Store::leave`] makes an end of one. What is
/// said at each verb is what a caller may rely on, and a store has to keep.
///
/// ```
/// use std::sync::Arc;
/// use soloist::store::{Store, memory::MemoryStore, prefix::PrefixStore};
/// use soloist::Client;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// let wrapped = PrefixStore::new(Arc::clone(&inner), "billing:"); // a wrapper is a store
/// let client = Client::builder().store(Arc::new(wrapped))?;
/// let lease = client.lock("report:42").await?;
/// assert_eq!(inner.list("").await?[0].key.as_str(), "billing:report:42");
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The store's name for messages, without secrets: `redis://127.0.0.1:6379/0`.
    fn name(&self) -> &str;

    /// Asks for a key, once. After [`Answer::Queued`] the request stands in line until it is served or
    /// [left](Store::leave), whether or not anybody [waits](Store::wait).
    ///
    /// # Cancel safety
    /// Dropped in flight, the request may be held or in line: ask again, or [leave](Store::leave).
    async fn acquire(&self, request: &Request) -> Result<Reply>;

    /// How long a request whose future was dropped, or failed without an answer, may still be carried out. A request
    /// that was left before that may be held, or stand in line, until it is left again. Zero where a store carries
    /// out what it is asked while it is asked.
    fn settles(&self) -> Duration {
        Duration::ZERO
    }

    /// Waits until a request that stands in line is served: [`Answer::Granted`] or [`Answer::Done`].
    /// `standing` is the answer that put it there.
    ///
    /// # Cancel safety
    /// Safe: dropping the future only stops listening. The place is kept, and `wait` may be called again.
    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply>;

    /// Gives a request up: out of the line, or the grant that crossed it is passed on to the next.
    ///
    /// # Cancel safety
    /// Dropped in flight, it may not have been carried out: call it again until it answers.
    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left>;

    /// Renews leases, as many as there are, in few steps; the answers stand in the order of the questions.
    ///
    /// # Cancel safety
    /// Dropped in flight, some leases may have been renewed; asking again is safe.
    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>>;

    /// Ends a lease and hands the key over to the next in line. Answers
    /// [`Error::Unknown`](crate::Error::Unknown) when asking again could not tell whether it was carried out.
    ///
    /// # Cancel safety
    /// Dropped in flight, it may have been carried out; asking again with the same ticket is safe.
    async fn release(&self, key: &Key, who: &Who) -> Result<Released>;

    /// Ends the lease of a ticket, hands its key over to the next in line, and asks for it again, as another request: what
    /// [`Store::release`] and [`Store::acquire`] do, in one step where the store can. An error is that of the release.
    ///
    /// # Cancel safety
    /// Dropped in flight, either may have been carried out: release the one, and [leave](Store::leave) the other.
    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        rotate_in_two_steps(self, held, request).await
    }

    /// Publishes the result of a flight, and ends its leader's lease. Answers
    /// [`Error::Unknown`](crate::Error::Unknown) when asking again could not tell whether it was carried out.
    ///
    /// # Cancel safety
    /// Dropped in flight, it may have been carried out; asking again with the same ticket is safe.
    async fn publish(&self, publication: &Publication) -> Result<Published>;

    /// Drops the result of a key. Answers whether there was one.
    ///
    /// # Cancel safety
    /// Dropped in flight, it may have been carried out; asking again is safe.
    async fn forget(&self, key: &Key) -> Result<bool>;

    /// Ends what has ended and hands over what is free, so that it is told at once.
    ///
    /// # Cancel safety
    /// Safe: it does only what any other verb on the key would.
    async fn touch(&self, key: &Key) -> Result<()>;

    /// The result of a key, if one is kept, changing nothing.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    async fn result(&self, key: &Key) -> Result<Option<Outcome>>;

    /// Everything about one key, changing nothing.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    async fn inspect(&self, key: &Key) -> Result<KeyInfo>;

    /// Every key that is held, waited for or has a result, whose name begins with `prefix`, sorted.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>>;

    /// What happens from now on, to all keys.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight, nothing is subscribed.
    async fn events(&self) -> Result<EventStream>;

    /// What becomes of results from now on, for whoever keeps copies of them in his own process
    /// ([`ClientBuilder::result_cache`](crate::ClientBuilder::result_cache)); `None` where a store cannot tell.
    /// Whatever is asked of the store after this has answered, nothing that becomes of it later goes untold.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight, nothing is subscribed.
    async fn results(&self) -> Result<Option<Box<dyn Results>>> {
        Ok(None)
    }

    /// Examines the store itself: what is configured so that locks get lost, what is missing, slow or nearly
    /// full. `ttl` is how long leases live where nothing else is said. What cannot be looked at is a finding
    /// too; an error is for a store that does not answer at all.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing that anybody uses.
    async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        let _ = ttl;
        Ok(Vec::new())
    }

    /// The same session over connections of its own, which open when they are first used, on the runtime that uses
    /// them. A client renews its leases, releases dropped ones and leaves over these, from a thread of its own: no
    /// blocked or ended runtime of the caller's holds that up. `None` where the store itself can be asked from
    /// any runtime, whatever becomes of the one that opened it.
    fn aside(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Which keys one request can renew: those of the same number, where it is not 0. Leases of such keys are then
    /// [renewed](Store::renew) at the same times. 0 where a request may be about any keys: only a cluster, whose keys
    /// are at several servers, asks group by group.
    fn group(&self, key: &Key) -> u16 {
        let _ = key;
        0
    }

    /// Whether it has replicas, which [`Store::replicated`] could wait for.
    fn has_replicas(&self) -> bool {
        false
    }

    /// Waits, for a while, until so many replicas have the lease of a ticket, and answers how many have it; or
    /// [`Error::NotHeld`](crate::Error::NotHeld) when there is no such lease (any more).
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    async fn replicated(&self, key: &Key, ticket: Ticket, wanted: u32) -> Result<u32> {
        let _ = (key, ticket, wanted);
        Ok(0)
    }

    /// What the store says about leases without being asked.
    fn notices(&self) -> broadcast::Receiver<Notice>;

    /// Whether leases that are bound to a session end with it, at once.
    fn leases_end_with_sessions(&self) -> bool {
        false
    }

    /// The longest ttl that leases may have here; `None` is any. A client asks for no longer one. A Redis with a
    /// [boot guard](redis::RedisOptions::boot_guard) has such a limit.
    fn longest_ttl(&self) -> Option<Duration> {
        None
    }

    /// A descriptor that keeps the leases of this store's session alive for as long as any process has it
    /// open. Only the local store has one.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), or what the system says.
    fn liveness(&self) -> Result<Option<std::os::fd::OwnedFd>> {
        Ok(None)
    }

    /// Ends every wait with [`crate::Error::Closed`] and gives up the places; other verbs still work. Called before
    /// [`Store::close`], so that what was granted until then can be released.
    ///
    /// # Cancel safety
    /// Safe: what it has ended stays ended, and calling it again ends the rest.
    async fn stop_waiting(&self) {}

    /// Ends the session: connections are closed, waiters are woken with [`crate::Error::Closed`].
    ///
    /// # Cancel safety
    /// Safe: what it has ended stays ended, and calling it again ends the rest.
    async fn close(&self);
}
