//! Time that a test drives: hours in milliseconds, and the same hours again for the same seed.

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use crate::clock::driven;
use crate::random::{Dice, seeded};
use crate::testing::keepers_here;

/// While it lives, this thread's [`Moment`](crate::Moment) follows tokio's clock, which a test can pause, and
/// tickets, sessions and pauses come from a seed. A store's [real clock](crate::store::memory::StoreClock::real) that
/// is made meanwhile begins on 2026-01-01.
///
/// Only for a runtime of one thread whose clock is paused, best by [`simulate`]. Everything that is made under it
/// has to end under it.
///
/// ```
/// use std::time::Duration;
/// use soloist::{Client, Moment, testing::simulate};
///
/// simulate(7, |time| async move {
///     let client = Client::memory()?;
///     let lease = client.lock("report:42").ttl(Duration::from_secs(30)).await?;
///     tokio::time::sleep(Duration::from_secs(3600)).await; // an hour passes at once, with all its renewals
///     assert!(!lease.is_lost());
///     time.suspend(Duration::from_secs(3600)); // the machine sleeps: no renewal, and its clock goes on
///     assert!(lease.is_lost());
///     Ok::<_, soloist::Error>(())
/// })?;
/// # Ok::<_, soloist::Error>(())
/// ```
#[derive(Debug)]
pub struct VirtualTime {
    /// What it sets is this thread's.
    _here: PhantomData<*const ()>,
}

impl VirtualTime {
    /// Begins, on this thread. To be called on a runtime whose clock is paused.
    ///
    /// # Panics
    /// When one lives on this thread already.
    pub fn start(seed: u64) -> Self {
        assert!(driven::start(), "there is one VirtualTime on this thread already");
        seeded::set(Some(Dice::new(seed)));
        // The thread of all keepers has another clock.
        keepers_here(true);
        VirtualTime { _here: PhantomData }
    }

    /// The machine sleeps for so long: clocks go on, those of stores too, and no timer notices.
    pub fn suspend(&self, time: Duration) {
        driven::sleep(time);
    }
}

impl Drop for VirtualTime {
    fn drop(&mut self) {
        driven::stop();
        seeded::set(None);
        keepers_here(false);
    }
}

/// Runs `work` on a runtime of its own with a paused clock and [`VirtualTime`]. Whenever all tasks wait, the clock
/// moves on to the next timer. With the same seed and the same work everything happens in the same order again.
/// See [`VirtualTime`] for an example.
///
/// # Panics
/// When it is called on a runtime, or when the system gives no runtime.
#[allow(clippy::expect_used)] // for tests
pub fn simulate<T, F: Future<Output = T>>(seed: u64, work: impl FnOnce(std::rc::Rc<VirtualTime>) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread can be made");
    let out = runtime.block_on(async {
        let time = std::rc::Rc::new(VirtualTime::start(seed));
        let out = work(std::rc::Rc::clone(&time)).await;
        (out, time)
    });
    // What is still spawned ends under the same clock.
    drop(runtime);
    out.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::name::Ticket;
    use crate::store::memory::StoreClock;

    #[test]
    fn moments_follow_the_paused_clock_and_the_sleeps_of_the_machine() {
        simulate(1, |time| async move {
            let (began, timer) = (Moment::now(), tokio::time::Instant::now());
            tokio::time::sleep(Duration::from_secs(86_400)).await;
            assert_eq!(Moment::now().since(began), Duration::from_secs(86_400));
            time.suspend(Duration::from_secs(5));
            assert_eq!(Moment::now().since(began), Duration::from_secs(86_405));
            assert_eq!(timer.elapsed(), Duration::from_secs(86_400));
        });
        assert!(Moment::now().since(Moment::now()) < Duration::from_secs(1));
    }

    #[test]
    fn ids_and_store_clocks_repeat_with_the_seed() {
        let run = |seed| simulate(seed, |_| async { (Ticket::mint(), StoreClock::real().now()) });
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).0, run(2).0);
        assert_ne!(Ticket::mint(), Ticket::mint());
    }

    #[test]
    fn a_store_clock_steps_and_moments_do_not() {
        simulate(1, |_| async {
            let (clock, now) = (StoreClock::real(), Moment::now());
            let before = clock.now();
            clock.clone().step(-5_000_000);
            assert_eq!((clock.now() + 5_000_000, Moment::now()), (before, now));
        });
    }
}
