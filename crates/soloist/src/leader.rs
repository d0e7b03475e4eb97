//! The leader of a flight: it computes, and tells everybody who waits.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::Question;
use crate::clock::Moment;
use crate::error::{Error, Loss, Result};
use crate::flights::Baton;
use crate::lease::Lease;
use crate::limits;
use crate::name::FencingToken;
use crate::observe;
use crate::payload::Payload;
use crate::protocol::{Body, Micros, Outcome, OutcomeKind, Publication, Published};

/// What happens to those who wait when the leader's work fails.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use soloist::OnError;
///
/// let tries = &AtomicU32::new(0);
/// let work = move || async move {
///     if tries.fetch_add(1, Ordering::SeqCst) == 0 { Err("no rows") } else { Ok(42) }
/// };
/// let once = client.once("answer").on_error(OnError::Retry);
/// let (first, second) = tokio::join!(once.clone().run(work), once.run(work));
/// assert!(first.is_err()); // told to the failed leader only
/// assert_eq!(second?, 42); // the next in line has tried
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// All who wait now get the leader's error, as [`Error::Failed`].
    #[default]
    Share,
    /// The next in line becomes the leader and tries; only the failed leader itself gets its error.
    Retry,
}

/// What a caller of [`Once::join`](crate::Once::join) is.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use soloist::Flight;
///
/// match client.once("answer").join::<u32>().await? {
///     Flight::Leader(leader) => println!("computed {}", leader.publish(42).await?),
///     Flight::Done(answer) => println!("heard {answer}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum Flight<T> {
    /// You compute: [publish](Leader::publish) the value, or drop this to let the next in line try.
    Leader(Leader<T>),
    /// Somebody has computed it; here it is.
    Done(T),
}

/// The leader of a flight. Everybody else waits for what it [publishes](Leader::publish). Dropping it lets
/// the next in line lead. Its [lease](Leader::lease) renews itself and can be lost, as any other.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// # async fn compute() -> Result<u32, String> { Ok(42) }
/// use soloist::{Error, Flight};
///
/// let Flight::Leader(leader) = client.once("answer").join().await? else { panic!("nobody else is here") };
/// let answer = match leader.lease().run_until_lost(compute()).await? {
///     Ok(answer) => leader.publish(answer).await?,
///     Err(error) => return Err(leader.fail(error).await),
/// };
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the leader lets the next in line compute"]
pub struct Leader<T> {
    pub(crate) lead: Box<Lead>,
    pub(crate) value: PhantomData<fn() -> T>,
}

/// The part of a leader that does not know the type of its value.
pub(crate) struct Lead {
    pub(crate) lease: Lease,
    pub(crate) baton: Baton,
    pub(crate) keep: Micros,
    pub(crate) keep_errors: Micros,
    pub(crate) on_error: OnError,
    pub(crate) limit: u64,
    /// Where its result is kept in this process, too.
    pub(crate) question: Option<Question>,
}

impl<T: Payload> Leader<T> {
    /// The lease under which the work is done.
    pub fn lease(&self) -> &Lease {
        &self.lead.lease
    }

    /// The fencing token of this leader: larger than that of every leader before.
    pub fn token(&self) -> FencingToken {
        self.lead.lease.token()
    }

    /// Gives the value to everybody who waits, keeps it for as long as was asked for, and returns it.
    ///
    /// # Errors
    /// [`Error::Lost`] when this leader was replaced: its value is not taken, whoever waits gets its
    /// successor's. [`Error::TooLarge`] and [`Error::BadResult`] when it cannot be published, which those
    /// who wait are told too. [`Error::Unknown`] when an answer was lost and it cannot be told any more whether it was
    /// taken. The store's, when it cannot be reached: then the next in line will compute.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight, either everybody has the value or the next in line will compute.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use soloist::{Error, Flight};
    ///
    /// let Flight::Leader(old) = client.once("answer").join::<u32>().await? else { panic!("nobody else is here") };
    /// assert!(client.break_lock("answer").await?.is_some());
    /// // Replaced: its value is not taken.
    /// assert!(matches!(old.publish(41).await, Err(Error::Lost { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish(self, value: T) -> Result<T> {
        let keep = self.lead.keep;
        self.publish_kept(value, keep).await
    }

    /// As [`Leader::publish`], with a `keep` that is chosen now, with the value at hand.
    ///
    /// # Errors
    /// As [`Leader::publish`]; and [`Error::BadDuration`], by which the next in line leads.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight, either everybody has the value or the next in line will compute.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use std::time::Duration;
    /// use soloist::Flight;
    ///
    /// if let Flight::Leader(leader) = client.once("rate").join::<f64>().await? {
    ///     let (rate, valid) = (1.25, Duration::from_secs(60)); // as its source said
    ///     leader.publish_for(rate, valid).await?;
    /// }
    /// assert_eq!(client.result::<f64>("rate").await?, Some(1.25));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish_for(self, value: T, keep: Duration) -> Result<T> {
        self.publish_kept(value, limits::keep(keep)?).await
    }

    async fn publish_kept(self, value: T, keep: Micros) -> Result<T> {
        let key = self.lead.lease.key().clone();
        let bytes = match value.encode() {
            Ok(bytes) if bytes.len() as u64 <= self.lead.limit => bytes,
            Ok(bytes) => {
                let error = Error::TooLarge { key, size: bytes.len() as u64, limit: self.lead.limit };
                return Err(self.unpublishable(error).await);
            }
            Err(why) => {
                return Err(self.unpublishable(Error::BadResult { key, verb: "encoded", why }).await);
            }
        };
        self.lead.publish(OutcomeKind::Value, bytes, keep).await.map(|()| value)
    }

    /// Says that the work failed: to all who wait, or just to the next in line, who then tries
    /// ([`OnError`]). Returns the error for this caller, with `error` as its source.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight, either everybody has the error or the next in line will compute.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use soloist::{Error, Flight};
    ///
    /// if let Flight::Leader(leader) = client.once("answer").join::<u32>().await? {
    ///     let error = leader.fail("no rows").await;
    ///     assert!(matches!(error, Error::Failed { message, .. } if message == "no rows"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fail(self, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        let source: Arc<dyn StdError + Send + Sync> = error.into().into();
        let (key, leader) = (self.lead.lease.key().clone(), self.lead.lease.holder().clone());
        let message = source.to_string();
        let keep = self.lead.keep_errors;
        if self.lead.on_error == OnError::Share {
            self.lead.share_error(message.clone(), keep).await;
        } else {
            observe::failed(self.lead.lease.kept().subject(), false);
            // What goes wrong here is logged there, and retried in the background.
            let _ = self.lead.lease.release().await;
        }
        Error::Failed { key, leader, message, source: Some(source) }
    }

    /// A value that cannot be published: those who wait are told, for none of them would fare better.
    async fn unpublishable(self, error: Error) -> Error {
        self.lead.share_error(error.to_string(), 0).await;
        error
    }
}

impl Lead {
    /// The caller's own error is what counts; that it could not be told is only noted: the line goes on.
    async fn share_error(self: Box<Self>, message: String, keep: Micros) {
        // It goes on without the error being told: the next in line tries.
        let _ = self.publish(OutcomeKind::Error, message.into(), keep).await;
    }

    async fn publish(mut self: Box<Self>, kind: OutcomeKind, bytes: Bytes, keep: Micros) -> Result<()> {
        if let Some(loss) = self.lease.kept().loss() {
            return Err(self.lease.kept().lost_error(loss));
        }
        let (key, ticket) = (self.lease.key().clone(), self.lease.kept().ticket);
        let publication = Publication { key, ticket, kind, body: Body::Inline(bytes), keep };
        self.lease.kept().begin_end();
        let sent = Moment::now();
        let published = self.publish_until_lost(&publication).await?;
        self.lease.finish();
        let kept = self.lease.kept();
        match published {
            Published::Published => {
                match kind {
                    OutcomeKind::Value => observe::published(kept.subject(), publication.body.size(), keep),
                    OutcomeKind::Error => observe::failed(kept.subject(), true),
                }
                // Only those hear this who wait now; whoever comes later asks the store.
                let (token, leader) = (self.lease.token(), self.lease.holder().clone());
                let body = publication.body;
                let outcome = Arc::new(Outcome { token, leader, at: 0, until: 0, kind, body });
                if let Some(question) = &self.question {
                    // From before sending: the store began its keep no earlier.
                    question.answered(&outcome, sent.after(Duration::from_micros(keep)));
                }
                self.baton.done(outcome);
                Ok(())
            }
            // The key was forgotten meanwhile: this caller has asked before that and may have its value, the
            // others compute anew.
            Published::Stale => {
                observe::released(kept.subject());
                Ok(())
            }
            Published::Refused(_) => {
                kept.lose(Loss::Gone);
                Err(kept.lost_error(Loss::Gone))
            }
        }
    }
}

impl Lead {
    /// Work was done: while the lease lives, a store that is away is asked again. The same publication is
    /// the same, however often it is asked for.
    async fn publish_until_lost(&self, publication: &Publication) -> Result<Published> {
        let mut pause = Duration::from_millis(20);
        loop {
            match self.lease.store().publish(publication).await {
                Err(Error::Unavailable { store, why }) if !self.lease.is_lost() => {
                    observe::not_published(self.lease.kept().subject(), &store, &why);
                }
                published => return published,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

impl<T> fmt::Debug for Leader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leader").field(&self.lead.lease).finish()
    }
}
