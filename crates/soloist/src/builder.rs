//! The settings of a client.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::client::{Client, Inner};
use crate::cohort::Cohorts;
use crate::error::{Error, Result};
use crate::flights::Flights;
use crate::keeper::Keeper;
use crate::limits;
use crate::name::{Holder, MAX_PREFIX};
use crate::replicas;
use crate::store::password::Password;
use crate::store::prefix::PrefixStore;
use crate::store::{Store, StoreUrl, local, memory, redis};

/// The life of a lease where nothing else is said.
const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// The largest result where nothing else is said: 16 MiB.
const DEFAULT_MAX_RESULT: u64 = 16 << 20;
/// How many results, and of how many bytes, are kept in a process where nothing else is said.
const DEFAULT_CACHE: (usize, usize) = (10_000, 64 << 20);
/// The longest line where nothing else is said. On a Redis it takes some 10 MB there.
const DEFAULT_MAX_WAITING: u64 = 100_000;

/// The settings of a client; see [`Client::builder`]. What is wrong with them is told by
/// [`connect`](ClientBuilder::connect) and [`store`](ClientBuilder::store).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// use std::time::Duration;
/// use soloist::Client;
///
/// let client = Client::builder()
///     .holder("worker-7")
///     .prefix("billing:")
///     .ttl(Duration::from_secs(10))
///     .max_result(1 << 20)
///     .connect("memory:")
///     .await?;
/// let lease = client.lock("report:42").await?; // "billing:report:42" in the store
/// assert_eq!(lease.key().as_str(), "report:42");
/// assert_eq!(lease.holder().as_str(), "worker-7");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is opened until connect or store"]
pub struct ClientBuilder {
    holder: Option<String>,
    prefix: String,
    ttl: Option<Duration>,
    max_result: u64,
    max_waiting: u64,
    replicas: u32,
    result_cache: Option<(usize, usize)>,
    password: Option<Password>,
    password_from_env: bool,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        ClientBuilder {
            holder: None,
            prefix: String::new(),
            ttl: None,
            max_result: DEFAULT_MAX_RESULT,
            max_waiting: DEFAULT_MAX_WAITING,
            replicas: 0,
            result_cache: None,
            password: None,
            password_from_env: false,
        }
    }
}

impl ClientBuilder {
    /// The name under which this client holds keys: any text of 1 to 256 bytes. Default: `host:pid`.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.holder = Some(holder.into());
        self
    }

    /// Put before every key, and taken off again from what is shown: applications that share a store keep
    /// apart by it. At most 128 bytes. Default: none.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The life of a lease unless a request says otherwise: 10 ms to a year. Default: 30 s, or as long as the
    /// store's [boot guard](redis::RedisOptions::boot_guard) allows, if that is less. Leases renew
    /// themselves at a third of it, so this is not how long work may take, but how long others wait for a
    /// process that was cut off.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The largest result that this client publishes, in bytes as encoded. Default: 16 MiB.
    pub fn max_result(mut self, bytes: u64) -> Self {
        self.max_result = bytes;
        self
    }

    /// How many may wait for one key before a request of this client that would have to wait, too, is answered with
    /// [`Error::LineFull`] at once. Who stands in line already is never thrown out. Default: 100,000.
    pub fn max_waiting(mut self, most: u64) -> Self {
        self.max_waiting = most;
        self
    }

    /// How many replicas have to have a lease before it is given to its user, unless a request says otherwise; see
    /// [`Lock::replicas`](crate::Lock::replicas). Default: 0. Only for a Redis.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Keeps results that the store [keeps](crate::Once::keep) in this process, too, so that reading one again costs no
    /// request and less than a microsecond: of so many keys at most, and so many bytes (a result counts with its size,
    /// its names, and 256). When there is no room, the one that has been here longest goes; one that was read since
    /// it came has another round. Off unless this is called; [`Once::cached`](crate::Once::cached) says otherwise for a
    /// call (for a client without this: of 10,000 keys and 64 MiB). [`Client::result`] always asks the store.
    ///
    /// What a reader may see: after a result was forgotten or replaced elsewhere, the old one, for as long as the
    /// store's word of that is on its way, and at the very most for a second, whatever becomes of the store, of the
    /// network, or of this process. After [`Client::forget`] of this client has answered, never. After the end of its
    /// `keep`, never, counted on this process's clock from before it was asked for. What nobody tells of (a `FLUSHALL`, a key
    /// that is deleted by hand or evicted) is seen until the end of its `keep`.
    ///
    /// That is kept up by the store's events, over one subscription: on a Redis the process then hears all events of its
    /// database, and while it reads, the connection that hears is asked four times a second whether all has arrived. While
    /// that is not known, or something was missed, the store is asked, as without a cache: so a client that reads less
    /// than once a second asks each time. In memory and on the local store the word is there when whoever changed something
    /// is answered; a process that is killed just then may leave the old result here until the next event of its
    /// shard. Other stores tell of nothing unless they have [`Store::results`], and nothing is kept of them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// use soloist::Client;
    ///
    /// let client = Client::builder().result_cache(10_000, 64 << 20).connect("memory:").await?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn result_cache(mut self, keys: usize, bytes: usize) -> Self {
        self.result_cache = Some((keys, bytes));
        self
    }

    /// The password of the server, where the URL has none: from a file, or from whatever keeps your secrets. It is put
    /// into no message. A local store has none.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Password::new(password.into()));
        self
    }

    /// Has [`connect`](ClientBuilder::connect) take the password, where neither the URL nor
    /// [`password`](ClientBuilder::password) has one, from the file that the environment variable
    /// `SOLOIST_PASSWORD_FILE` names, or else from `SOLOIST_PASSWORD`.
    pub fn password_from_env(mut self) -> Self {
        self.password_from_env = true;
        self
    }

    /// Opens a store by its URL. An empty text is the local store.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`Error::Refused`] when [`replicas`](ClientBuilder::replicas) are asked of a store that
    /// has none; and [`Error::EmptyName`], [`Error::LongName`], [`Error::BadDuration`] for the
    /// settings, before anything is opened.
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
    /// use std::time::Duration;
    /// use soloist::{Client, Error};
    ///
    /// let none = Client::builder().ttl(Duration::ZERO).connect("memory:").await;
    /// assert!(matches!(none, Err(Error::BadDuration { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(self, url: &str) -> Result<Client> {
        self.check()?;
        let url: StoreUrl = if url.is_empty() { StoreUrl::Local(None) } else { url.parse()? };
        let url = match url {
            StoreUrl::Redis(url) => StoreUrl::Redis(self.with_password(url)?),
            other => other,
        };
        let store: Arc<dyn Store> = match url {
            StoreUrl::Local(path) => Arc::new(local::LocalStore::open(path.as_deref())?),
            StoreUrl::Memory => Arc::new(memory::MemoryStore::new()),
            StoreUrl::Redis(url) => Arc::new(redis::RedisStore::connect(&url).await?),
        };
        self.store(store)
    }

    /// A client on a store that is open already: one of this crate's around a connection of yours, or your
    /// own. Leases are renewed from a thread of this crate's, so the verbs of a store of your own are called
    /// there, too; see [`Store::aside`].
    ///
    /// # Errors
    /// [`Error::Refused`] when [`replicas`](ClientBuilder::replicas) are asked of a store that has none;
    /// [`Error::EmptyName`], [`Error::LongName`], [`Error::BadDuration`] for the settings;
    /// [`Error::Unavailable`] when that thread cannot be started and this is no tokio runtime either.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// use std::sync::Arc;
    /// use soloist::Client;
    /// use soloist::store::memory::MemoryStore;
    ///
    /// let store = MemoryStore::new();
    /// let other = Client::builder().store(Arc::new(store.peer()))?;
    /// let client = Client::builder().store(Arc::new(store))?;
    /// # drop((client, other));
    /// # Ok(())
    /// # }
    /// ```
    pub fn store(self, store: Arc<dyn Store>) -> Result<Client> {
        let holder = self.check()?;
        let most = store.longest_ttl().unwrap_or(Duration::MAX);
        let ttl = limits::ttl(self.ttl.unwrap_or(DEFAULT_TTL.min(most)))?;
        limits::lives(&*store, ttl)?;
        let store =
            if self.prefix.is_empty() { store } else { Arc::new(PrefixStore::new(store, &self.prefix)) };
        let replicas = replicas::check(&*store, self.replicas)?;
        let keeper = Keeper::start(Arc::clone(&store))?;
        let (flights, cohorts) = (Flights::default(), Cohorts::default());
        let (max_result, max_waiting) = (self.max_result, self.max_waiting);
        let (usual, (keys, bytes)) =
            (self.result_cache.is_some(), self.result_cache.unwrap_or(DEFAULT_CACHE));
        let cache = Arc::new(Cache::new(usual, keys, bytes));
        Ok(Client::new(Inner {
            cache,
            store,
            keeper,
            flights,
            cohorts,
            holder,
            ttl,
            max_result,
            max_waiting,
            replicas,
        }))
    }

    fn with_password(&self, url: String) -> Result<String> {
        let said = if self.password_from_env { Password::from_env()? } else { None };
        let password = self.password.as_ref().or(said.as_ref());
        Ok(password.map_or_else(|| url.clone(), |password| password.put_into(&url)))
    }

    fn check(&self) -> Result<Holder> {
        limits::ttl(self.ttl.unwrap_or(DEFAULT_TTL))?;
        let (len, max) = (self.prefix.len(), MAX_PREFIX);
        if len > max {
            return Err(Error::LongName { what: "prefix", len, max });
        }
        Holder::new(self.holder.clone().unwrap_or_else(default_holder))
    }
}

/// `host:pid`.
fn default_holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().take(64).collect();
    format!("{}:{}", if host.is_empty() { "localhost" } else { &host }, std::process::id())
}
