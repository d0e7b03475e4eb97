//! The five systems that people come from, and how each marks a key as taken on Redis.

/// A system whose processes still run beside ours, and whose keys we respect and take as our own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Old {
    /// locky 4: `locky:lock:<resource>` holds the locker, the set `locky:current:locks` the resources.
    Locky,
    /// redis-reservation: `reservation-<resource>` holds `<by>-<id>`.
    RedisReservation,
    /// locksmith and halocksmith: `<prefix><key>` holds the end of the lock in unix seconds.
    Locksmith {
        /// The prefix; theirs by default is `__locksmith:`.
        prefix: String,
    },
    /// process-locker: `<prefix>:<key>` holds `WAIT` or the JSON result, which is told on `<prefix>:<channel>`.
    ProcessLocker {
        /// Its `redisPrefix`.
        prefix: String,
        /// Its `channel`.
        channel: String,
    },
}

impl Old {
    /// Their key for ours.
    pub(super) fn key(&self, key: &str) -> String {
        match self {
            Old::Locky => format!("locky:lock:{key}"),
            Old::RedisReservation => format!("reservation-{key}"),
            Old::Locksmith { prefix } => format!("{prefix}{key}"),
            Old::ProcessLocker { prefix, .. } => format!("{prefix}:{key}"),
        }
    }

    /// What they find there while we hold the key.
    pub(super) fn mark(&self, holder: &str, token: u64) -> String {
        match self {
            Old::Locky => holder.into(),
            Old::RedisReservation => format!("{holder}-{token}"),
            // The script writes the time of the end, by the server's clock.
            Old::Locksmith { .. } => String::new(),
            Old::ProcessLocker { .. } => "WAIT".into(),
        }
    }

    /// Whether the value is the end of the lock in unix seconds, and not bound to the key's own life.
    pub(super) fn counts_seconds(&self) -> bool {
        matches!(self, Old::Locksmith { .. })
    }

    /// The set of all their locks, where they keep one.
    pub(super) fn set(&self) -> &'static str {
        match self {
            Old::Locky => "locky:current:locks",
            _ => "",
        }
    }

    /// Who holds their key, as far as its value tells.
    pub(super) fn holder(&self, value: &str) -> String {
        let name = match self {
            Old::Locky => value,
            Old::RedisReservation => value.rsplit_once('-').map_or(value, |(by, _)| by),
            Old::Locksmith { .. } => "a process that uses locksmith",
            Old::ProcessLocker { .. } => "a process that uses process-locker",
        };
        if name.is_empty() { "somebody".into() } else { name.into() }
    }
}
