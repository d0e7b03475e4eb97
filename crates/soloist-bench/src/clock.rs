//! Clocks that processes can compare, and that count work.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the clock that all processes of this machine share.
pub(crate) fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// How long this process has worked so far, on all its threads.
pub(crate) fn worked() -> Duration {
    Duration::from_nanos(read(ClockId::ProcessCPUTime))
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Microseconds, as the tables have them.
pub(crate) fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
