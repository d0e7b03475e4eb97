//! Hears how this process's children end, and the orphans that fall to it.

use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};
use tokio::sync::mpsc;

use crate::signals;

/// What became of a child.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It ended with this exit code.
    Ended(u8),
    /// It ended by a signal; this is 128 + n.
    Killed(u8),
    /// It was stopped by this signal.
    Stopped(Option<Signal>),
}

/// Starts the one thread that waits for children; it ends with the last of them.
///
/// Only after the last child was spawned: the standard library itself waits for one that could not exec.
pub(crate) fn start() -> std::io::Result<mpsc::UnboundedReceiver<(Pid, Fate)>> {
    let (tell, reports) = mpsc::unbounded_channel();
    let work = move || {
        loop {
            match wait(WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) => {
                    // Nobody listens any more when the program is about to end: go on reaping.
                    let _ = fate(status).map(|fate| tell.send((pid, fate)));
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
    };
    thread::Builder::new().name("reaper".into()).spawn(work)?;
    Ok(reports)
}

impl Fate {
    /// The exit code that passes it on.
    pub(crate) fn code(self) -> u8 {
        match self {
            Fate::Ended(code) | Fate::Killed(code) => code,
            Fate::Stopped(_) => crate::failure::OWN, // not an end
        }
    }
}

fn fate(status: WaitStatus) -> Option<Fate> {
    let byte = |code: i32| u8::try_from(code).unwrap_or(u8::MAX);
    if let Some(signal) = status.terminating_signal() {
        let named = Signal::from_named_raw(signal);
        return Some(Fate::Killed(named.map_or_else(|| byte(128 + signal), signals::code)));
    }
    if let Some(signal) = status.stopping_signal() {
        return Some(Fate::Stopped(Signal::from_named_raw(signal)));
    }
    status.exit_status().map(|code| Fate::Ended(byte(code)))
}
