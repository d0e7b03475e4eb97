//! What can happen to a call of a store, how often, and how often it did.

use std::collections::BTreeMap;
use std::time::Duration;

/// Which call of a [store](crate::Store), or what a store says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// [`Store::acquire`](crate::Store::acquire).
    Acquire,
    /// The wake-up that ends [`Store::wait`](crate::Store::wait).
    Wait,
    /// [`Store::leave`](crate::Store::leave).
    Leave,
    /// [`Store::renew`](crate::Store::renew).
    Renew,
    /// [`Store::release`](crate::Store::release).
    Release,
    /// [`Store::rotate`](crate::Store::rotate).
    Rotate,
    /// [`Store::publish`](crate::Store::publish).
    Publish,
    /// [`Store::forget`](crate::Store::forget).
    Forget,
    /// [`Store::touch`](crate::Store::touch).
    Touch,
    /// [`Store::result`](crate::Store::result).
    Result,
    /// [`Store::inspect`](crate::Store::inspect).
    Inspect,
    /// [`Store::list`](crate::Store::list).
    List,
    /// One of the [events](crate::Store::events): when lost or late, its watcher is told that it missed something.
    Event,
    /// One of the [notices](crate::Store::notices): it can only be lost.
    Notice,
}

/// What happens to one call.
///
/// For [`Verb::Wait`], whatever keeps the wake-up from being heard means that the waiter finds out by its next look,
/// 15 s later, as with a message that is lost. `Late` wake-ups are heard late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It never arrives, and the caller is told [`Unavailable`](crate::Error::Unavailable).
    Lost,
    /// It is carried out, and its answer is lost: the caller is told [`Unavailable`](crate::Error::Unavailable).
    AnswerLost,
    /// The store says no: [`Refused`](crate::Error::Refused).
    Refused,
    /// It is carried out so much later.
    LateCall(Duration),
    /// It is carried out at once, and answered so much later.
    Late(Duration),
    /// It is carried out twice; the caller hears the first answer.
    Twice,
    /// The caller is told [`Unavailable`](crate::Error::Unavailable) at once, and it is carried out so much later
    /// all the same: a request that stood in the buffer of a server that hung. Nobody hears the answer.
    Straggles(Duration),
}

impl Fault {
    /// Its name without its length: `late`, `answer lost`.
    pub fn kind(self) -> &'static str {
        match self {
            Fault::Lost => "lost",
            Fault::AnswerLost => "answer lost",
            Fault::Refused => "refused",
            Fault::LateCall(_) => "late call",
            Fault::Late(_) => "late",
            Fault::Twice => "twice",
            Fault::Straggles(_) => "straggles",
        }
    }
}

/// How often each fault happens, out of a thousand calls. All are zero unless set.
///
/// ```
/// use soloist::testing::Rates;
///
/// let rates = Rates { lost: 20, answer_lost: 20, ..Rates::default() };
/// assert_eq!(rates.twice, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// [`Fault::Lost`].
    pub lost: u16,
    /// [`Fault::AnswerLost`].
    pub answer_lost: u16,
    /// [`Fault::Refused`].
    pub refused: u16,
    /// [`Fault::LateCall`], by up to [`Rates::lateness`].
    pub late_call: u16,
    /// [`Fault::Late`], by up to [`Rates::lateness`].
    pub late: u16,
    /// [`Fault::Twice`].
    pub twice: u16,
    /// [`Fault::Straggles`], by up to [`Rates::lateness`].
    pub straggles: u16,
    /// The longest delay: 1 s.
    pub lateness: Duration,
}

impl Default for Rates {
    fn default() -> Self {
        let [lost, answer_lost, refused, late_call, late, twice, straggles] = [0; 7];
        let lateness = Duration::from_secs(1);
        Rates { lost, answer_lost, refused, late_call, late, twice, straggles, lateness }
    }
}

impl Rates {
    /// What happens to a call, by two numbers of chance.
    pub(super) fn fault(&self, which: u64, how_late: u64) -> Option<Fault> {
        let longest = u64::try_from(self.lateness.as_micros()).unwrap_or(u64::MAX).max(1);
        let late = Duration::from_micros(how_late % longest);
        let chances = [
            (Fault::Lost, self.lost),
            (Fault::AnswerLost, self.answer_lost),
            (Fault::Refused, self.refused),
            (Fault::LateCall(late), self.late_call),
            (Fault::Late(late), self.late),
            (Fault::Twice, self.twice),
            (Fault::Straggles(late), self.straggles),
        ];
        super::seed::pick(which, &chances)
    }
}

/// How often a [`FaultyStore`](super::FaultyStore) was called, and what it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    pub(super) asked: BTreeMap<Verb, u64>,
    pub(super) faults: BTreeMap<(Verb, &'static str), u64>,
    pub(super) failed: u64,
}

impl Injected {
    /// How often this was asked for, or came up.
    pub fn asked(&self, verb: Verb) -> u64 {
        self.asked.get(&verb).copied().unwrap_or(0)
    }

    /// How many requests came in all: wake-ups, events and notices are none.
    pub fn requests(&self) -> u64 {
        let by_itself = |verb: &Verb| matches!(verb, Verb::Wait | Verb::Event | Verb::Notice);
        self.asked.iter().filter(|(verb, _)| !by_itself(verb)).map(|(_, count)| count).sum()
    }

    /// How many calls failed, also because the store was away.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Each fault that was injected, by verb and [kind](Fault::kind), and how often.
    pub fn faults(&self) -> impl Iterator<Item = (Verb, &'static str, u64)> + '_ {
        self.faults.iter().map(|(&(verb, kind), &count)| (verb, kind, count))
    }

    /// How many faults of a [kind](Fault::kind) were injected.
    pub fn of_kind(&self, kind: &str) -> u64 {
        self.faults().filter(|(_, of, _)| *of == kind).map(|(_, _, count)| count).sum()
    }
}
