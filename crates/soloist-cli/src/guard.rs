//! The guard: a second process that ends the command's whole process group when the wrapper is killed with
//! -9, or frozen for longer than its lease lives, so that nothing works on without its lock.
//!
//! It is a fork of the wrapper, from before that has any other thread: a program that is executed anew takes most of a
//! millisecond. It listens to a socket whose other end only the wrapper holds: the group to watch, how long the lease
//! still lives after each renewal, and a farewell when all is over. The end of the socket without a farewell means that
//! the wrapper is dead; a lease that ends without a word means that it is frozen. It is also sent the local store's
//! liveness descriptor: the lease lives until the group is gone, and ends at once then.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal};
use soloist::Moment;

use crate::group;
use crate::sys;

/// One byte, and with it a descriptor: the lease lives as long as any process has it open.
const LIVENESS: u8 = b'D';
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
    socket: UnixStream,
}

impl Guard {
    /// Starts the guard, which has nothing to guard yet. To be called while this process has no other thread.
    pub(crate) fn start(grace: Duration) -> io::Result<Self> {
        let (socket, heard) = UnixStream::pair()?;
        let Some(pid) = sys::fork()? else {
            drop(socket);
            watch(heard, grace);
            sys::end();
        };
        // A guard that is frozen must not freeze the wrapper.
        socket.set_nonblocking(true)?;
        Ok(Guard { pid, socket })
    }

    /// Has the guard keep the lease alive. Invariant: before the command starts, so that no command of a dead wrapper runs
    /// on without its lease.
    pub(crate) fn keep_alive(&self, liveness: Option<OwnedFd>) -> io::Result<()> {
        let Some(liveness) = liveness else { return Ok(()) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let (mut with, liveness) = (SendAncillaryBuffer::new(&mut space), [liveness.as_fd()]);
        with.push(SendAncillaryMessage::ScmRights(&liveness));
        sendmsg(&self.socket, &[IoSlice::new(&[LIVENESS])], &mut with, SendFlags::empty())?;
        Ok(())
    }

    /// What the child itself does before it becomes the command: the guard knows it before it can do
    /// anything. Only system calls.
    pub(crate) fn introduction(&self) -> io::Result<impl FnMut() -> io::Result<()> + Send + Sync + 'static> {
        let socket = self.socket.try_clone()?;
        Ok(move || {
            let pid = rustix::process::getpid().as_raw_nonzero().get().to_ne_bytes();
            let message = [GROUP, pid[0], pid[1], pid[2], pid[3]];
            rustix::io::write(socket.as_fd(), &message).map(drop).map_err(io::Error::from)
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
        let _ = self.socket.write_all(message);
    }
}

pub(crate) fn pid_of(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// The guard's own main.
fn watch(mut socket: UnixStream, grace: Duration) {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::TSTP] {
        sys::ignore(signal);
    }
    apart();
    let (mut group, mut lease_ends, mut alive) = (None, None, None);
    loop {
        if !speaks_by(&socket, lease_ends) {
            // The wrapper is frozen, and its lease is somebody else's, or soon will be.
            lease_ends = None;
            if let Some(group) = group {
                end(group, grace);
            }
            continue;
        }
        let (mut pid, mut left) = ([0; 4], [0; 8]);
        match hear(&socket, &mut alive) {
            Ok(Some(FAREWELL)) => return,
            Ok(Some(LIVENESS)) => {}
            // Invariant: a wrapper that is frozen while it ends the group has not ended it.
            Ok(Some(ENDING)) => lease_ends = Some(Moment::now().after(grace + PATIENCE)),
            Ok(Some(GROUP)) if socket.read_exact(&mut pid).is_ok() => {
                group = Pid::from_raw(i32::from_ne_bytes(pid));
            }
            Ok(Some(LEASE)) if socket.read_exact(&mut left).is_ok() => {
                let left = Some(u64::from_ne_bytes(left)).filter(|left| *left != u64::MAX);
                lease_ends = left.map(|left| Moment::now().after(Duration::from_millis(left) + SLACK));
            }
            Err(Errno::INTR) => {}
            // The wrapper is dead.
            Ok(_) | Err(_) => break,
        }
    }
    if let Some(group) = group {
        kill(group);
    }
}

/// Not hit by what the terminal sends to the wrapper's group. Keeps no folder busy, and nobody's stdin and output open.
fn apart() {
    let _ = rustix::process::setpgid(None, None);
    let _ = rustix::process::chdir("/");
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// The next word of the wrapper; `None` if it is dead. A descriptor that comes with it goes to `alive`.
fn hear(socket: &UnixStream, alive: &mut Option<OwnedFd>) -> rustix::io::Result<Option<u8>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let (mut with, mut word) = (RecvAncillaryBuffer::new(&mut space), [0]);
    let heard = recvmsg(socket, &mut [IoSliceMut::new(&mut word)], &mut with, RecvFlags::empty())?;
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            *alive = fds.last();
        }
    }
    Ok((heard.bytes > 0).then_some(word[0]))
}

/// Waits until the wrapper says something or is dead, or until `end`: then the answer is `false`.
fn speaks_by(socket: &UnixStream, end: Option<Moment>) -> bool {
    loop {
        let left = end.map(|end| end.since(Moment::now()));
        // In short pieces: no timer counts the time that the machine sleeps.
        let piece = left.unwrap_or(LOOK).min(LOOK);
        let piece = Timespec { tv_sec: piece.as_secs().cast_signed(), tv_nsec: piece.subsec_nanos().into() };
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&piece).filter(|_| end.is_some())) {
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
