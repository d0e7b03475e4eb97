//! Asking for a lock: the options are methods, await is the verb.

use std::future::{Future, IntoFuture, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, Span};

use crate::client::Client;
use crate::clock::Moment;
use crate::cohort::{self, Asker, Terms};
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::limits;
use crate::name::{Holder, Key, Note, Ticket};
use crate::observe;
use crate::place::{Place, Served, timed_out};
use crate::protocol::{MOST_TOKENS, Mode, Request, Ttl, Want};
use crate::replicas;

pub(crate) type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What every request can say; shared by lock, try_lock and once. Small, for there may be very many of them.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    key: Option<Key>,
    pub(crate) holder: Holder,
    pub(crate) note: Option<Note>,
    pub(crate) ttl: Ttl,
    wait: Option<Duration>,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) max_waiting: u64,
    pub(crate) replicas: u32,
    /// The first thing that is wrong with it.
    wrong: Option<Box<Error>>,
}

/// A place, for how long it is waited for, and the span around that.
struct Placed {
    place: Place,
    wait: Option<Duration>,
    span: Span,
}

/// The ttl of what is held for so long at most: the store ends it in time, too, should this process die first.
pub(crate) fn held_at_most(ttl: Ttl, max_hold: Option<Duration>) -> Ttl {
    match max_hold.map(Ttl::new) {
        Some(Ttl::Micros(most)) => ttl.at_most(most),
        _ => ttl,
    }
}

impl Placed {
    /// Waits for the lease of a lock.
    fn lease(self, client: &Client) -> Asking<'_, Lease> {
        let Placed { mut place, wait, span } = self;
        let served = async move {
            match place.served(wait).await? {
                Served::Lease(lease) => Ok(lease),
                Served::Busy(now) => {
                    let (key, holder) = (place.key().clone(), Some(now.holder));
                    Err(Error::TimedOut { key, waited: Duration::ZERO, holder })
                }
                Served::Done(..) => Err(client.odd_answer("a lock is answered with a result")),
            }
        };
        // Where nobody listens, no room is kept for what would be told.
        if span.is_disabled() { Box::pin(served) } else { Box::pin(served.instrument(span)) }
    }
}

impl Ask {
    pub(crate) fn new(client: &Client, key: &str) -> Self {
        let mut ask = Ask {
            key: None,
            holder: client.holder().clone(),
            note: None,
            ttl: client.usual_ttl(),
            wait: None,
            max_hold: None,
            max_waiting: client.max_waiting(),
            replicas: client.replicas(),
            wrong: None,
        };
        ask.set(Key::new(key), |ask, key| ask.key = Some(key));
        ask
    }

    /// Sets what is right, and remembers what is not.
    pub(crate) fn set<T>(&mut self, got: Result<T>, put: impl FnOnce(&mut Self, T)) {
        match got {
            Ok(value) => put(self, value),
            Err(error) => drop(self.wrong.get_or_insert_with(|| Box::new(error))),
        }
    }

    pub(crate) fn wait(&mut self, wait: Duration) {
        self.set(limits::wait(wait), |ask, wait| ask.wait = Some(wait));
    }

    /// Key and wait, or the first thing that is wrong: told before anything is sent.
    pub(crate) fn checked(&self) -> Result<(&Key, Option<Duration>)> {
        match (&self.wrong, &self.key) {
            (None, Some(key)) => Ok((key, self.wait)),
            (Some(wrong), _) => Err(Error::clone(wrong)),
            (None, None) => Err(Error::EmptyName { what: "key" }),
        }
    }

    /// The place of a lock, asked for by nobody yet.
    fn placed(self, client: &Client, mode: Mode) -> Result<Placed> {
        let (max_hold, replicas) = (self.max_hold, replicas::check(&**client.store(), self.replicas)?);
        let (request, wait) = self.request(Want::Lock, mode)?;
        let span = observe::lock_span(&request.key, &request.holder);
        let mut place = client.place(request, max_hold);
        place.replicas(replicas);
        Ok(Placed { place, wait, span })
    }

    /// The request.
    pub(crate) fn request(self, want: Want, mode: Mode) -> Result<(Request, Option<Duration>)> {
        let (key, wait) = self.checked()?;
        let key = key.clone();
        let ttl = held_at_most(self.ttl, self.max_hold);
        // To wait for no time is to try.
        let mode = if mode == Mode::Line && wait == Some(Duration::ZERO) { Mode::Try } else { mode };
        let wait = if mode == Mode::Line { wait } else { None };
        let (ticket, max_waiting, holder, note) =
            (Ticket::mint(), Some(self.max_waiting), self.holder, self.note);
        Ok((
            Request {
                key,
                ticket,
                holder,
                note,
                want,
                mode,
                ttl,
                bound: true,
                seen: None,
                max_waiting,
                tokens: 1,
            },
            wait,
        ))
    }
}

/// A lock that is asked for; see [`Client::lock`]. Options are methods; await it to ask.
///
/// # Errors
/// Awaited, it answers [`Error::TimedOut`] when its [`wait`](Lock::wait) is over, with the holder's name;
/// [`Error::LineFull`] when too many wait already;
/// [`Error::NotReplicated`] when too few [`replicas`](Lock::replicas) have the lease;
/// [`Error::EmptyName`], [`Error::LongName`] and [`Error::BadDuration`] for its options, before anything is
/// sent; [`Error::Closed`] when the client is closed meanwhile; or the store's. Who stands in line keeps his
/// place through an outage of the store; only his `wait` ends it.
///
/// # Cancel safety
/// Safe: dropped at any moment, no key stays held and no place in line stays taken. What the store knows of
/// the request is taken back in the background; [`Client::flush`] waits for that.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use std::time::Duration;
/// use soloist::Error;
///
/// let lease = client
///     .lock("report:42")
///     .holder("worker-7")
///     .note("nightly")
///     .ttl(Duration::from_secs(10))
///     .wait(Duration::from_secs(5))
///     .await?;
///
/// let second = client.lock("report:42").wait(Duration::from_millis(20)).await;
/// let Err(error @ Error::TimedOut { .. }) = second else { panic!("{second:?}") };
/// assert!(error.to_string().ends_with("worker-7 holds it"));
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is asked for until this is awaited"]
pub struct Lock<'a> {
    client: &'a Client,
    ask: Ask,
    mode: Mode,
    members: u8,
}

macro_rules! ask_options {
    () => {
        /// Under which name to hold it, in place of the client's: any text of 1 to 256 bytes.
        pub fn holder(mut self, holder: impl AsRef<str>) -> Self {
            self.ask.set($crate::name::Holder::new(holder), |ask, holder| ask.holder = holder);
            self
        }

        /// A remark that whoever looks at the key can read: any text of 1 to 1024 bytes.
        pub fn note(mut self, note: impl AsRef<str>) -> Self {
            self.ask.set($crate::name::Note::new(note), |ask, note| ask.note = Some(note));
            self
        }

        /// How long the lease lives unless it is renewed: 10 ms to a year. Default: the client's. It renews
        /// itself; this is how long others wait for the key when this process is cut off.
        pub fn ttl(mut self, ttl: std::time::Duration) -> Self {
            self.ask.set($crate::limits::ttl(ttl), |ask, ttl| ask.ttl = ttl);
            self
        }

        /// How long to hold it at most: 10 ms to a year. The lease is not renewed beyond that, so one whose
        /// holder is stuck but alive ends all the same, as [`Loss::Expired`](crate::Loss::Expired). Default: for
        /// as long as it takes.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> soloist::Result<()> {
        /// # let client = soloist::Client::memory()?;
        /// use std::time::Duration;
        /// use soloist::Loss;
        ///
        /// let lease = client.lock("report:42").max_hold(Duration::from_millis(50)).await?;
        /// assert_eq!(lease.lost().await, Loss::Expired); // though its process lives
        /// # Ok(())
        /// # }
        /// ```
        pub fn max_hold(mut self, most: std::time::Duration) -> Self {
            self.ask.set($crate::limits::max_hold(most), |ask, most| ask.max_hold = Some(most));
            self
        }

        /// How many replicas of a Redis have to have the lease before it is given to its user: then it outlives
        /// the primary if one of those is promoted. Default: the client's.
        ///
        /// Where fewer have it within [`replicas_timeout`](crate::store::redis::RedisOptions::replicas_timeout)
        /// it is given back, with [`Error::NotReplicated`](crate::Error::NotReplicated). It costs a
        /// round trip and the replicas' own. Renewals and releases are not waited for; any other store
        /// refuses a number above 0 ([`Error::Refused`](crate::Error::Refused)).
        pub fn replicas(mut self, replicas: u32) -> Self {
            self.ask.replicas = replicas;
            self
        }
    };
}
pub(crate) use ask_options;

impl<'a> Lock<'a> {
    pub(crate) fn new(client: &'a Client, key: &str) -> Self {
        Lock { client, ask: Ask::new(client, key), mode: Mode::Line, members: 1 }
    }

    ask_options!();

    /// Held until it is released, however long that takes. On the local store it still ends with this
    /// process, unless it is [detached](Lease::detach). On a Redis nothing ends it if this process dies: for
    /// that there is [`Client::break_lock`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let lease = client.lock("article:12").holder("user:20").no_expiry().await?;
    /// assert!(lease.deadline().is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn no_expiry(mut self) -> Self {
        self.ask.ttl = Ttl::Forever;
        self
    }

    /// How long to stand in line at most, up to a year; without this, for as long as it takes. Zero is to
    /// try once. When it is over, the place in line is given up in the background.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.ask.wait(wait);
        self
    }

    /// How many may stand in line before this request: where as many do, it is answered with
    /// [`Error::LineFull`] at once. Default: the client's.
    pub fn max_waiting(mut self, most: u64) -> Self {
        self.ask.max_waiting = most;
        self
    }

    /// Takes the key over from whoever holds it, without a wait. The new lease has a larger token, and the
    /// old holder is told that it lost the key ([`Loss::TakenOver`](crate::Loss::TakenOver)). Those who wait
    /// stay in line.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let old = client.lock("article:12").await?;
    /// let new = client.lock("article:12").holder("user:21").force().await?;
    /// assert!(new.token() > old.token());
    /// old.lost().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn force(mut self) -> Self {
        self.mode = Mode::Force;
        self
    }

    /// Lets the tasks of this client that wait for the key hand the lease to each other, without the store: at most so
    /// many of them in a row (1 to 128; more counts as that), for about a millisecond. Then the key goes on to the next
    /// in the store's line. For a key that very many tasks of few processes hold very shortly; off without this.
    ///
    /// Everybody has a [fencing token](Lease::token) of his own, in order with all others. Those form a cohort who ask
    /// the same client for the same key with this number and the same [`ttl`](Lock::ttl), [`max_hold`](Lock::max_hold) and
    /// [`replicas`](Lock::replicas). They are served in order; among processes it is the cohorts that take turns, so
    /// whoever asks in another process may be served before somebody who asked here a little earlier.
    ///
    /// The store knows of the first in a row only: it is its name, its note, its token and its time that
    /// [`Client::inspect`] shows and [`Client::release_held_by`] wants, and there is one event and one line of logging
    /// for the whole row. `max_hold` is counted from the beginning of the row. What the store answers to whoever asks it
    /// for the others, an error too, is the answer to all who wait. A lease that is lost is lost for the one who holds it;
    /// the others ask anew. Whoever takes the [id](Lease::id), [renews](Lease::renew) or [detaches](Lease::detach) it
    /// keeps it for himself: after him, the store is asked. [`force`](Lock::force) and a wait of zero leave this out.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let count = std::cell::Cell::new(0);
    /// let work = async || {
    ///     let lease = client.lock("counter").cohort(64).await?;
    ///     count.set(count.get() + 1); // nobody else is in here
    ///     lease.release().await
    /// };
    /// tokio::try_join!(work(), work(), work())?;
    /// assert_eq!(count.get(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cohort(mut self, members: u8) -> Self {
        self.members = members.clamp(1, MOST_TOKENS);
        self
    }

    /// Releases a lease of this key and stands in line again, behind all who wait: the holder takes turns with the others. The
    /// same as [`Lease::release`] and then this, in one step where the store can: on the local store, and on a Redis while
    /// nobody watches events, that is one request in place of two. Where nobody waits, the key is granted again, with a
    /// larger token.
    ///
    /// The options are those of this request: a wait, counted from now on, or another name or ttl. With [`force`](Lock::force), a wait of zero
    /// or a [`cohort`](Lock::cohort), and for a lease of another key or client, it is two steps.
    ///
    /// # Errors
    /// Those of [`Lease::release`]: then nothing was asked for; and those of this request: then the lease has ended all the
    /// same, or is released in the background.
    ///
    /// # Cancel safety
    /// Safe: dropped at any moment, the lease is released and no place in line stays taken.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// # let (mut turns, mut last) = (0, soloist::FencingToken(0));
    /// let mut lease = client.lock("queue").await?;
    /// while turns < 3 {
    ///     turns += 1; // a little of the work
    ///     # assert!(lease.token() > last);
    ///     # last = lease.token();
    ///     lease = client.lock("queue").rotate(lease).await?; // and whoever waits is next
    /// }
    /// lease.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rotate(self, lease: Lease) -> Result<Lease> {
        let (key, wait) = self.ask.checked()?;
        let is_one_step = self.mode == Mode::Line && !self.is_cohort() && wait != Some(Duration::ZERO);
        if !is_one_step || key != lease.key() || !lease.is_of(self.client.store()) || lease.is_lost() {
            lease.release().await?;
            return self.await;
        }
        let Lock { client, ask, mode, .. } = self;
        let Placed { mut place, wait, span } = ask.placed(client, mode)?;
        let began = Moment::now();
        place.rotate(lease, wait).instrument(span.clone()).await?;
        let wait = wait.map(|wait| wait.saturating_sub(Moment::now().since(began)));
        Placed { place, wait, span }.lease(client).await
    }

    /// Whether callers of this process hand the lease to each other.
    fn is_cohort(&self) -> bool {
        self.members > 1 && self.mode == Mode::Line && self.ask.wait != Some(Duration::ZERO)
    }

    /// The lease of the process's turn, or one of its own.
    async fn of_cohort(self) -> Result<Lease> {
        let Lock { client, ask, members, .. } = self;
        let replicas = replicas::check(&**client.store(), ask.replicas)?;
        let (key, wait) = ask.checked()?;
        let span = observe::lock_span(key, &ask.holder);
        let terms = Terms { key: key.clone(), ttl: ask.ttl, max_hold: ask.max_hold, replicas, members };
        let (holder, note, max_waiting) = (ask.holder.clone(), ask.note.clone(), ask.max_waiting);
        let request = |terms: &Terms, asker: &Asker| {
            let place = client.place(terms.request(asker), terms.max_hold);
            cohort::asking(place, Arc::clone(client.store()), terms.replicas)
        };
        let mut standing = client.cohorts().stand(terms, Asker { holder, note, max_waiting });
        let Some(limit) = wait else { return standing.lease(request).instrument(span).await };
        let began = Moment::now();
        if let Ok(lease) = tokio::time::timeout(limit, standing.lease(request)).instrument(span).await {
            return lease;
        }
        drop(standing);
        observe::wait_over(key, &ask.holder, Some(began));
        Err(timed_out(&**client.store(), key, limit).await)
    }
}

impl<'a> IntoFuture for Lock<'a> {
    type Output = Result<Lease>;
    type IntoFuture = Asking<'a, Lease>;

    /// # Cancel safety
    /// Safe: dropped at any moment, no key stays held and no place in line stays taken.
    fn into_future(self) -> Self::IntoFuture {
        if self.is_cohort() {
            return Box::pin(self.of_cohort());
        }
        let Lock { client, ask, mode, .. } = self;
        // Now, so that the future holds the place and nothing else: there may be very many who wait.
        match ask.placed(client, mode) {
            Ok(placed) => placed.lease(client),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

/// A lock that is tried for; see [`Client::try_lock`]. Options are methods; await it to ask. The answer is
/// `None` when somebody else holds the key or is next in line.
///
/// # Errors
/// Awaited, it answers [`Error::EmptyName`], [`Error::LongName`] and [`Error::BadDuration`] for its options,
/// before anything is sent; or the store's.
///
/// # Cancel safety
/// Safe: dropped at any moment, no key stays held.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use std::time::Duration;
///
/// let lease = client.try_lock("job").holder("worker-7").ttl(Duration::from_secs(10)).await?;
/// assert!(lease.is_some());
/// assert!(client.try_lock("job").await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is asked for until this is awaited"]
pub struct TryLock<'a> {
    client: &'a Client,
    ask: Ask,
}

impl<'a> TryLock<'a> {
    pub(crate) fn new(client: &'a Client, key: &str) -> Self {
        TryLock { client, ask: Ask::new(client, key) }
    }

    ask_options!();

    /// Held until it is released, however long that takes; see [`Lock::no_expiry`].
    pub fn no_expiry(mut self) -> Self {
        self.ask.ttl = Ttl::Forever;
        self
    }
}

impl<'a> IntoFuture for TryLock<'a> {
    type Output = Result<Option<Lease>>;
    type IntoFuture = Asking<'a, Option<Lease>>;

    /// # Cancel safety
    /// Safe: dropped at any moment, no key stays held.
    fn into_future(self) -> Self::IntoFuture {
        let TryLock { client, ask } = self;
        let Placed { mut place, span, .. } = match ask.placed(client, Mode::Try) {
            Ok(placed) => placed,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        Box::pin(async move {
            match place.served(None).instrument(span).await? {
                Served::Lease(lease) => Ok(Some(lease)),
                Served::Busy(_) => Ok(None),
                Served::Done(..) => Err(client.odd_answer("a lock is answered with a result")),
            }
        })
    }
}
