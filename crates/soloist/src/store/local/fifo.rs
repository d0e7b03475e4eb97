//! FIFOs: a channel to one process that the operating system closes when the process ends, however it ends.
//!
//! The reader holds its FIFO open for reading and writing. Whoever can open it for writing knows that the
//! reader is alive; who cannot (ENXIO: no reader, ENOENT: no FIFO) knows that it is gone, for good, since its
//! name is a random id. Every record is one write of less than PIPE_BUF bytes, so records never mix.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

use super::folder::{Dir, FILE_MODE, failed, has_name};
use super::points;
use crate::error::Result;
use crate::name::Ticket;

/// POSIX allows 512; all systems with a local store give 4096 (Linux) or 512 or more and our longest record,
/// an event with a key and two holders, stays below 1,200.
const LONGEST: usize = 4096;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is in the FIFO.
    Yes,
    /// The FIFO is full: the reader has plenty to hear already.
    Full,
    /// The reader is gone.
    Gone,
}

/// Makes the FIFO `name` and opens it for reading. Invariant: a FIFO that has its name has its reader, so
/// that a sweep never takes a newborn for dead.
pub(super) fn create(dir: &Dir, name: &str) -> Result<pipe::Receiver> {
    let aside = format!(".new-{}", Ticket::mint());
    let fail = |error: io::Error| {
        dir.remove(&aside);
        failed(&dir.path.join(name), "made", error)
    };
    make(dir, &aside).map_err(|error| fail(error.into()))?;
    points::here("fifo made");
    let fd = dir.file(&aside, OFlags::RDWR | OFlags::NONBLOCK).map_err(|error| fail(error.into()))?;
    let receiver = pipe::Receiver::from_owned_fd_unchecked(fd).map_err(fail)?;
    points::here("fifo opened");
    rustix::fs::renameat(&dir.fd, &aside, &dir.fd, name).map_err(|error| fail(error.into()))?;
    points::here("fifo named");
    Ok(receiver)
}

#[cfg(not(target_vendor = "apple"))]
fn make(dir: &Dir, name: &str) -> rustix::io::Result<()> {
    rustix::fs::mkfifoat(&dir.fd, name, FILE_MODE)
}

#[cfg(target_vendor = "apple")]
fn make(dir: &Dir, name: &str) -> rustix::io::Result<()> {
    // This system has no call for it without `unsafe`.
    let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(dir.path.join(name)).status();
    if made.is_ok_and(|status| status.success()) { Ok(()) } else { Err(Errno::IO) }
}

/// Opens a FIFO for writing; `None` if its reader is gone. Any other failure tells nothing about the reader.
pub(super) fn open(dir: &Dir, name: &str) -> rustix::io::Result<Option<OwnedFd>> {
    points::system_call();
    match dir.file(name, OFlags::WRONLY | OFlags::NONBLOCK) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NXIO | Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the reader of an open FIFO has gone, by the word of the system: killed, or ended and without its name, which it
/// takes away first. A copy of its descriptor may outlive that for a moment: a process that was just being started has one.
pub(super) fn is_gone(fd: impl AsFd) -> bool {
    has_no_reader(&fd) || has_no_name(&fd)
}

fn has_no_name(fd: impl AsFd) -> bool {
    points::system_call();
    // Doubt is no proof.
    has_name(fd).is_ok_and(|named| !named)
}

fn has_no_reader(fd: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&fd, PollFlags::empty())];
    points::system_call();
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let told = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&now)));
    told.is_ok() && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Writes one record.
pub(super) fn send(fd: impl AsFd, record: &impl Serialize) -> Sent {
    let mut bytes = vec![0; 2];
    let encoded = postcard::to_io(record, &mut bytes).is_ok();
    let len = bytes.len() - 2;
    if !encoded || len + 2 > LONGEST {
        return Sent::Full;
    }
    bytes[..2].copy_from_slice(&(len as u16).to_le_bytes());
    points::system_call();
    match rustix::io::retry_on_intr(|| rustix::io::write(fd.as_fd(), &bytes)) {
        Ok(_) => Sent::Yes,
        Err(Errno::PIPE) => Sent::Gone,
        Err(_) => Sent::Full,
    }
}

/// How many bytes a FIFO has at least held when a writer found it full: whole pages less a longest record.
pub(super) fn full_mark(fd: impl AsFd) -> usize {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let size = rustix::pipe::fcntl_getpipe_size(fd).unwrap_or(LONGEST);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let size = {
        let _ = fd;
        LONGEST
    };
    size / 3 * 2
}

/// Asks for a FIFO that holds much, as far as the system allows.
pub(super) fn widen(fd: impl AsFd) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // Refused to users who have many pipes; the usual size then has to do.
    let _ = rustix::pipe::fcntl_setpipe_size(fd, 1 << 20);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = fd;
}

/// One thing read from a FIFO.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<T> {
    /// A record.
    Record(T),
    /// Records may have been lost: the FIFO was full, or something foreign was written into it.
    Lossy,
}

/// The reading end, in records.
#[derive(Debug)]
pub(super) struct Reader<T> {
    bytes: Vec<u8>,
    heard: VecDeque<Heard<T>>,
    /// Bytes read since the FIFO was last empty, or the mark last passed: after a writer has found the FIFO
    /// full, reading what it held passes the mark.
    burst: usize,
    full_mark: usize,
}

impl<T: DeserializeOwned> Reader<T> {
    pub(super) fn new(fd: impl AsFd) -> Self {
        Self::sized(full_mark(fd))
    }

    /// For a FIFO that may have been full when so much was read from it.
    pub(super) fn sized(full_mark: usize) -> Self {
        Reader { bytes: Vec::new(), heard: VecDeque::new(), burst: 0, full_mark }
    }

    /// The next thing. Cancel safe: what was read stays until it is returned.
    pub(super) async fn next(&mut self, fifo: &mut pipe::Receiver) -> io::Result<Heard<T>> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            // Not pending for any other reason than that the FIFO is empty.
            tokio::task::unconstrained(poll_fn(|cx| self.poll_more(fifo, cx))).await?;
            tokio::task::consume_budget().await;
        }
    }

    /// Reads some. A short read has emptied the FIFO, and then the runtime waits without another one.
    fn poll_more(&mut self, fifo: &mut pipe::Receiver, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [MaybeUninit::uninit(); 16 * 1024];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        match Pin::new(fifo).poll_read(cx, &mut chunk) {
            Poll::Ready(Ok(())) if chunk.filled().is_empty() => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(Ok(())) => {
                self.take(chunk.filled());
                // Who reads each record as it comes never finds it full.
                if chunk.remaining() > 0 {
                    self.emptied();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.emptied();
                if self.heard.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
            }
        }
    }

    /// The next thing that is there by now, without waiting, and without the runtime having to notice it.
    pub(super) fn next_now(&mut self, fifo: &pipe::Receiver) -> io::Result<Option<Heard<T>>> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(Some(heard));
            }
            let mut chunk = [0; 4 * 1024];
            match rustix::io::retry_on_intr(|| rustix::io::read(fifo.as_fd(), &mut chunk)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    self.take(&chunk[..len]);
                    if len < chunk.len() {
                        self.emptied();
                    }
                }
                Err(Errno::AGAIN) => {
                    self.emptied();
                    return Ok(self.heard.pop_front());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The FIFO is empty. Each record is written whole, so half of one is none: what follows is a new one.
    pub(super) fn emptied(&mut self) {
        self.burst = 0;
        if !self.bytes.is_empty() {
            self.foreign();
        }
    }

    /// What stands here was written by somebody else. Nobody knows where the next record begins.
    fn foreign(&mut self) {
        self.bytes.clear();
        self.heard.push_back(Heard::Lossy);
    }

    /// Takes in what was read.
    pub(super) fn take(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        let mut at = 0;
        while let Some(len) =
            self.bytes.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))
        {
            // Invariant: what is no record's length is waited for by nobody, or it would swallow those behind it.
            if len == 0 || len + 2 > LONGEST {
                self.foreign();
                at = 0;
                break;
            }
            let Some(record) = self.bytes.get(at + 2..at + 2 + len) else { break };
            match postcard::take_from_bytes(record) {
                Ok((record, [])) => self.heard.push_back(Heard::Record(record)),
                _ => self.heard.push_back(Heard::Lossy),
            }
            at += 2 + len;
        }
        self.bytes.drain(..at);
        self.burst += chunk.len();
        if self.burst >= self.full_mark {
            self.burst = 0;
            self.heard.push_back(Heard::Lossy);
        }
    }

    /// Everything that was read so far, and whether nothing is left of what was written.
    #[cfg(feature = "testing")]
    pub(super) fn all(self) -> (Vec<Heard<T>>, bool) {
        (self.heard.into(), self.bytes.is_empty())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::local::folder::Folder;

    #[tokio::test]
    async fn a_full_fifo_says_that_something_was_lost() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(Some(&dir.path().join("store"))).unwrap();
        let mut fifo = create(&folder.sessions, "reader").unwrap();
        let writer = open(&folder.sessions, "reader").unwrap().unwrap();
        for record in [1, 300, 1100] {
            let text = "x".repeat(record);
            let mut sent = 0;
            while send(&writer, &text) == Sent::Yes {
                sent += 1;
            }
            assert!(sent > 10);
            let mut reader = Reader::<String>::new(&fifo);
            let (mut records, mut lossy) = (0, 0);
            while records < sent {
                match reader.next(&mut fifo).await.unwrap() {
                    Heard::Record(heard) => {
                        assert_eq!(heard, text);
                        records += 1;
                    }
                    Heard::Lossy => lossy += 1,
                }
            }
            // The sign may stand behind the last record.
            lossy += reader.heard.len();
            assert!(lossy > 0, "records of {record} bytes");
        }
        drop(fifo);
        assert_eq!(send(&writer, &"x"), Sent::Gone);
        assert!(open(&folder.sessions, "reader").unwrap().is_none());
        assert!(open(&folder.sessions, "nobody").unwrap().is_none());
    }
}
