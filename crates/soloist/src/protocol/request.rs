//! What a caller asks for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Body, Micros, OutcomeKind, Queued};
use crate::name::{FencingToken, Holder, Key, Note, Ticket};

/// How long a lease lives unless it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ttl {
    /// So many microseconds.
    Micros(Micros),
    /// Until it is released.
    Forever,
}

impl Ttl {
    /// The ttl of this length.
    pub fn new(length: Duration) -> Self {
        Ttl::Micros(u64::try_from(length.as_micros()).unwrap_or(u64::MAX))
    }

    /// When a lease ends that gets this ttl now.
    pub fn deadline(self, now: Micros) -> Option<Micros> {
        match self {
            Ttl::Micros(us) => Some(now.saturating_add(us)),
            Ttl::Forever => None,
        }
    }

    /// The shorter of this and so many microseconds.
    pub fn at_most(self, us: Micros) -> Self {
        match self {
            Ttl::Micros(mine) => Ttl::Micros(mine.min(us)),
            Ttl::Forever => Ttl::Micros(us),
        }
    }

    /// As a duration; `None` is for ever.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Ttl::Micros(us) => Some(Duration::from_micros(us)),
            Ttl::Forever => None,
        }
    }
}

/// What the caller wants of the key; in a [`Holding`](super::Holding), what its holder wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// To hold it.
    Lock,
    /// Its result: to compute it, or to hear it.
    Flight,
}

/// What happens when the key is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The answer says who holds it.
    Try,
    /// The request joins the line.
    Line,
    /// The lease is taken over.
    Force,
}

/// A request for a key. Asking again with the same ticket is the same request: a holder hears that it holds
/// (and its lease is renewed), a waiter keeps its place, one whose place was lost joins the line again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The key.
    pub key: Key,
    /// The id of this request, minted before anything is sent.
    pub ticket: Ticket,
    /// Who asks.
    pub holder: Holder,
    /// A remark kept with the lease.
    pub note: Option<Note>,
    /// A lock, or a flight's result.
    pub want: Want,
    /// What to do when the key is not free.
    pub mode: Mode,
    /// The life of the lease.
    pub ttl: Ttl,
    /// Whether the lease also ends with its session, on stores that can tell (the local and the memory store).
    pub bound: bool,
    /// The token of the leader behind which this request stood in line: it is served with any result of that
    /// leader or a later one, even one whose `keep` is over.
    pub seen: Option<FencingToken>,
    /// It joins no line in which so many stand already; `None` is any line. Who stands in line is never thrown out.
    pub max_waiting: Option<u64>,
    /// How many fencing tokens in a row its grant is to take, for as many holders one after the other in its process:
    /// 1 as a rule, [`MOST_TOKENS`](super::MOST_TOKENS) at most.
    pub tokens: u8,
}

impl Request {
    /// Remembers the leader behind which it stands in line: its result is this request's, too. The length of the
    /// line does not matter any more: whoever stood in it joins it again if its place is lost.
    pub fn stands_behind(&mut self, queued: &Queued) {
        self.seen = self.seen.or(Some(queued.holding.token));
        self.max_waiting = None;
    }
}

/// Which lease a renewal or release is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// That of one request.
    Ticket(Ticket),
    /// That of a named holder.
    Holder(Holder),
    /// Whoever's it is. Only for breaking a lock.
    Any,
}

/// One lease to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Its key.
    pub key: Key,
    /// Which lease.
    pub who: Who,
    /// Its life from now on.
    pub ttl: Ttl,
    /// Unbinds it from its session: it lives on without the process that took it.
    pub detach: bool,
}

/// A result to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its key.
    pub key: Key,
    /// The leader's ticket.
    pub ticket: Ticket,
    /// A value or an error.
    pub kind: OutcomeKind,
    /// What it is.
    pub body: Body,
    /// How long callers who come later are served with it, in microseconds.
    pub keep: Micros,
}
