//! Work-once: one caller of the fleet computes, all others wait for that same result.

use std::error::Error as StdError;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::client::Client;
use crate::clock::Moment;
use crate::error::{Error, Loss, Result};
use crate::flights::Turn;
use crate::leader::{Flight, Lead, Leader, OnError};
use crate::limits;
use crate::lock::{Ask, ask_options};
use crate::name::Key;
use crate::observe;
use crate::payload::Payload;
use crate::place::{Served, timed_out};
use crate::protocol::{Body, Micros, Mode, Outcome, OutcomeKind, Want};
use crate::replicas;

/// A result that is asked for; see [`Client::once`]. Options are methods; [`run`](Once::run) or
/// [`join`](Once::join) asks. However many callers of this process ask at once, the store hears one request.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use std::time::Duration;
/// use soloist::{Error, OnError};
///
/// let answer: u32 = client
///     .once("answer")
///     .wait(Duration::from_secs(60)) // how long to wait for somebody else's
///     .keep(Duration::from_secs(1800)) // how long it is everybody's
///     .keep_errors(Duration::from_secs(5))
///     .on_error(OnError::Share)
///     .run(|| async { Ok::<_, Error>(42) })
///     .await?;
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked for until run or join is awaited"]
pub struct Once<'a> {
    client: &'a Client,
    ask: Ask,
    keep: Result<Micros>,
    keep_errors: Result<Micros>,
    on_error: OnError,
}

impl<'a> Once<'a> {
    pub(crate) fn new(client: &'a Client, key: &str) -> Self {
        let ask = Ask::new(client, key);
        Once { client, ask, keep: Ok(0), keep_errors: Ok(0), on_error: OnError::Share }
    }

    ask_options!();

    /// How long to wait for the result at most, up to a year; without this, for as long as it takes. It does
    /// not end the leader's own work.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.ask.wait = limits::wait(wait).map(Some);
        self
    }

    /// How many may wait before this request, where it has to wait: where as many do, it is answered with
    /// [`Error::LineFull`] at once. A process counts once, however many of its callers wait. Default: the client's.
    pub fn max_waiting(mut self, most: u64) -> Self {
        self.ask.max_waiting = most;
        self
    }

    /// How long callers who come later get the value that this caller computes, up to a year. Without this,
    /// only those get it who wait while it is computed. With it at hand: [`Leader::publish_for`].
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = limits::keep(keep);
        self
    }

    /// How long callers who come later get the error, if this caller's work fails, up to a year. Without
    /// this, only those get it who wait. Only with [`OnError::Share`].
    pub fn keep_errors(mut self, keep: Duration) -> Self {
        self.keep_errors = limits::keep(keep);
        self
    }

    /// What happens to those who wait when this caller's work fails.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Gets the value: computes it with `work` if this caller is the leader, or waits for the leader's.
    /// The work is dropped the moment the lease is lost; then another leader's value is waited for.
    ///
    /// # Errors
    /// [`Error::Failed`] when the work fails, here (then with its error as source) or at the leader;
    /// [`Error::TimedOut`] when the wait is over; [`Error::LineFull`] when too many wait already; [`Error::Lost`] when this leader was replaced and nobody
    /// has a value; [`Error::TooLarge`] and [`Error::BadResult`] when the value cannot be published, which the
    /// waiters are told too; what is wrong with the options, before anything is sent; or the store's.
    ///
    /// # Cancel safety
    /// Safe: a follower leaves the line; a leader's work is dropped and the next in line takes over. The
    /// same when the work panics.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// # use std::time::Duration;
    /// async fn build() -> Result<Vec<u32>, std::io::Error> { Ok(vec![1, 2, 3]) }
    ///
    /// let keep = Duration::from_secs(1800);
    /// let report: Vec<u32> = client.once("report:42").keep(keep).run(|| build()).await?;
    /// assert_eq!(report, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<T, E, F, W>(self, work: F) -> Result<T>
    where
        T: Payload,
        E: Into<Box<dyn StdError + Send + Sync>>,
        F: FnOnce() -> W,
        W: Future<Output = Result<T, E>>,
    {
        let again = self.clone();
        let leader = match self.join::<T>().await? {
            Flight::Done(value) => return Ok(value),
            Flight::Leader(leader) => leader,
        };
        let done = leader.lease().run_until_lost(work()).await;
        let published = match done {
            Ok(Ok(value)) => leader.publish(value).await,
            Ok(Err(error)) => return Err(leader.fail(error).await),
            Err(lost) => {
                drop(leader);
                Err(lost)
            }
        };
        match published {
            Err(Error::Lost { loss, .. }) => again.follow(loss).await,
            published => published,
        }
    }

    /// A replaced leader hears its successor's value. Its own work is spent: if there is no successor, it
    /// says that it lost the lease.
    async fn follow<T: Payload>(self, loss: Loss) -> Result<T> {
        match self.join::<T>().await? {
            Flight::Done(value) => Ok(value),
            Flight::Leader(leader) => Err(leader.lease().kept().lost_error(loss)),
        }
    }

    /// The two-step form: hear the value, or become the leader and publish it.
    ///
    /// # Errors
    /// [`Error::Failed`] when the leader has failed, [`Error::TimedOut`] when the wait is over,
    /// [`Error::LineFull`] when too many wait already,
    /// [`Error::BadResult`] when the value cannot be decoded as a `T`; what is wrong with the options, before
    /// anything is sent; or the store's.
    ///
    /// # Cancel safety
    /// Safe: dropped at any moment, no place in line stays taken and nobody is left waiting for this caller.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use soloist::Flight;
    /// let value: u32 = match client.once("answer").join().await? {
    ///     Flight::Leader(leader) => leader.publish(42).await?,
    ///     Flight::Done(value) => value,
    /// };
    /// assert_eq!(value, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn join<T: Payload>(self) -> Result<Flight<T>> {
        let key = self.ask.key.clone()?;
        let span = observe::once_span(&key, &self.ask.holder.clone()?);
        match self.seat().instrument(span).await? {
            Seat::Lead(lead) => Ok(Flight::Leader(Leader { lead, value: PhantomData })),
            Seat::Done(outcome) => value_of(key, outcome).map(Flight::Done),
        }
    }

    /// Waits for the turn of this caller in this process, and then in the line of the store.
    async fn seat(self) -> Result<Seat> {
        let Once { client, ask, keep, keep_errors, on_error } = self;
        let (keep, keep_errors) = (keep?, keep_errors?);
        let (limit, max_hold) = (ask.wait.clone()?, ask.max_hold.clone()?);
        let replicas = replicas::check(&**client.store(), ask.replicas)?;
        let (request, wait) = ask.request(Want::Flight, Mode::Line)?;
        let (key, holder) = (request.key.clone(), request.holder.clone());
        let began = Moment::now();
        let flights = client.flights();
        let turn = match limit {
            None => flights.turn(&key).await,
            // Not to wait is to ask the store oneself: what others of this process wait for may be there.
            Some(Duration::ZERO) => flights.alone(&key),
            Some(limit) => match tokio::time::timeout(limit, flights.turn(&key)).await {
                Ok(turn) => turn,
                Err(_) => {
                    observe::wait_over(&request, began);
                    return Err(timed_out(&**client.store(), &key, limit).await);
                }
            },
        };
        let mut baton = match turn {
            Turn::Done(outcome) => {
                observe::followed(&key, &holder, &outcome, began);
                return Ok(Seat::Done(outcome));
            }
            Turn::Drive(baton) => baton,
        };
        let left = wait.map(|wait| wait.saturating_sub(Moment::now().since(began)));
        let place = baton.place(request, max_hold, |request| client.place(request, max_hold));
        let served = place.replicas(replicas).served(left).await?;
        baton.served();
        match served {
            Served::Lease(lease) => {
                observe::led(lease.kept().subject(), began);
                baton.leads(Arc::clone(lease.kept()));
                let limit = client.max_result();
                Ok(Seat::Lead(Box::new(Lead { lease, baton, keep, keep_errors, on_error, limit })))
            }
            Served::Done(outcome) => {
                observe::followed(&key, &holder, &outcome, began);
                baton.done(outcome.clone());
                Ok(Seat::Done(outcome))
            }
            Served::Busy(now) => {
                Err(Error::TimedOut { key, waited: Duration::ZERO, holder: Some(now.holder) })
            }
        }
    }
}

enum Seat {
    Lead(Box<Lead>),
    Done(Outcome),
}

pub(crate) fn value_of<T: Payload>(key: Key, outcome: Outcome) -> Result<T> {
    let Body::Inline(bytes) = outcome.body else {
        let why = "the store did not fetch it".into();
        return Err(Error::BadResult { key, verb: "decoded", why });
    };
    match outcome.kind {
        OutcomeKind::Value => T::decode(bytes).map_err(|why| Error::BadResult { key, verb: "decoded", why }),
        OutcomeKind::Error => {
            let message = String::from_utf8_lossy(&bytes).into_owned();
            Err(Error::Failed { key, leader: outcome.leader, message, source: None })
        }
    }
}
