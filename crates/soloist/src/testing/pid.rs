//! Signals to a child process of ours.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Far more than the system needs to stop or wake a process.
const LIMIT: Duration = Duration::from_secs(30);

/// Sends a signal. The child has not been waited for, so its id is nobody else's.
pub(super) fn signal(child: &Child, signal: Signal) {
    // A child that has ended is a zombie, which takes signals.
    let _ = kill_process(Pid::from_child(child), signal);
}

/// Stops a process, and returns when it stands still: a signal alone arrives some time later.
pub(super) fn freeze(child: &Child) {
    signal(child, Signal::STOP);
    until(child, "stop", |state| matches!(state, 'T' | 't' | 'Z' | 'X'));
}

/// Has it go on.
pub(super) fn wake(child: &Child) {
    signal(child, Signal::CONT);
    until(child, "go on", |state| !matches!(state, 'T' | 't'));
}

fn until(child: &Child, what: &str, is_so: impl Fn(char) -> bool) {
    let began = Instant::now();
    while !state(child.id()).is_none_or(&is_so) {
        assert!(began.elapsed() < LIMIT, "process {} does not {what}", child.id());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The state letter of a process; `None` where the system does not tell.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
