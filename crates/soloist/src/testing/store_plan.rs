//! What is to happen to the calls of a faulty store, and what has.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::seed::draw;
use super::store_faults::{Fault, Injected, Rates, Verb};

/// What the store and what it has handed out know together.
pub(super) struct State {
    pub(super) planned: Mutex<Planned>,
    pub(super) counts: watch::Sender<Injected>,
    pub(super) away: watch::Sender<bool>,
}

#[derive(Default)]
pub(super) struct Planned {
    pub(super) plan: BTreeMap<Verb, VecDeque<Fault>>,
    pub(super) seed: u64,
    pub(super) all: Rates,
    pub(super) rates: BTreeMap<Verb, Rates>,
    pub(super) calm: bool,
    /// The longest time after which a request may be carried out that was said to have failed.
    pub(super) straggles: Duration,
}

impl Planned {
    pub(super) fn allow(&mut self, rates: Rates) {
        if rates.straggles > 0 {
            self.straggles = self.straggles.max(rates.lateness);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Counts a call, and says what happens to it.
    pub(super) fn next(&self, verb: Verb) -> Option<Fault> {
        let mut number = 0;
        self.counts.send_modify(|counts| {
            let asked = counts.asked.entry(verb).or_default();
            (number, *asked) = (*asked, *asked + 1);
        });
        let mut planned = lock(&self.planned);
        if planned.calm {
            return None;
        }
        let fault = planned.plan.get_mut(&verb).and_then(VecDeque::pop_front).or_else(|| {
            let rates = planned.rates.get(&verb).unwrap_or(&planned.all);
            let drawn = |stream| draw(planned.seed, 2 * verb as u64 + stream, number);
            rates.fault(drawn(0), drawn(1))
        })?;
        drop(planned);
        self.counts.send_modify(|counts| *counts.faults.entry((verb, fault.kind())).or_default() += 1);
        Some(fault)
    }

    pub(super) fn is_away(&self) -> bool {
        *self.away.borrow()
    }

    pub(super) fn failed(&self) {
        self.counts.send_modify(|counts| counts.failed += 1);
    }
}
