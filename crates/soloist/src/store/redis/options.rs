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
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions {
            response_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(3),
            give_up: Duration::from_secs(10),
            health_check: Duration::from_secs(3),
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

    /// Sets [`RedisOptions::health_check`].
    #[must_use]
    pub fn health_check(mut self, time: Duration) -> Self {
        self.health_check = time;
        self
    }
}
