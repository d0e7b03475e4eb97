//! The terminal: the command's group is its foreground while it runs, as under a shell.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, Signal, getpgrp};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};

use crate::sys;

/// The terminal at our stdin, whose foreground we are.
pub(crate) struct Terminal {
    tty: OwnedFd,
    ours: Pid,
}

impl Terminal {
    /// The terminal, if stdin is one and our group is in its foreground.
    pub(crate) fn ours() -> Option<Self> {
        let stdin = io::stdin();
        if !isatty(&stdin) || tcgetpgrp(&stdin).ok()? != getpgrp() {
            return None;
        }
        Some(Terminal { tty: stdin.as_fd().try_clone_to_owned().ok()?, ours: getpgrp() })
    }

    /// Whether to hand the terminal over from the start. In a pipeline somebody else of our group (a
    /// pager) may be reading it: then it is handed over only when the command asks for it.
    pub(crate) fn at_once(&self) -> bool {
        isatty(io::stdout())
    }

    /// What the child itself does before it becomes the command, so that it never finds itself in the
    /// background. Only system calls.
    pub(crate) fn taking(&self) -> io::Result<impl FnMut() -> io::Result<()> + Send + Sync + 'static> {
        let tty = self.tty.try_clone()?;
        Ok(move || {
            set(&tty, rustix::process::getpid());
            Ok(())
        })
    }

    /// Makes the command's group the foreground, if we are it.
    pub(crate) fn give(&self, group: Pid) -> bool {
        let ours = tcgetpgrp(&self.tty).is_ok_and(|now| now == self.ours);
        if ours {
            set(&self.tty, group);
        }
        ours
    }

    /// Makes our group the foreground again, whoever it is now: the child that took it is gone.
    pub(crate) fn reclaim(&self) {
        set(&self.tty, self.ours);
    }

    /// Makes our group the foreground again, if the command's is it.
    pub(crate) fn take_back(&self, group: Pid) {
        if tcgetpgrp(&self.tty).is_ok_and(|now| now == group) {
            set(&self.tty, self.ours);
        }
    }
}

/// Ignoring SIGTTOU is what allows a background process to do this.
fn set(tty: &OwnedFd, group: Pid) {
    // Fails when the terminal was hung up: then there is nothing to hand over.
    let _ = sys::while_set(Signal::TTOU, true, || tcsetpgrp(tty, group));
}
