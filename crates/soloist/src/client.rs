//! The client: what a program opens once and shares.

use std::sync::Arc;
use std::time::Duration;

use crate::builder::ClientBuilder;
use crate::cache::Cache;
use crate::cohort::Cohorts;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::flights::Flights;
use crate::glob::Glob;
use crate::keeper::Keeper;
use crate::lease::LeaseId;
use crate::limits;
use crate::lock::{Lock, TryLock};
use crate::name::{FencingToken, Holder, Key};
use crate::once::{Once, value_of};
use crate::payload::Payload;
use crate::place::Place;
use crate::protocol::{KeyInfo, Released, Renewal, Renewed, Request, Ttl, Who};
use crate::store::{EventStream, Store};
use crate::watch;

/// The key of the whole application: `app`; see [`Client::app_lock`].
pub const APP_KEY: &str = "app";

/// A connection to a store, and the background task that keeps its leases. Open one and share it: clones are
/// cheap and share both, and however many keys are locked or waited for, the connections stay the same few.
///
/// Whatever is dropped is cleaned up in the background; [`Client::close`] waits for that. The task lives on a thread
/// that all clients of the process share, and ends with the last clone and lease.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// let client = soloist::Client::connect("memory:").await?; // or redis://127.0.0.1, or "" for the local store
/// let again = client.clone();
/// let lease = client.lock("report:42").await?;
/// assert!(again.try_lock("report:42").await?.is_none());
/// lease.release().await?;
/// client.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keeper: Keeper,
    pub(crate) flights: Flights,
    pub(crate) cohorts: Cohorts,
    pub(crate) cache: Arc<Cache>,
    pub(crate) holder: Holder,
    pub(crate) ttl: Ttl,
    pub(crate) max_result: u64,
    pub(crate) max_waiting: u64,
    pub(crate) replicas: u32,
}

impl Client {
    pub(crate) fn new(inner: Inner) -> Self {
        Client { inner: Arc::new(inner) }
    }

    /// A client with settings of its own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// use std::time::Duration;
    /// let client = soloist::Client::builder()
    ///     .holder("worker-7")
    ///     .prefix("billing:")
    ///     .ttl(Duration::from_secs(30))
    ///     .connect("memory:") // or redis://127.0.0.1, or local:
    ///     .await?;
    /// assert_eq!(client.holder().as_str(), "worker-7");
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Opens a store by its URL, with default settings. An empty text is the local store. Which URLs there
    /// are: [`StoreUrl`](crate::StoreUrl).
    ///
    /// # Errors
    /// [`Error::BadUrl`], [`Error::Unavailable`], [`Error::Refused`], [`Error::Folder`]: all at once, nothing
    /// is retried here.
    ///
    /// # Cancel safety
    /// Safe: nothing stays open.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// use soloist::{Client, Error};
    ///
    /// let client = Client::connect("memory:").await?;
    /// assert!(matches!(Client::connect("http://localhost").await, Err(Error::BadUrl { .. })));
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder().connect(url).await
    }

    /// The store that the environment variable `SOLOIST_STORE` names, or else the local one; with a password as
    /// [`ClientBuilder::password_from_env`] says.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Cancel safety
    /// Safe: nothing stays open.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// let client = soloist::Client::from_env().await?; // SOLOIST_STORE=redis://127.0.0.1
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn from_env() -> Result<Self> {
        let url = std::env::var("SOLOIST_STORE").unwrap_or_default();
        Self::builder().password_from_env().connect(&url).await
    }

    /// A client on a store of its own inside this process, for tests. Its clones share that store; for a
    /// second "process" see [`MemoryStore::peer`](crate::store::memory::MemoryStore::peer).
    ///
    /// # Errors
    /// None as a rule: the default settings are right. [`Error::Unavailable`] when no thread can be started for
    /// its leases and this is no tokio runtime either.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// let client = soloist::Client::memory()?;
    /// assert!(client.try_lock("job").await?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn memory() -> Result<Self> {
        Self::builder().store(Arc::new(crate::store::memory::MemoryStore::new()))
    }

    /// Asks for a key and stands in line for as long as it takes, or for the [`wait`](Lock::wait) that is
    /// set. Nothing is sent, and nothing that is wrong is told, until the [`Lock`] is awaited.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use std::time::Duration;
    /// use soloist::Error;
    ///
    /// let lease = client.lock("report:42").ttl(Duration::from_secs(10)).await?;
    /// let late = client.lock("report:42").wait(Duration::from_millis(5)).await;
    /// assert!(matches!(late, Err(Error::TimedOut { .. })));
    ///
    /// let mine = client.lock("report:42").holder("user:20").force().await?;
    /// assert!(mine.token() > lease.token());
    /// lease.lost().await; // the old holder is told
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self, key: impl AsRef<str>) -> Lock<'_> {
        Lock::new(self, key.as_ref())
    }

    /// Asks for the one lock of the whole application: [`Client::lock`] of [`APP_KEY`]. Applications that share
    /// a store tell themselves apart by their [prefix](ClientBuilder::prefix). An empty key is an error, for
    /// an unset variable must not lock everybody out.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// let client = soloist::Client::builder().prefix("billing:").connect("memory:").await?;
    /// let lease = client.app_lock().await?; // nobody else of billing is in here
    /// assert_eq!(lease.key().as_str(), soloist::APP_KEY);
    /// assert!(client.lock("").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn app_lock(&self) -> Lock<'_> {
        self.lock(APP_KEY)
    }

    /// Asks for a key once: busy is a value, not an error. Nothing is sent until the [`TryLock`] is awaited.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let Some(lease) = client.try_lock("job").await? else { return Ok(()) };
    /// assert!(client.try_lock("job").await?.is_none());
    /// # drop(lease);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_lock(&self, key: impl AsRef<str>) -> TryLock<'_> {
        TryLock::new(self, key.as_ref())
    }

    /// Asks for a result that one caller of the whole fleet computes; see [`Once::run`] and [`Once::join`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use soloist::Error;
    ///
    /// let answer = client.once("answer").run(|| async { Ok::<u32, Error>(42) }).await?;
    /// assert_eq!(answer, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn once(&self, key: impl AsRef<str>) -> Once<'_> {
        Once::new(self, key.as_ref())
    }

    /// Renews a [detached](crate::Lease::detach) lease for `ttl` from now: 10 ms to a year. Answers its token.
    ///
    /// # Errors
    /// [`Error::NotHeld`] when it has ended, [`Error::BadDuration`], or the store's: then it may have been carried out all the
    /// same, or be so yet, and until it is known the shorter of the life that it had and `ttl` counts.
    ///
    /// # Cancel safety
    /// Dropped in flight, it is not known whether it was carried out; asking again is safe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use std::time::Duration;
    ///
    /// let id = client.lock("upload:7").await?.detach().await?;
    /// assert_eq!(client.renew(&id, Duration::from_secs(60)).await?, id.token());
    /// client.release(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn renew(&self, id: &LeaseId, ttl: Duration) -> Result<FencingToken> {
        self.renew_as(id.key.clone(), Who::Ticket(id.ticket), limits::ttl(ttl)?).await
    }

    /// Renews the lease of a named holder for `ttl` from now: 10 ms to a year. Answers its token. A holder's
    /// name is no proof: whoever knows it can do this.
    ///
    /// # Errors
    /// [`Error::NotHeld`] when nobody or somebody else holds it, [`Error::BadDuration`], or the store's, as in
    /// [`Client::renew`].
    ///
    /// # Cancel safety
    /// Dropped in flight, it is not known whether it was carried out; asking again is safe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use std::time::Duration;
    /// use soloist::Error;
    ///
    /// let minute = Duration::from_secs(60);
    /// client.lock("article:12").holder("user:20").ttl(minute).await?.detach().await?;
    /// client.renew_held_by("article:12", "user:20", minute).await?;
    /// match client.renew_held_by("article:12", "user:21", minute).await {
    ///     Err(Error::NotHeld { holder, .. }) => assert_eq!(holder.unwrap().as_str(), "user:20"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn renew_held_by(
        &self,
        key: impl AsRef<str>,
        holder: impl AsRef<str>,
        ttl: Duration,
    ) -> Result<FencingToken> {
        self.renew_as(Key::new(key)?, Who::Holder(Holder::new(holder)?), limits::ttl(ttl)?).await
    }

    async fn renew_as(&self, key: Key, who: Who, ttl: Ttl) -> Result<FencingToken> {
        limits::lives(&**self.store(), ttl)?;
        let renewal = Renewal { key, who, ttl, detach: false, at_least: None };
        match self.store().renew(std::slice::from_ref(&renewal)).await?.pop() {
            Some(Renewed::Renewed { token, .. }) => Ok(token),
            Some(Renewed::NotHeld(now)) => {
                Err(Error::NotHeld { key: renewal.key, holder: now.map(|now| now.holder) })
            }
            Some(Renewed::Unknown) | None => Err(self.odd_answer("a renewal is not answered")),
        }
    }

    /// Releases a [detached](crate::Lease::detach) lease and hands the key over to the next in line. Answers
    /// its token.
    ///
    /// # Errors
    /// [`Error::NotHeld`] when it has ended, [`Error::Unknown`] when no answer came, or the store's. Nobody tries
    /// again in the background: a detached lease is whoever's has its id.
    ///
    /// # Cancel safety
    /// Dropped in flight, it is not known whether it was carried out; asking again is safe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use soloist::LeaseId;
    ///
    /// let text = client.lock("upload:7").await?.detach().await?.to_string();
    /// let id: LeaseId = text.parse()?; // in another process
    /// client.release(&id).await?;
    /// assert!(client.release(&id).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn release(&self, id: &LeaseId) -> Result<FencingToken> {
        let token = self.release_as(id.key.clone(), Who::Ticket(id.ticket)).await?;
        // The store tells the holder's session, unless that is the one that asks.
        self.inner.keeper.ended(id.ticket);
        Ok(token)
    }

    /// Releases the lease of a named holder. Answers its token.
    ///
    /// # Errors
    /// [`Error::NotHeld`] when nobody or somebody else holds it, [`Error::Unknown`], or the store's.
    ///
    /// # Cancel safety
    /// Dropped in flight, it is not known whether it was carried out; asking again could end a later lease of
    /// the same holder.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// client.lock("article:12").holder("user:20").no_expiry().await?.detach().await?;
    /// assert!(client.release_held_by("article:12", "user:21").await.is_err());
    /// client.release_held_by("article:12", "user:20").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn release_held_by(
        &self,
        key: impl AsRef<str>,
        holder: impl AsRef<str>,
    ) -> Result<FencingToken> {
        self.release_as(Key::new(key)?, Who::Holder(Holder::new(holder)?)).await
    }

    /// Ends whatever lease a key has, whose ever it is; its holder is told, and the next in line has it.
    /// Answers the broken lease's token; `None` when the key was free.
    ///
    /// # Errors
    /// [`Error::EmptyName`], [`Error::LongName`], [`Error::Unknown`] when no answer came, or the store's.
    ///
    /// # Cancel safety
    /// Dropped in flight, it is not known whether it was carried out; asking again could end the lease of the
    /// next in line.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use soloist::Loss;
    ///
    /// let lease = client.lock("report:42").await?;
    /// assert_eq!(client.break_lock("report:42").await?, Some(lease.token()));
    /// assert_eq!(lease.lost().await, Loss::Released);
    /// assert_eq!(client.break_lock("report:42").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn break_lock(&self, key: impl AsRef<str>) -> Result<Option<FencingToken>> {
        match self.release_as(Key::new(key)?, Who::Any).await {
            Ok(token) => Ok(Some(token)),
            Err(Error::NotHeld { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn release_as(&self, key: Key, who: Who) -> Result<FencingToken> {
        match self.store().release(&key, &who).await? {
            Released::Released { token } => Ok(token),
            Released::NotHeld(now) => Err(Error::NotHeld { key, holder: now.map(|now| now.holder) }),
        }
    }

    /// The result that is kept for a key, without waiting for one or computing it.
    ///
    /// # Errors
    /// [`Error::Failed`] when an error is kept, [`Error::BadResult`] when it cannot be decoded as a `T`, or
    /// the store's.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use std::time::Duration;
    /// use soloist::Error;
    ///
    /// assert_eq!(client.result::<u32>("answer").await?, None);
    /// let once = client.once("answer").keep(Duration::from_secs(60));
    /// once.run(|| async { Ok::<u32, Error>(42) }).await?;
    /// assert_eq!(client.result::<u32>("answer").await?, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn result<T: Payload>(&self, key: impl AsRef<str>) -> Result<Option<T>> {
        let key = Key::new(key)?;
        let outcome = self.store().result(&key).await?;
        outcome.map(|outcome| value_of(&key, &outcome)).transpose()
    }

    /// Drops the result that is kept for a key. A flight that is under way is not kept either: those who
    /// wait for it compute anew. Answers whether a result was kept.
    ///
    /// # Errors
    /// [`Error::EmptyName`], [`Error::LongName`], or the store's.
    ///
    /// # Cancel safety
    /// Dropped in flight, it is not known whether it was carried out; asking again is safe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use std::time::Duration;
    /// use soloist::Error;
    ///
    /// let once = client.once("answer").keep(Duration::from_secs(60));
    /// once.clone().run(|| async { Ok::<u32, Error>(41) }).await?;
    /// assert!(client.forget("answer").await?);
    /// assert_eq!(once.run(|| async { Ok::<u32, Error>(42) }).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn forget(&self, key: impl AsRef<str>) -> Result<bool> {
        let key = Key::new(key)?;
        let forgot = self.store().forget(&key).await;
        // Who calls after this is not served by a flight that began before it, nor with what is kept here. Where it is
        // not known whether it was carried out, he asks.
        self.cache().forget(&key);
        self.flights().part(&key);
        forgot
    }

    /// Who holds a key, since when and for how long; who waits, in order; which result is kept.
    ///
    /// # Errors
    /// [`Error::EmptyName`], [`Error::LongName`], or the store's.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let lease = client.lock("article:12").holder("user:20").note("editing").await?;
    /// let info = client.inspect("article:12").await?;
    /// let holding = info.holding.unwrap();
    /// assert_eq!(holding.holder.as_str(), "user:20");
    /// assert_eq!(holding.token, lease.token());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn inspect(&self, key: impl AsRef<str>) -> Result<KeyInfo> {
        self.store().inspect(&Key::new(key)?).await
    }

    /// Every key that is held, waited for, or has a result, sorted; of those that match the pattern, in
    /// which `*` stands for any text, `?` for one character, and `\` takes the next one as it is. Those who
    /// wait are only counted. A Redis looks through all keys of its database for this, in many small steps:
    /// it is for people, not for a loop.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let lease = client.lock("report:42").await?;
    /// let other = client.lock("article:12").await?;
    /// let infos = client.list("report:*").await?;
    /// assert_eq!(infos.len(), 1);
    /// assert_eq!(infos[0].key.as_str(), "report:42");
    /// # drop((lease, other));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self, pattern: &str) -> Result<Vec<KeyInfo>> {
        let glob = Glob::new(pattern);
        let mut infos = self.store().list(&glob.literal_prefix()).await?;
        infos.retain(|info| glob.matches(info.key.as_str()));
        Ok(infos)
    }

    /// What happens to all keys from now on, each key's events in order. Where events were missed (the
    /// connection was cut, the reader too slow) the stream says so. A lease that ends unreleased is told
    /// within a second, even when nobody asks for its key, as long as the stream is read.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Cancel safety
    /// Safe; dropping the stream ends the subscription.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use futures_util::StreamExt;
    /// use soloist::{EventKind, Told};
    ///
    /// let mut events = client.events().await?;
    /// let lease = client.lock("report:42").await?;
    /// let Some(Told::Event(event)) = events.next().await else { panic!("no event") };
    /// assert_eq!((event.kind, event.token), (EventKind::Locked, lease.token()));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn events(&self) -> Result<EventStream> {
        watch::in_time(Arc::clone(self.store())).await
    }

    /// Examines the store itself, worst first: what is configured so that locks get lost, which rights are
    /// missing, what is slow or nearly full. It is for people and for checks at a deployment, not for a loop: on
    /// a Redis it opens connections of its own and sends some 150 small commands. What could not be looked at is
    /// a finding as well.
    ///
    /// # Errors
    /// The store's, when it does not answer at all.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing that anybody uses.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use soloist::Level;
    ///
    /// let findings = client.examine().await?;
    /// assert_eq!((findings[0].level, findings[0].code), (Level::Note, "one-process"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn examine(&self) -> Result<Vec<Finding>> {
        let mut findings = self.store().examine(self.ttl()).await?;
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        Ok(findings)
    }

    /// The name under which this client holds keys, unless a request says otherwise.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// let client = soloist::Client::memory()?;
    /// let name = client.holder().as_str(); // host:pid
    /// assert!(name.ends_with(&std::process::id().to_string()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn holder(&self) -> &Holder {
        &self.inner.holder
    }

    /// How long leases of this client live, unless a request says otherwise.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// let client = soloist::Client::memory()?;
    /// assert_eq!(client.ttl().as_secs(), 30);
    /// # Ok(())
    /// # }
    /// ```
    pub fn ttl(&self) -> Duration {
        self.inner.ttl.duration().unwrap_or(Duration::MAX)
    }

    /// A descriptor that keeps the leases of this client alive for as long as any process has it open, even
    /// when this one is killed. Only the local store has one: hand it to whatever has to be ended before
    /// the next holder may begin.
    ///
    /// # Errors
    /// [`Error::Closed`], or the store's.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// assert!(client.liveness()?.is_none()); // a store in memory ends with its process
    /// # Ok(())
    /// # }
    /// ```
    pub fn liveness(&self) -> Result<Option<std::os::fd::OwnedFd>> {
        self.store().liveness()
    }

    /// Waits until everything that was dropped is released, and ends the connection. Leases that are held and
    /// requests that wait or were just sent, those of other clones too, end: their owners are told ([`Lease::lost`],
    /// [`Error::Closed`]), and the keys are free for others when this returns. What is asked for later is answered
    /// with [`Error::Closed`] at once.
    ///
    /// # Cancel safety
    /// Safe: what is not yet released then is released in the background.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let lease = client.lock("report:42").await?;
    /// client.close().await;
    /// assert!(lease.is_lost());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`Lease::lost`]: crate::Lease::lost
    pub async fn close(self) {
        // Leases are ended, and whatever was asked for is taken back: in line or just granted, answered or not.
        self.inner.cache.close();
        self.inner.keeper.close().await;
        self.store().stop_waiting().await;
        // What was released may have been handed over to a waiter of this client, which is released as well.
        self.inner.keeper.flush().await;
        self.store().close().await;
    }

    /// Waits until everything that was dropped so far is released.
    ///
    /// # Cancel safety
    /// Safe: it only waits.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// drop(client.lock("report:42").await?);
    /// client.flush().await;
    /// assert!(client.try_lock("report:42").await?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn flush(&self) {
        self.inner.keeper.flush().await;
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    pub(crate) fn flights(&self) -> &Flights {
        &self.inner.flights
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.inner.cache
    }

    pub(crate) fn cohorts(&self) -> &Cohorts {
        &self.inner.cohorts
    }

    pub(crate) fn usual_ttl(&self) -> Ttl {
        self.inner.ttl
    }

    pub(crate) fn max_waiting(&self) -> u64 {
        self.inner.max_waiting
    }

    pub(crate) fn max_result(&self) -> u64 {
        self.inner.max_result
    }

    pub(crate) fn replicas(&self) -> u32 {
        self.inner.replicas
    }

    pub(crate) fn place(&self, request: Request, max_hold: Option<Duration>) -> Place {
        Place::new(Arc::clone(self.store()), self.inner.keeper.clone(), request, max_hold)
    }

    pub(crate) fn odd_answer(&self, why: &str) -> Error {
        odd_answer(&**self.store(), why)
    }
}

/// The error of an answer that makes no sense.
pub(crate) fn odd_answer(store: &dyn Store, why: &str) -> Error {
    let hint = "do all programs on this store use the same version?";
    Error::Refused { store: store.name().into(), why: why.into(), hint }
}
