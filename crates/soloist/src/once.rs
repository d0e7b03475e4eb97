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
use crate::flights::{Baton, Turn};
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
    keep: Micros,
    keep_errors: Micros,
    on_error: OnError,
    cached: bool,
}

impl<'a> Once<'a> {
    pub(crate) fn new(client: &'a Client, key: &str) -> Self {
        let ask = Ask::new(client, key);
        let cached = client.cache().usual;
        Once { client, ask, keep: 0, keep_errors: 0, on_error: OnError::Share, cached }
    }

    ask_options!();

    /// How long to wait for the result at most, up to a year; without this, for as long as it takes. It does
    /// not end the leader's own work.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.ask.wait(wait);
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
        self.ask.set(limits::keep(keep), |_, keep| self.keep = keep);
        self
    }

    /// How long callers who come later get the error, if this caller's work fails, up to a year. Without
    /// this, only those get it who wait. Only with [`OnError::Share`].
    pub fn keep_errors(mut self, keep: Duration) -> Self {
        self.ask.set(limits::keep(keep), |_, keep| self.keep_errors = keep);
        self
    }

    /// What happens to those who wait when this caller's work fails.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Whether a result that is kept is kept in this process, too, and read there again without a request. Default: as
    /// the client has it ([`ClientBuilder::result_cache`](crate::ClientBuilder::result_cache), which says what a reader
    /// may see); `false` asks the store in any case.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use std::time::Duration;
    /// use soloist::Error;
    ///
    /// let once = client.once("answer").keep(Duration::from_secs(60)).cached(true);
    /// assert_eq!(once.clone().run(|| async { Ok::<u32, Error>(42) }).await?, 42);
    /// assert_eq!(once.clone().run(|| async { Ok::<u32, Error>(0) }).await?, 42); // from this process's memory
    /// client.forget("answer").await?; // by whomever
    /// assert_eq!(once.run(|| async { Ok::<u32, Error>(43) }).await?, 43);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cached(mut self, cached: bool) -> Self {
        self.cached = cached;
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
        let leader = match self.joined::<T>().await? {
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
            Err(Error::Lost { loss, .. }) => self.follow(loss).await,
            published => published,
        }
    }

    /// A replaced leader hears its successor's value. Its own work is spent: if there is no successor, it
    /// says that it lost the lease.
    async fn follow<T: Payload>(&self, loss: Loss) -> Result<T> {
        match self.joined::<T>().await? {
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
        self.joined().await
    }

    async fn joined<T: Payload>(&self) -> Result<Flight<T>> {
        let (key, wait) = self.ask.checked()?;
        let span = observe::once_span(key, &self.ask.holder);
        match self.seat(key, wait).instrument(span).await? {
            Seat::Lead(lead) => Ok(Flight::Leader(Leader { lead, value: PhantomData })),
            Seat::Done(outcome) => value_of(key, &outcome).map(Flight::Done),
        }
    }

    /// Waits for the turn of this caller in this process, and then in the line of the store. Nothing is made for the
    /// store before that: most callers only hear, and there may be very many of them.
    async fn seat(&self, key: &Key, wait: Option<Duration>) -> Result<Seat> {
        let replicas = replicas::check(&**self.client.store(), self.ask.replicas)?;
        let began = Moment::now();
        if self.cached
            && let Some(outcome) = self.client.cache().get(key, began)
        {
            observe::followed(key, &self.ask.holder, &outcome, began);
            return Ok(Seat::Done(outcome));
        }
        let flights = self.client.flights();
        let turn = match wait {
            None => flights.turn(key).await,
            // Not to wait is to ask the store oneself: what others of this process wait for may be there.
            Some(Duration::ZERO) => flights.alone(key),
            Some(limit) => match Box::pin(tokio::time::timeout(limit, flights.turn(key))).await {
                Ok(turn) => turn,
                Err(_) => {
                    observe::wait_over(key, &self.ask.holder, Some(began));
                    return Err(timed_out(&**self.client.store(), key, limit).await);
                }
            },
        };
        match turn {
            Turn::Done(outcome) => {
                observe::followed(key, &self.ask.holder, &outcome, began);
                Ok(Seat::Done(outcome))
            }
            Turn::Drive(baton) => Box::pin(self.drive(baton, began, replicas)).await,
        }
    }

    /// Asks the store, for all callers of this process.
    async fn drive(&self, mut baton: Baton, began: Moment, replicas: u32) -> Result<Seat> {
        let Once { client, ask, keep, keep_errors, on_error, cached } = self.clone();
        let max_hold = ask.max_hold;
        let (request, wait) = ask.request(Want::Flight, Mode::Line)?;
        let (key, holder) = (request.key.clone(), request.holder.clone());
        // Before it is sent: what becomes of the result from then on is heard.
        let question = if cached { client.cache().question(&**client.store(), &key).await } else { None };
        let left = wait.map(|wait| wait.saturating_sub(Moment::now().since(began)));
        let place = baton.place(request, max_hold, |request| client.place(request, max_hold));
        let served = match place.replicas(replicas).served(left).await {
            // What was left of the wait, after others of this process had asked, was too short to hear from the store: that says
            // nothing of the store.
            Err(Error::Unavailable { .. }) if place.ran_out() && is_most_over(wait, left) => {
                let waited = Moment::now().since(began);
                return Err(timed_out(&**client.store(), &key, waited).await);
            }
            served => served?,
        };
        baton.served();
        match served {
            Served::Lease(lease) => {
                observe::led(lease.kept().subject(), began);
                baton.leads(lease.kept());
                let limit = client.max_result();
                Ok(Seat::Lead(Box::new(Lead { lease, baton, keep, keep_errors, on_error, limit, question })))
            }
            Served::Done(outcome, read) => {
                observe::followed(&key, &holder, &outcome, began);
                let outcome = Arc::new(outcome);
                if let Some(question) = question {
                    question.answered(&outcome, read.no_earlier_than(outcome.until));
                }
                baton.done(Arc::clone(&outcome));
                Ok(Seat::Done(outcome))
            }
            Served::Busy(now) => {
                Err(Error::TimedOut { key, waited: Duration::ZERO, holder: Some(now.holder) })
            }
        }
    }
}

/// Whether most of a wait has passed when this much is left of it.
fn is_most_over(wait: Option<Duration>, left: Option<Duration>) -> bool {
    wait.zip(left).is_some_and(|(wait, left)| left < wait / 2)
}

enum Seat {
    Lead(Box<Lead>),
    Done(Arc<Outcome>),
}

pub(crate) fn value_of<T: Payload>(key: &Key, outcome: &Outcome) -> Result<T> {
    let Body::Inline(bytes) = outcome.body.clone() else {
        let why = "the store did not fetch it".into();
        return Err(Error::BadResult { key: key.clone(), verb: "decoded", why });
    };
    match outcome.kind {
        OutcomeKind::Value => {
            T::decode(bytes).map_err(|why| Error::BadResult { key: key.clone(), verb: "decoded", why })
        }
        OutcomeKind::Error => {
            let message = String::from_utf8_lossy(&bytes).into_owned();
            Err(Error::Failed { key: key.clone(), leader: outcome.leader.clone(), message, source: None })
        }
    }
}
