//! The guard: a second process that ends the command's whole process group when the wrapper is killed with
//! -9, or frozen for longer than its lease lives, so that nothing works on without its lock.
//!
//! It reads a pipe whose other end only the wrapper holds: the group to watch, how long the lease still
//! lives after each renewal, and a farewell when all is over. The end of the pipe without a farewell means
//! that the wrapper is dead; a lease that ends without a word means that it is frozen. Its stdout is the
//! local store's liveness descriptor: the lease lives until the group is gone, and ends at once then.

use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use soloist::Moment;

use crate::group;
use crate::sys;

/// The hidden subcommand.
pub(crate) const NAME: &str = "__guard";

/// Five bytes: the group.
const GROUP: u8 = b'G';
/// Nine bytes: how many milliseconds the lease still lives; `u64::MAX` is for ever.
const LEASE: u8 = b'L';
/// The wrapper itself ends the group.
const ENDING: u8 = b'E';
const FAREWELL: u8 = b'F';

/// How long after the lease's end a wrapper that is not frozen has said that it ends the group.
const SLACK: Duration = Duration::from_millis(100);

/// How long a wait for the wrapper's word is at most, while a lease is watched.
const LOOK: Duration = Duration::from_secs(1);

/// How long the lease is kept for a group that does not die of SIGKILL, and how long a wrapper may take that ends it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The wrapper's end.
pub(crate) struct Guard {
    pub(crate) pid: Pid,
    pipe: PipeWriter,
}

impl Guard {
    /// Starts the guard; before the command, which then never runs unguarded.
    pub(crate) fn start(liveness: Option<OwnedFd>, grace: Duration) -> io::Result<Self> {
        let (reader, pipe) = io::pipe()?;
        // A guard that is frozen must not freeze the wrapper.
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let proc = std::path::PathBuf::from("/proc/self/exe");
        // By way of /proc it is this very program, even if another was installed in its place meanwhile.
        let exe = if proc.exists() { proc } else { std::env::current_exe()? };
        let child = Command::new(exe)
            .arg0("soloist")
            .arg(NAME)
            .arg(grace.as_millis().to_string())
            .stdin(reader)
            .stdout(liveness.map_or_else(Stdio::null, Stdio::from))
            .stderr(Stdio::null())
            // Not hit by what the terminal sends to the wrapper's group. Keeps no folder busy.
            .process_group(0)
            .current_dir("/")
            .spawn()?;
        let pid = pid_of(child.id()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Guard { pid, pipe })
    }

    /// What the child itself does before it becomes the command: the guard knows it before it can do
    /// anything. Only system calls.
    pub(crate) fn introduction(&self) -> io::Result<impl FnMut() -> io::Result<()> + Send + Sync + 'static> {
        let pipe = self.pipe.try_clone()?;
        Ok(move || {
            let pid = rustix::process::getpid().as_raw_nonzero().get().to_ne_bytes();
            let message = [GROUP, pid[0], pid[1], pid[2], pid[3]];
            rustix::io::write(pipe.as_fd(), &message).map(drop).map_err(io::Error::from)
        })
    }

    /// How long the lease lives from now on, unless more is said; `None` is for ever.
    pub(crate) fn lease_lives(&mut self, left: Option<Duration>) {
        let left = left.map_or(u64::MAX, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let mut message = [LEASE; 9];
        message[1..].copy_from_slice(&left.to_ne_bytes());
        self.say(&message);
    }

    /// The wrapper ends the group: the guard does not have to, unless the wrapper dies, or is frozen over it.
    pub(crate) fn ending(&mut self) {
        self.say(&[ENDING]);
    }

    /// All is over: whatever remains of the group is left alone.
    pub(crate) fn farewell(mut self) {
        self.say(&[FAREWELL]);
    }

    fn say(&mut self, message: &[u8]) {
        // Fails if the guard is dead already. So short a message is written whole or not at all.
        let _ = self.pipe.write_all(message);
    }
}

pub(crate) fn pid_of(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// The guard's own main.
pub(crate) fn watch() -> ExitCode {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::TSTP] {
        sys::ignore(signal);
    }
    let grace =
        std::env::args().nth(2).and_then(|ms| ms.parse().ok()).map_or(PATIENCE, Duration::from_millis);
    let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let Ok(mut pipe) = stdin else { return ExitCode::FAILURE };
    let (mut group, mut lease_ends) = (None, None);
    loop {
        if !speaks_by(&pipe, lease_ends) {
            // The wrapper is frozen, and its lease is somebody else's, or soon will be.
            lease_ends = None;
            if let Some(group) = group {
                end(group, grace);
            }
            continue;
        }
        let (mut kind, mut pid, mut left) = ([0], [0; 4], [0; 8]);
        match pipe.read_exact(&mut kind).map(|()| kind[0]) {
            Ok(FAREWELL) => return ExitCode::SUCCESS,
            // Invariant: a wrapper that is frozen while it ends the group has not ended it.
            Ok(ENDING) => lease_ends = Some(Moment::now().after(grace + PATIENCE)),
            Ok(GROUP) if pipe.read_exact(&mut pid).is_ok() => group = Pid::from_raw(i32::from_ne_bytes(pid)),
            Ok(LEASE) if pipe.read_exact(&mut left).is_ok() => {
                let left = Some(u64::from_ne_bytes(left)).filter(|left| *left != u64::MAX);
                lease_ends = left.map(|left| Moment::now().after(Duration::from_millis(left) + SLACK));
            }
            Ok(_) => return ExitCode::FAILURE,
            // The wrapper is dead.
            Err(_) => break,
        }
    }
    if let Some(group) = group {
        kill(group);
    }
    ExitCode::SUCCESS
}

/// Waits until the wrapper says something or is dead, or until `end`: then the answer is `false`.
fn speaks_by(pipe: &File, end: Option<Moment>) -> bool {
    loop {
        let left = end.map(|end| end.since(Moment::now()));
        // In short pieces: no timer counts the time that the machine sleeps.
        let piece = left.unwrap_or(LOOK).min(LOOK);
        let piece = Timespec { tv_sec: piece.as_secs().cast_signed(), tv_nsec: piece.subsec_nanos().into() };
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&piece).filter(|_| end.is_some())) {
            // What was said in time counts, also when it is heard late.
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return false,
            Ok(0) | Err(Errno::INTR) => {}
            // Where it cannot be waited for, reading does.
            Ok(_) | Err(_) => return true,
        }
    }
}

/// Ends the group as the wrapper would: TERM, and KILL to whatever is left after `grace`.
fn end(group: Pid, grace: Duration) {
    group::send(group, Signal::TERM);
    // What is stopped hears it only when it goes on.
    group::send(group, Signal::CONT);
    let over = Instant::now() + grace;
    while group::runs(group) {
        if Instant::now() >= over {
            return kill(group);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(group: Pid) {
    let end = Instant::now() + PATIENCE;
    while group::kill(group) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
}
