//! The settings of a client.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{Client, Inner};
use crate::error::{Error, Result};
use crate::flights::Flights;
use crate::keeper::Keeper;
use crate::limits;
use crate::name::{Holder, MAX_PREFIX};
use crate::store::prefix::PrefixStore;
use crate::store::{Store, StoreUrl, local, memory, redis};

/// The life of a lease where nothing else is said.
const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// The largest result where nothing else is said: 16 MiB.
const DEFAULT_MAX_RESULT: u64 = 16 << 20;

/// The settings of a client; see [`Client::builder`].
#[derive(Debug)]
#[must_use = "nothing is opened until connect or store"]
pub struct ClientBuilder {
    holder: Option<String>,
    prefix: String,
    ttl: Duration,
    max_result: u64,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        ClientBuilder {
            holder: None,
            prefix: String::new(),
            ttl: DEFAULT_TTL,
            max_result: DEFAULT_MAX_RESULT,
        }
    }
}

impl ClientBuilder {
    /// The name under which this client holds keys. Default: `host:pid`.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.holder = Some(holder.into());
        self
    }

    /// Put before every key, and taken off again from what is shown. At most 128 bytes.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The life of a lease unless a request says otherwise: 10 ms to a year. Default: 30 s.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The largest result that this client publishes, in bytes. Default: 16 MiB.
    pub fn max_result(mut self, bytes: u64) -> Self {
        self.max_result = bytes;
        self
    }

    /// Opens a store by its URL. An empty text is the local store.
    ///
    /// # Errors
    /// As [`Client::connect`], and what is wrong with the settings.
    ///
    /// # Cancel safety
    /// Safe: nothing stays open.
    pub async fn connect(self, url: &str) -> Result<Client> {
        self.check()?;
        let url: StoreUrl = if url.is_empty() { StoreUrl::Local(None) } else { url.parse()? };
        let store: Arc<dyn Store> = match url {
            StoreUrl::Local(path) => Arc::new(local::LocalStore::open(path.as_deref())?),
            StoreUrl::Memory => Arc::new(memory::MemoryStore::new()),
            StoreUrl::Redis(url) => Arc::new(redis::RedisStore::connect(&url).await?),
        };
        self.store(store)
    }

    /// A client on a store that is open already: one of this crate's around a connection of yours, or your
    /// own. To be called on a tokio runtime, which the client's background task then lives on.
    ///
    /// # Errors
    /// What is wrong with the settings.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn store(self, store: Arc<dyn Store>) -> Result<Client> {
        let holder = self.check()?;
        let ttl = limits::ttl(self.ttl)?;
        let store =
            if self.prefix.is_empty() { store } else { Arc::new(PrefixStore::new(store, &self.prefix)) };
        let keeper = Keeper::start(Arc::clone(&store));
        let (flights, max_result) = (Flights::default(), self.max_result);
        Ok(Client::new(Inner { store, keeper, flights, holder, ttl, max_result }))
    }

    fn check(&self) -> Result<Holder> {
        limits::ttl(self.ttl)?;
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
