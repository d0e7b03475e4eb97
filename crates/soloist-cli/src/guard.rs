//! The guard: a second process that ends the command's whole process group when the wrapper is killed with
//! -9, so that nothing works on without its lock.
//!
//! It reads a pipe whose other end only the wrapper holds: the group to watch, and a farewell when all is
//! over. The end of the pipe without a farewell means that the wrapper is dead. Its stdout is the local
//! store's liveness descriptor: the lease lives until the group is gone, and ends at once then.

use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::group;
use crate::sys;

/// The hidden subcommand.
pub(crate) const NAME: &str = "__guard";

const GROUP: u8 = b'G';
const FAREWELL: u8 = b'F';

/// How long the lease is kept for a group that does not die of SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);

/// The wrapper's end.
pub(crate) struct Guard {
    pub(crate) pid: Pid,
    pipe: PipeWriter,
}

impl Guard {
    /// Starts the guard; before the command, which then never runs unguarded.
    pub(crate) fn start(liveness: Option<OwnedFd>) -> io::Result<Self> {
        let (reader, pipe) = io::pipe()?;
        let proc = std::path::PathBuf::from("/proc/self/exe");
        // By way of /proc it is this very program, even if another was installed in its place meanwhile.
        let exe = if proc.exists() { proc } else { std::env::current_exe()? };
        let child = Command::new(exe)
            .arg0("soloist")
            .arg(NAME)
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

    /// All is over: whatever remains of the group is left alone.
    pub(crate) fn farewell(mut self) {
        // Fails if the guard is dead already.
        let _ = self.pipe.write_all(&[FAREWELL]);
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
    let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let Ok(mut pipe) = stdin else { return ExitCode::FAILURE };
    let mut group = None;
    let mut kind = [0];
    while let Ok(()) = pipe.read_exact(&mut kind) {
        let mut pid = [0; 4];
        match kind[0] {
            FAREWELL => return ExitCode::SUCCESS,
            GROUP if pipe.read_exact(&mut pid).is_ok() => group = Pid::from_raw(i32::from_ne_bytes(pid)),
            _ => return ExitCode::FAILURE,
        }
    }
    let Some(group) = group else { return ExitCode::SUCCESS };
    let end = Instant::now() + PATIENCE;
    while group::kill(group) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
    ExitCode::SUCCESS
}
