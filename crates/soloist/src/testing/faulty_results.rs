//! What is told of results and events by a store that fails.

use std::fmt;
use std::sync::Arc;

use super::store_faults::{Fault, Verb};
use super::store_plan::State;
use crate::clock::Moment;
use crate::store::{Results, Told};

/// What a listener gets of what was told: nothing of it while the store is away, or where a fault says so.
pub(super) fn miss(state: &State, told: Told) -> Told {
    let fault = state.next(Verb::Event);
    let missed = state.is_away() || fault.is_some_and(|fault| fault != Fault::Twice);
    if missed { Told::Missed } else { told }
}

/// What becomes of results, with faults.
pub(super) struct FaultyResults {
    pub(super) inner: Box<dyn Results>,
    pub(super) state: Arc<State>,
}

impl fmt::Debug for FaultyResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyResults").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Results for FaultyResults {
    fn complete(&self) -> Option<Moment> {
        if self.state.is_away() { None } else { self.inner.complete() }
    }

    fn hear(&mut self) -> Option<Told> {
        self.inner.hear().map(|told| miss(&self.state, told))
    }
}
