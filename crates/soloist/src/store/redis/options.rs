//! Limits of a Redis store.

use std::time::Duration;

/// How patient a Redis store is.
///
/// ```
/// use std::time::Duration;
/// use soloist::store::redis::RedisOptions;
///
/// let options = RedisOptions::default().give_up(Duration::from_secs(30));
/// assert_eq!(options.response_timeout, Duration::from_secs(2));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisOptions {
    /// How long to wait for an answer before the connection is dropped and the request repeated: 2 s. Large
    /// results get a second more for each MiB.
    pub response_timeout: Duration,
    /// How long to wait for a connection: 3 s.
    pub connect_timeout: Duration,
    /// How long a verb is repeated over an outage before it fails with [`crate::Error::Unavailable`]: 10 s.
    /// Who stands in line waits on through outages.
    pub give_up: Duration,
    /// How often the connection that carries wake-ups is asked whether it still lives, and one of
    /// several nodes whether it still is the primary: every 3 s.
    pub health_check: Duration,
    /// The longest ttl of all clients, for a server that may lose its data; `None`. A server that comes back, or
    /// another one after a failover, grants nothing to this client until every lease of before has ended; so does
    /// one that it has not met before. See [`RedisOptions::boot_guard`].
    pub boot_guard: Option<Duration>,
    /// How long to wait for the replicas that [`Lock::replicas`](crate::Lock::replicas) asks for: 1 s.
    pub replicas_timeout: Duration,
    /// Whether a key that is probably free is asked for by two plain commands in place of a script: yes. See
    /// [`RedisOptions::plain`].
    pub plain: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions {
            response_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(3),
            give_up: Duration::from_secs(10),
            health_check: Duration::from_secs(3),
            boot_guard: None,
            replicas_timeout: Duration::from_secs(1),
            plain: true,
        }
    }
}

impl RedisOptions {
    /// Sets [`RedisOptions::response_timeout`].
    #[must_use]
    pub fn response_timeout(mut self, time: Duration) -> Self {
        self.response_timeout = time;
        self
    }

    /// Sets [`RedisOptions::connect_timeout`].
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// Sets [`RedisOptions::give_up`].
    #[must_use]
    pub fn give_up(mut self, time: Duration) -> Self {
        self.give_up = time;
        self
    }

    /// Sets [`RedisOptions::replicas_timeout`].
    #[must_use]
    pub fn replicas_timeout(mut self, time: Duration) -> Self {
        self.replicas_timeout = time;
        self
    }

    /// Sets [`RedisOptions::health_check`].
    #[must_use]
    pub fn health_check(mut self, time: Duration) -> Self {
        self.health_check = time;
        self
    }

    /// Sets [`RedisOptions::plain`].
    ///
    /// A client that has asked the server (of a cluster, the node) for something within the last second asks for a lock
    /// that nobody was seen to hold by two plain commands, which takes the server a third of the time that a script takes. Such a lease is granted for [`Store::settles`](crate::Store::settles) at first (3 s with the usual
    /// limits) and has its own ttl from its first renewal on, a second later, as a lease that was handed over: whose
    /// client or server stands still for the two seconds behind that loses it, and is told. `false`: every lease has its own
    /// ttl from the start.
    #[must_use]
    pub fn plain(mut self, plain: bool) -> Self {
        self.plain = plain;
        self
    }

    /// Sets [`RedisOptions::boot_guard`] to the longest ttl of all clients; `?boot_guard=30s` in a URL does the
    /// same.
    ///
    /// Without it a server that restarts and has lost its data grants a key while its holder, who has not heard
    /// of that yet, still works. With it, requests wait for as long as that may be after every start of the server,
    /// also the first one, and [`Client::try_lock`](crate::Client::try_lock) and
    /// [`force`](crate::Lock::force) answer [`Error::Guarded`](crate::Error::Guarded); leases that the server still
    /// knows live on. A longer ttl, or none, is refused. Set the same one at every client: whoever has none is not
    /// held back.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use soloist::store::redis::{RedisOptions, RedisStore};
    /// use soloist::{Client, Error};
    ///
    /// let options = RedisOptions::default().boot_guard(Duration::from_secs(10));
    /// let store = RedisStore::connect_with("redis://127.0.0.1", options).await?;
    /// let client = Client::builder().ttl(Duration::from_secs(10)).store(Arc::new(store))?;
    /// match client.try_lock("report:42").await {
    ///     Err(Error::Guarded { left, .. }) => println!("the server has just started: not for {left:?}"),
    ///     other => drop(other?),
    /// }
    /// let lease = client.lock("report:42").await?; // waits for that
    /// # drop(lease);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn boot_guard(mut self, longest_ttl: Duration) -> Self {
        self.boot_guard = Some(longest_ttl);
        self
    }
}
