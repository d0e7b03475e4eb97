//! The one error type. Each variant says what happened, to which key, who holds it, and what to do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::name::{FencingToken, Holder, Key};

/// The result of everything in this crate that can fail.
///
/// ```
/// fn key(text: &str) -> soloist::Result<soloist::Key> {
///     soloist::Key::new(text)
/// }
/// assert!(key("report:42").is_ok());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a lease ended before it was released; see [`Lease::lost`](crate::Lease::lost).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use soloist::Loss;
///
/// let lease = client.lock("article:12").await?;
/// let taken = client.lock("article:12").holder("user:21").force().await?;
/// match lease.lost().await {
///     Loss::TakenOver { by } => assert_eq!(by.as_str(), "user:21"),
///     other => println!("lost: {other}"),
/// }
/// # drop(taken);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Its ttl passed without a renewal that was confirmed.
    Expired,
    /// Somebody took it over with `force`.
    TakenOver {
        /// Who holds the key now.
        by: Holder,
    },
    /// Somebody released it by its id or its holder, broke it, or closed the client that held it.
    Released,
    /// The store does not know it any more: it expired there, or the store lost its data.
    Gone,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Loss::Expired => f.write_str("its ttl passed without a confirmed renewal"),
            Loss::TakenOver { by } => write!(f, "taken over by {by}"),
            Loss::Released => f.write_str("released or broken by somebody else, or its client was closed"),
            Loss::Gone => f.write_str("the store does not know it any more"),
        }
    }
}

/// Everything that can go wrong. Each says what happened, to which key and who holds it; [`Error::hint`] says
/// what to do. No password or ticket is in any of them. Busy is not among them: see
/// [`Client::try_lock`](crate::Client::try_lock).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use std::time::Duration;
/// use soloist::Error;
///
/// let lease = client.lock("report:42").holder("worker-3").await?;
/// match client.lock("report:42").wait(Duration::from_millis(20)).await {
///     Ok(_) => println!("free"),
///     Err(Error::TimedOut { holder, .. }) => println!("{holder:?} holds it"),
///     Err(error) => {
///         eprintln!("error: {error}");
///         if let Some(hint) = error.hint() {
///             eprintln!("hint: {hint}");
///         }
///     }
/// }
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key, holder, note or prefix of no length.
    #[error("the {what} is empty")]
    EmptyName {
        /// Which name.
        what: &'static str,
    },
    /// A key, holder, note or prefix over its limit.
    #[error("the {what} is {len} bytes long; at most {max} are allowed")]
    LongName {
        /// Which name.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A duration outside of what makes sense.
    #[error("{what} of {got:?} is out of range: {range}")]
    BadDuration {
        /// Which setting: ttl, wait, keep.
        what: &'static str,
        /// What was asked for.
        got: Duration,
        /// What is allowed.
        range: &'static str,
    },
    /// A text that is no lease id.
    #[error("this is not a lease id; one looks like KEY@TOKEN.TICKET, as `lock` prints it")]
    BadLeaseId,
    /// A store URL that cannot be understood.
    #[error("store URL {url:?}: {why}")]
    BadUrl {
        /// The URL, without its secrets.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The `wait` passed while others were in front.
    #[error("{key:?} was not free within {:?}{}", in_millis(*.waited), held_by(.holder))]
    TimedOut {
        /// The key.
        key: Key,
        /// How long the caller stood in line.
        waited: Duration,
        /// Who held it when last seen.
        holder: Option<Holder>,
    },
    /// As many wait for the key already as the request would stand behind at most. It was not put in line.
    #[error("{key:?} has {waiting} waiting, at most {max} may; {holder} holds it")]
    LineFull {
        /// The key.
        key: Key,
        /// How many wait.
        waiting: u64,
        /// The most that may; see [`ClientBuilder::max_waiting`](crate::ClientBuilder::max_waiting).
        max: u64,
        /// Who holds it.
        holder: Holder,
    },
    /// The lease ended before it was released. Whatever it protected may be somebody else's now.
    #[error("the lease of {key:?} (token {token}) is lost: {loss}")]
    Lost {
        /// The key.
        key: Key,
        /// The token of the lost lease.
        token: FencingToken,
        /// Why.
        loss: Loss,
    },
    /// The lease that was named is not the current one.
    #[error("{key:?} is not held by that lease or holder{}", held_now(.holder))]
    NotHeld {
        /// The key.
        key: Key,
        /// Who holds it, if anybody.
        holder: Option<Holder>,
    },
    /// A request was sent, no answer came, and asking again could not tell whether it was carried out.
    #[error("it is not known whether {verb} of {key:?} was carried out: {why}")]
    Unknown {
        /// What was asked: release, publish.
        verb: &'static str,
        /// The key.
        key: Key,
        /// What went wrong.
        why: String,
    },
    /// The leader of a flight failed and shared its error.
    #[error("computing {key:?} failed at {leader}: {message}")]
    Failed {
        /// The key.
        key: Key,
        /// Who computed.
        leader: Holder,
        /// The leader's error, as text.
        message: String,
        /// The leader's own error value; only the leader itself has it.
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// A result over the client's limit.
    #[error("the result of {key:?} is {size} bytes long; this client's limit is {limit}")]
    TooLarge {
        /// The key.
        key: Key,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A result that cannot be encoded, or that another version of the program wrote.
    #[error("the result of {key:?} cannot be {verb}: {why}")]
    BadResult {
        /// The key.
        key: Key,
        /// `encoded` or `decoded`.
        verb: &'static str,
        /// What the codec said.
        why: String,
    },
    /// Fewer replicas than were asked for had the grant in time; it was given back. See
    /// [`Lock::replicas`](crate::Lock::replicas).
    #[error(
        "the lease of {key:?} reached {got} of the {wanted} replicas that it was to reach, and was given back"
    )]
    NotReplicated {
        /// The key.
        key: Key,
        /// How many were asked for.
        wanted: u32,
        /// How many had it.
        got: u32,
    },
    /// The store cannot be reached.
    #[error("{store} cannot be reached: {why}")]
    Unavailable {
        /// The store's name, without secrets.
        store: String,
        /// What went wrong.
        why: String,
    },
    /// The store said no: wrong password, missing rights, READONLY, LOADING, out of memory, not Redis >= 6.2.
    #[error("{store} refuses: {why}")]
    Refused {
        /// The store's name, without secrets.
        store: String,
        /// Its own words.
        why: String,
        /// The way out.
        hint: &'static str,
    },
    /// The store may have lost its locks, and its [boot guard](crate::store::redis::RedisOptions::boot_guard)
    /// grants none before those of before have ended. Requests that wait in line wait for that too.
    #[error("{store} grants nothing for another {:?}: it may have lost its locks (boot guard)", in_millis(*.left))]
    Guarded {
        /// The store's name, without secrets.
        store: String,
        /// For how long still.
        left: Duration,
    },
    /// The local store's folder or one of its files is not as it must be.
    #[error("{}: {why}", path.display())]
    Folder {
        /// Which file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// The way out.
        hint: &'static str,
    },
    /// The client or store was closed.
    #[error("the client is closed")]
    Closed,
}

fn held_by(holder: &Option<Holder>) -> String {
    holder.as_ref().map(|h| format!(": {h} holds it")).unwrap_or_default()
}

fn held_now(holder: &Option<Holder>) -> String {
    if holder.is_none() { ": it is free".into() } else { held_by(holder) }
}

/// Nobody wants to read the nanoseconds.
fn in_millis(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis().try_into().unwrap_or(u64::MAX))
}

impl Error {
    /// What the reader can do about it, where there is something to say.
    ///
    /// ```
    /// # use soloist::{Error, Key};
    /// let error = Key::new("").unwrap_err();
    /// assert_eq!(error.to_string(), "the key is empty");
    /// assert!(error.hint().unwrap().contains("unset"));
    /// ```
    pub fn hint(&self) -> Option<&str> {
        Some(match self {
            Error::EmptyName { .. } => "an unset variable? give a text of at least one byte",
            Error::LongName { .. } => "use a hash of it",
            Error::BadLeaseId => "copy it as `soloist lock` printed it",
            Error::BadUrl { .. } => {
                "known are local:, local:/path, memory:, redis://[user:password@]host[:port][/db], the same with rediss://, \
                 redis+unix:///path[?db=], redis-sentinel://[user:password@]host[:port][,host...]/NAME, \
                 redis-cluster://[user:password@]host[:port][,host...], and \
                 quorum:URL,URL,URL of an odd number of these"
            }
            Error::TimedOut { .. } => "wait longer, or look at who holds it",
            Error::LineFull { .. } => "come back later, or allow more to wait",
            Error::Lost { .. } => "stop the work that it protected; do not write without checking the token",
            Error::NotHeld { .. } => "inspect the key to see who holds it",
            Error::Unknown { .. } => "inspect the key; at the latest the lease ends at its ttl",
            Error::TooLarge { .. } => {
                "raise the limit of every client, or publish where the result can be found"
            }
            Error::BadResult { verb: "decoded", .. } => "forget the key to have it computed again",
            Error::NotReplicated { .. } => {
                "are enough replicas connected (INFO replication)? try again, or ask for fewer"
            }
            Error::Unavailable { .. } => "is the server running, and the address right?",
            Error::Guarded { .. } => {
                "wait for that, and ask again: by then every lease from before has ended"
            }
            Error::Refused { hint, .. } | Error::Folder { hint, .. } => hint,
            _ => return None,
        })
    }
}
