//! The clock of a simulation: that of the runtime, which a test can pause, plus the sleeps of the machine.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Moment;

/// What the clock shows at first; and what a store's clock shows then, in microseconds since 1970.
const START: Moment = Moment(1_000_000_000_000);
pub(crate) const WALL: u64 = 1_767_225_600_000_000;

#[derive(Clone, Copy)]
struct Driven {
    started: Instant,
    slept: Duration,
}

thread_local! {
    static DRIVEN: Cell<Option<Driven>> = const { Cell::new(None) };
}

/// Lets this thread's clock follow the runtime's from now on. `false` if it does so already.
pub(crate) fn start() -> bool {
    let free = DRIVEN.get().is_none();
    if free {
        DRIVEN.set(Some(Driven { started: Instant::now(), slept: Duration::ZERO }));
    }
    free
}

/// Back to the real clock.
pub(crate) fn stop() {
    DRIVEN.set(None);
}

/// The machine has slept for so long: this clock went on, and no timer noticed.
pub(crate) fn sleep(time: Duration) {
    DRIVEN.set(DRIVEN.get().map(|driven| Driven { slept: driven.slept.saturating_add(time), ..driven }));
}

pub(crate) fn now() -> Option<Moment> {
    DRIVEN.get().map(|driven| START.after(driven.started.elapsed()).after(driven.slept))
}
