//! The clock of a store that keeps its own time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::protocol::Micros;

/// The clock of a store that keeps its own time: real, or driven by a test. Clones are the same clock.
///
/// ```
/// use std::time::Duration;
/// use soloist::store::memory::StoreClock;
///
/// let clock = StoreClock::manual(1_000_000); // microseconds
/// clock.clone().advance(Duration::from_secs(31));
/// assert_eq!(clock.now(), 32_000_000);
/// ```
#[derive(Clone, Debug)]
pub struct StoreClock {
    base: Micros,
    manual: Option<Arc<AtomicU64>>,
    /// By how much it was stepped, in microseconds.
    #[cfg(feature = "testing")]
    stepped: Arc<std::sync::atomic::AtomicI64>,
}

impl StoreClock {
    /// Real time: begins at the wall clock's and then never steps, whatever the wall clock does.
    pub fn real() -> Self {
        #[cfg(feature = "testing")]
        if let Some(start) = crate::clock::driven::now() {
            return StoreClock::based_on(crate::clock::driven::WALL.saturating_sub(start.micros()));
        }
        #[allow(clippy::disallowed_methods)] // a store owns the clock
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let wall = u64::try_from(wall.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
        StoreClock::based_on(wall.saturating_sub(Moment::now().micros()))
    }

    /// Real time that shows `base` plus the time since the machine started.
    pub(super) fn based_on(base: Micros) -> Self {
        StoreClock {
            base,
            manual: None,
            #[cfg(feature = "testing")]
            stepped: Arc::default(),
        }
    }

    /// A clock that stands still at `start`, in microseconds since 1970, until it is
    /// [moved](StoreClock::advance).
    pub fn manual(start: Micros) -> Self {
        StoreClock { manual: Some(Arc::new(AtomicU64::new(start))), ..StoreClock::based_on(0) }
    }

    /// Moves a manual clock on. A real one is not moved.
    pub fn advance(&self, time: Duration) {
        if let Some(manual) = &self.manual {
            let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            manual.fetch_add(us, Ordering::SeqCst);
        }
    }

    /// Steps the clock, as an administrator or a time service does to a server's: forward, or back with less
    /// than zero, in microseconds. Clients notice by nothing but the times in its answers.
    #[cfg(feature = "testing")]
    pub fn step(&self, by: i64) {
        self.stepped.fetch_add(by, Ordering::SeqCst);
    }

    /// The time, in microseconds since 1970.
    pub fn now(&self) -> Micros {
        let now = match &self.manual {
            Some(manual) => manual.load(Ordering::SeqCst),
            None => self.base.saturating_add(Moment::now().micros()),
        };
        #[cfg(feature = "testing")]
        let now = now.saturating_add_signed(self.stepped.load(Ordering::SeqCst));
        now
    }

    /// The base of a real clock.
    pub(super) fn base(&self) -> Micros {
        self.base
    }
}
