//! The client's own clock: monotonic, and it goes on while the machine sleeps. No wall clock decides
//! anything in a client.

#[cfg(feature = "testing")]
pub(crate) mod driven;

use std::time::Duration;

use crate::protocol::Micros;

/// A moment on the client's clock. It means nothing in another process or after a reboot.
///
/// ```
/// use std::time::Duration;
/// use soloist::Moment;
///
/// let now = Moment::now();
/// let later = now.after(Duration::from_secs(5));
/// assert_eq!(later.since(now), Duration::from_secs(5));
/// assert_eq!(now.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        #[cfg(feature = "testing")]
        if let Some(now) = driven::now() {
            return now;
        }
        // CLOCK_BOOTTIME counts suspend; a plain monotonic clock would keep a lease alive through a night's
        // sleep. Other systems' monotonic clocks either count it or have nothing better.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let clock = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(clock);
        Moment(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Microseconds on this clock.
    pub(crate) fn micros(self) -> u64 {
        self.0 / 1000
    }

    /// So much later; never overflows.
    pub fn after(self, time: Duration) -> Self {
        Moment(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long from `earlier` to this; zero if it is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// One reading of both clocks: the store's clock read `store` no earlier than the client's read `client`.
///
/// From that follows a safe side for every time the store names: what happened there at `t` happened no
/// earlier than [`Reading::no_earlier_than`] here. For those who write a [store](crate::Store).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The client's clock, read before the request was sent.
    pub client: Moment,
    /// The store's clock, read while it answered, in microseconds since 1970.
    pub store: Micros,
}

impl Reading {
    /// The earliest moment at which the store's clock can have shown `t`.
    pub fn no_earlier_than(self, t: Micros) -> Moment {
        if t >= self.store {
            self.client.after(Duration::from_micros(t - self.store))
        } else {
            Moment(self.client.0.saturating_sub((self.store - t).saturating_mul(1000)))
        }
    }
}
