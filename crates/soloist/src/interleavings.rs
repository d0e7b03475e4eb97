//! Threads in many orders: small worlds of a few threads on the real code, run time and again by a scheduler that
//! a seed leads. Only in the package `interleavings`. Each world is a function that panics where a promise is
//! broken; who waits for ever is a deadlock, which the scheduler tells.
#![allow(clippy::expect_used)]

use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

use crate::clock::driven;
use crate::name::{Holder, Key};

pub use crate::{flights::interleavings as flights, keeper::interleavings as book};
pub use crate::{kept::interleavings as kept, store::interleavings as hub};

/// How many switches have to come at just the right moment for a bug that is to be found (PCT: Burckhardt and others, 2010).
const DEPTH: usize = 3;
/// Of one thread.
const STACK: usize = 256 * 1024;

/// A thread of a world.
pub(crate) type Thread = shuttle::thread::JoinHandle<()>;

/// Runs a world in so many orders: half of them random, half with few switches at moments of chance. All follows
/// from the seed; what fails is told with its schedule.
///
/// # Panics
/// When the world does in one of them, or gets stuck.
pub fn explore(world: fn(), orders: u64, seed: u64) {
    let half = usize::try_from(orders.div_ceil(2)).unwrap_or(usize::MAX);
    run(RandomScheduler::new_from_seed(seed, half), world);
    run(PctScheduler::new_from_seed(seed, DEPTH, half), world);
}

fn run(scheduler: impl Scheduler + 'static, world: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    // All threads of the scheduler's live on this one, and see its clock: it stands still unless a world moves it.
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let clock = clock.expect("a runtime");
    let _clock = clock.enter();
    Runner::new(scheduler, config).run(move || {
        driven::stop();
        driven::start();
        world();
    });
    driven::stop();
}

/// Begins a thread of a world.
pub(crate) fn thread(work: impl FnOnce() + Send + 'static) -> Thread {
    shuttle::thread::spawn(work)
}

/// Waits until all threads have ended.
pub(crate) fn ended(threads: impl IntoIterator<Item = Thread>) {
    threads.into_iter().for_each(|thread| thread.join().expect("it has not panicked"));
}

pub(crate) fn key() -> Key {
    Key::new("k").expect("a key")
}

pub(crate) fn holder() -> Holder {
    Holder::new("h").expect("a holder")
}

/// One of so many, by the seed.
pub(crate) fn one_of(many: u64) -> u64 {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..many)
}

/// A hand for each of two threads.
pub(crate) fn both<T>(of: T) -> (Arc<T>, Arc<T>) {
    let one = Arc::new(of);
    (Arc::clone(&one), one)
}
