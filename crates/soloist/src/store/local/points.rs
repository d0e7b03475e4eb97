//! Points between two system calls, at which a test can have this very process killed.

/// A process passes here.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(super) fn here(_: &'static str) {}

/// A process passes here that writes so many bytes; some of them may be written before it is killed.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(super) fn torn(_: &'static str, _: usize, _: impl FnOnce(usize)) {}

/// A process makes a system call.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(super) fn system_call() {}

#[cfg(feature = "testing")]
pub(super) use armed::{here, system_call, torn};

#[cfg(feature = "testing")]
pub(crate) mod armed {
    use std::cell::Cell;
    use std::sync::Mutex;

    use rustix::process::{Signal, getpid, kill_process};

    /// All points, in about the order in which a process passes them.
    pub const KILL_POINTS: &[&str] = &[
        "fifo made",
        "fifo opened",
        "fifo named",
        "file made",
        "file named",
        "aside removed",
        "shard opened",
        "shard locked",
        "shard read",
        "woken",
        "commit",
        "torn",
        "committed",
        "snapshot",
        "snapshot torn",
        "snapshot written",
        "head torn",
        "snapshot made",
        "mark torn",
        "told",
        "unlocked",
        "handed over",
        "result written",
        "result named",
        "result removed",
        "left",
        "session ended",
    ];

    thread_local! {
        static CALLS: Cell<u64> = const { Cell::new(0) };
    }

    /// How many system calls this thread has made for steps of local stores: on shard files, and to ask for and tell
    /// other sessions. What the runtime does to hear is not among them.
    ///
    /// ```
    /// assert_eq!(soloist::testing::system_calls(), 0);
    /// ```
    pub fn system_calls() -> u64 {
        CALLS.get()
    }

    pub(in crate::store::local) fn system_call() {
        CALLS.set(CALLS.get() + 1);
    }

    static ARMED: Mutex<Option<(&'static str, usize)>> = Mutex::new(None);

    /// Kills this process (kill -9) when it has passed one of [`KILL_POINTS`] so many times and comes there again.
    /// Answers `false` where there is no such point.
    ///
    /// ```
    /// assert!(!soloist::testing::kill_at("nowhere", 0));
    /// ```
    pub fn kill_at(point: &str, passes: usize) -> bool {
        let known = KILL_POINTS.iter().find(|known| **known == point);
        let mut armed = ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *armed = known.map(|point| (*point, passes));
        known.is_some()
    }

    fn is_due(point: &'static str) -> Option<usize> {
        let mut armed = ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (_, left) = armed.as_mut().filter(|(at, _)| *at == point)?;
        *left = left.checked_sub(1).unwrap_or(usize::MAX);
        Some(*left)
    }

    fn die() -> ! {
        let _ = kill_process(getpid(), Signal::KILL);
        // The signal is on its way.
        std::process::abort()
    }

    pub(in crate::store::local) fn here(point: &'static str) {
        if is_due(point) == Some(usize::MAX) {
            die();
        }
    }

    pub(in crate::store::local) fn torn(point: &'static str, len: usize, write: impl FnOnce(usize)) {
        if is_due(point) == Some(usize::MAX) {
            write(crate::random::u32().unwrap_or(7) as usize % len.max(1));
            die();
        }
    }
}
