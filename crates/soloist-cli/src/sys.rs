//! The few things that only the operating system can do and no safe call does. All `unsafe` of the program is here.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal};

/// Has `before` run in the child between fork and exec.
///
/// `before` may only make system calls: other threads of this process may have held any lock at the fork,
/// that of the allocator too.
pub(crate) fn before_exec(
    command: &mut Command,
    before: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the only caller passes a closure that makes async-signal-safe system calls on values that it
    // owns: it does not allocate, lock or touch anything of another thread.
    unsafe {
        command.pre_exec(before);
    }
}

/// Forks: `None` is the child, which is to [end](end). To be called while this process has no other thread.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: there is no other thread, so none can have held a lock: the child may do what this process could.
    let pid = unsafe { libc::fork() };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(Pid::from_raw(pid)) }
}

/// Ends a forked process at once: what it has inherited is not its own to clean up.
pub(crate) fn end() -> ! {
    // SAFETY: it ends the process and touches nothing of it.
    unsafe { libc::_exit(0) }
}

/// Stops this process, as ctrl-Z does, until somebody has it go on. Nothing is done meanwhile: the signal comes to the
/// thread that raises it, before this returns.
pub(crate) fn stop() {
    // SAFETY: it touches nothing of this process.
    unsafe {
        libc::raise(libc::SIGTSTP);
    }
}

/// What a signal does to this process.
fn action(signal: Signal, new: Option<libc::sighandler_t>) -> Option<libc::sigaction> {
    // SAFETY: a zeroed sigaction is a valid one (no flags, an empty mask, SIG_DFL), and the pointers are
    // valid for the time of the call. Only SIG_DFL and SIG_IGN are ever set, so no handler can dangle.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        let mut set: libc::sigaction = std::mem::zeroed();
        set.sa_sigaction = new.unwrap_or(libc::SIG_DFL);
        let new = if new.is_some() { &raw const set } else { std::ptr::null() };
        (libc::sigaction(signal.as_raw(), new, &raw mut old) == 0).then_some(old)
    }
}

/// Whether a signal was ignored when this program was started, as by `nohup`.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    action(signal, None).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

/// Ignores a signal from now on.
pub(crate) fn ignore(signal: Signal) {
    action(signal, Some(libc::SIG_IGN));
}

/// Makes sure that this process hears how its children end: whoever started it may have had that ignored.
pub(crate) fn hear_children() {
    if is_ignored(Signal::CHILD) {
        action(Signal::CHILD, Some(libc::SIG_DFL));
    }
}

/// Does something while a signal is set to be ignored, or to do what it does by default. Async-signal-safe.
pub(crate) fn while_set<T>(signal: Signal, ignored: bool, work: impl FnOnce() -> T) -> T {
    let old = action(signal, Some(if ignored { libc::SIG_IGN } else { libc::SIG_DFL }));
    let done = work();
    if let Some(old) = old {
        // SAFETY: `old` is what the system itself has just answered for this signal.
        unsafe {
            libc::sigaction(signal.as_raw(), &raw const old, std::ptr::null_mut());
        }
    }
    done
}
