//! Reads a history and says which promise was broken, if any.

mod digest;
mod flights;
mod leases;
mod lines;

use std::fmt;
use std::time::Duration;

use super::history::{At, History, Op};
use digest::Digest;

/// A promise that a history can show to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Invariant {
    /// No two callers are sure of one key at the same time.
    Exclusion,
    /// The tokens of a key are unique and grow in the order of time.
    Tokens,
    /// A register that refuses older tokens takes the writes of whoever is sure, and no older one after.
    Fencing,
    /// A release or a publication is not confirmed to somebody who had been replaced before.
    NoFalseYes,
    /// In calm times those who stood in line first are served first, and nobody barges.
    Fair,
    /// In calm times nobody stands in line while the key is free.
    NoStandstill,
    /// In calm times nothing fails and no lease is lost.
    NoError,
    /// Nobody hangs past his wait.
    NoHang,
    /// Whoever has a value has that of a leader of his own flight, or one that is still kept.
    Values,
    /// When all have gone nothing of them is left.
    NothingLeft,
}

/// A promise that was broken, and the lines of the history that show it.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which promise.
    pub invariant: Invariant,
    /// What happened, in words.
    pub what: String,
    /// The requests that it is about.
    pub ops: Vec<Op>,
    /// When it showed.
    pub at: At,
    /// What the history says about them.
    pub excerpt: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}\n{}", self.invariant, self.what, self.excerpt)
    }
}

/// Checks histories.
///
/// A holder is *sure* from its grant until the moment that it had recorded as its deadline, or until it let go or
/// was told of its loss, if that was earlier. Being replaced is foreseen when somebody forces or breaks the lease,
/// the store loses its data or has its clock stepped: from then on the old holder's belief does not count.
///
/// ```
/// use soloist::protocol::Mode;
/// use soloist::testing::{Checker, Invariant, Recorder, What};
///
/// let recorder = Recorder::new(1);
/// for (client, token) in [(1, 7), (2, 8)] {
///     let (op, key, want) = (recorder.op(), "k".to_owned(), soloist::Want::Lock);
///     recorder.record(client, What::Asked { op, key, want, mode: Mode::Line, wait: None });
///     recorder.record(client, What::Granted { op, token, sure: None });
///     std::thread::sleep(std::time::Duration::from_millis(1));
/// }
/// recorder.record(0, What::Calm); // the history ends here, and both believe to hold
/// let violations = Checker::default().check(&recorder.history());
/// assert_eq!(violations[0].invariant, Invariant::Exclusion);
/// ```
#[derive(Clone, Debug)]
pub struct Checker {
    /// How long after the end of the last fault times are calm: longer than any ttl in use and than the looks
    /// of waiters.
    pub calm_after: Duration,
    /// How long a key may be free in calm times while somebody stands in line.
    pub hand_over: Duration,
    /// How much longer than his wait somebody may take to hear that it is over.
    pub slack: Duration,
}

impl Default for Checker {
    fn default() -> Self {
        Checker {
            calm_after: Duration::from_secs(40),
            hand_over: Duration::from_millis(1500),
            slack: Duration::from_secs(2),
        }
    }
}

impl Checker {
    /// All violations, in the order of time.
    pub fn check(&self, history: &History) -> Vec<Violation> {
        let digest = Digest::of(history, self);
        let mut found = Vec::new();
        leases::check(&digest, &mut found);
        lines::check(&digest, self, &mut found);
        flights::check(&digest, &mut found);
        found.sort_by_key(|violation: &Found| violation.at);
        let around = micros(self.calm_after);
        let told = |found: Found| {
            let Found { invariant, what, ops, from, at } = found;
            let excerpt = history.excerpt(&ops, from.saturating_sub(around / 8), at + around / 8);
            Violation { invariant, what, ops, at, excerpt }
        };
        found.into_iter().map(told).collect()
    }
}

/// A violation without its excerpt.
struct Found {
    invariant: Invariant,
    what: String,
    ops: Vec<Op>,
    from: At,
    at: At,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
