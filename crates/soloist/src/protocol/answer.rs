//! What the machine answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Micros, Ttl, Want};
use crate::name::{FencingToken, Holder, Key, Note, Session, Ticket};

/// The lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its fencing token; the first of them, if it has more.
    pub token: FencingToken,
    /// How many it has, in a row: as many as were asked for, or one.
    pub tokens: u8,
    /// When its ttl began, by the store's clock.
    pub from: Micros,
    /// How long it lives: shorter than asked for when it was handed over and waits for its confirmation.
    pub ttl: Ttl,
}

/// A place in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// 1 is the next to be served.
    pub place: u64,
    /// Who holds the key.
    pub holding: Holding,
    /// Whose end this waiter should watch: the holder for the first in line (if its lease is bound to a
    /// session), the one in front for all others. `None` where there is nothing to watch.
    pub ahead: Option<Session>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The key is yours.
    Granted(Grant),
    /// Stand in line.
    Queued(Queued),
    /// It is taken, and the request did not want to wait.
    Busy(Holding),
    /// Here is the result.
    Done(Outcome),
    /// It is taken, and as many wait for it as the request would stand behind at most.
    Full {
        /// Who holds it.
        holding: Holding,
        /// How many wait.
        waiting: u64,
    },
}

/// Who holds a key, as everybody may know it (the ticket stays secret). Part of [`KeyInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The holder's name.
    pub holder: Holder,
    /// The lease's fencing token.
    pub token: FencingToken,
    /// Since when, by the store's clock, in microseconds since 1970.
    pub since: Micros,
    /// Until when unless renewed, by the store's clock, in microseconds since 1970; `None` is until released.
    pub deadline: Option<Micros>,
    /// The holder's remark.
    pub note: Option<Note>,
    /// A lock, or the leader of a flight.
    pub want: Want,
}

/// A value, or the error of a leader that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// A value.
    Value,
    /// An error, as text.
    Error,
}

/// The bytes of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Here they are.
    Inline(Bytes),
    /// The store has put them aside, under this id. Callers of a store never see this one.
    Aside {
        /// Where.
        id: Ticket,
        /// How many.
        size: u64,
    },
}

impl Body {
    /// How many bytes.
    pub fn size(&self) -> u64 {
        match self {
            Body::Inline(bytes) => bytes.len() as u64,
            Body::Aside { size, .. } => *size,
        }
    }
}

/// The published result of a flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The leader's fencing token.
    pub token: FencingToken,
    /// Who computed it.
    pub leader: Holder,
    /// When it was published, by the store's clock.
    pub at: Micros,
    /// Until when later callers are served with it.
    pub until: Micros,
    /// A value or an error.
    pub kind: OutcomeKind,
    /// What it is.
    pub body: Body,
}

/// The answer to a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The ttl began anew.
    Renewed {
        /// The lease's token.
        token: FencingToken,
        /// Until when, by the store's clock.
        deadline: Option<Micros>,
    },
    /// That lease is not the current one; here is who holds the key, if anybody.
    NotHeld(Option<Holding>),
    /// It is not known whether it was carried out, though others of the same question are answered: a store of several
    /// servers says so where one of them does not answer. Asking again is safe.
    Unknown,
}

/// The answer to a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// It is free, or the next waiter's.
    Released {
        /// The token of the lease that ended.
        token: FencingToken,
    },
    /// That lease is not the current one; here is who holds the key, if anybody.
    NotHeld(Option<Holding>),
}

/// The answer to a request that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It stood in line and does so no more.
    Line,
    /// It had just been served; the lease was passed on.
    Lease,
    /// It was not there.
    Absent,
}

/// The answer to a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Everybody who waits is told.
    Published,
    /// The key was forgotten meanwhile: the leader has its value, the next in line computes anew.
    Stale,
    /// The leader was replaced; its value is not taken. Here is who holds the key, if anybody.
    Refused(Option<Holding>),
}

/// One in the line. Part of [`KeyInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiterInfo {
    /// Its name.
    pub holder: Holder,
    /// Its remark.
    pub note: Option<Note>,
    /// A lock, or a flight's result.
    pub want: Want,
}

/// A result that is kept. Part of [`KeyInfo`]; the result itself is [`Client::result`](crate::Client::result).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultInfo {
    /// Who computed it.
    pub leader: Holder,
    /// The leader's token.
    pub token: FencingToken,
    /// When it was published, by the store's clock, in microseconds since 1970.
    pub at: Micros,
    /// Until when it is kept, likewise.
    pub until: Micros,
    /// A value or an error.
    pub kind: OutcomeKind,
    /// Its size in bytes.
    pub size: u64,
}

/// Everything about a key; see [`Client::inspect`](crate::Client::inspect) and
/// [`Client::list`](crate::Client::list). Its times are on one clock, the store's: subtract them from each other,
/// not from the clock of this machine.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use std::time::Duration;
///
/// let lease = client.lock("report:42").ttl(Duration::from_secs(30)).await?;
/// let info = client.inspect("report:42").await?;
/// let holding = info.holding.as_ref().expect("somebody holds it");
/// let held_for = Duration::from_micros(info.now - holding.since);
/// let left = holding.deadline.map(|end| Duration::from_micros(end.saturating_sub(info.now)));
/// println!("{} for {held_for:?}, {left:?} left, {} in line", holding.holder, info.waiting);
/// for waiter in &info.waiters {
///     println!("  {}", waiter.holder);
/// }
/// # drop(lease);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The key.
    pub key: Key,
    /// The store's clock when it looked, in microseconds since 1970.
    pub now: Micros,
    /// Who holds it.
    pub holding: Option<Holding>,
    /// Who waits, in order. Empty in a list, where only the number is told.
    pub waiters: Vec<WaiterInfo>,
    /// How many wait.
    pub waiting: u64,
    /// The result that is kept.
    pub result: Option<ResultInfo>,
}
