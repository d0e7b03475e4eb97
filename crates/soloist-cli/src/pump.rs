//! Passes a command's output on as it comes, and records it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use crate::recording::{Recorder, Stream};

const BUFFER: usize = 64 << 10;

/// Where the output of a command goes that is recorded. It has no input: only the leader would read it.
pub(crate) fn recorded(command: &mut Command) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// Our ends of a command's two pipes.
pub(crate) struct Pipes {
    out: Receiver,
    err: Receiver,
}

impl Pipes {
    pub(crate) fn of(child: &mut Child) -> io::Result<Self> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let out = OwnedFd::from(child.stdout.take().ok_or_else(missing)?);
        let err = OwnedFd::from(child.stderr.take().ok_or_else(missing)?);
        Ok(Pipes { out: Receiver::from_owned_fd(out)?, err: Receiver::from_owned_fd(err)? })
    }

    /// Until both pipes end; or until the command has `ended`, with all that it had written by then. What it
    /// leaves running in the background may hold the pipes open for ever.
    pub(crate) async fn pump(&mut self, mut ended: oneshot::Receiver<()>, recorder: &mut Recorder) {
        let (mut out, mut err) = (Sink::new(tokio::io::stdout()), Sink::new(tokio::io::stderr()));
        let (mut out_open, mut err_open) = (true, true);
        let (mut out_buffer, mut err_buffer) = (vec![0; BUFFER], vec![0; BUFFER]);
        while out_open || err_open {
            tokio::select! {
                read = self.out.read(&mut out_buffer), if out_open => {
                    let read = read.unwrap_or(0);
                    out_open = read > 0;
                    recorder.add(Stream::Out, &out_buffer[..read]);
                    out.write(&out_buffer[..read]).await;
                }
                read = self.err.read(&mut err_buffer), if err_open => {
                    let read = read.unwrap_or(0);
                    err_open = read > 0;
                    recorder.add(Stream::Err, &err_buffer[..read]);
                    err.write(&err_buffer[..read]).await;
                }
                _ = &mut ended => break,
            }
        }
        for (stream, pipe) in [(Stream::Out, &self.out), (Stream::Err, &self.err)] {
            let rest = what_is_there(pipe);
            recorder.add(stream, &rest);
            match stream {
                Stream::Out => out.write(&rest).await,
                Stream::Err => err.write(&rest).await,
            }
        }
    }
}

/// What stands in a pipe at this moment, and nothing that is written while it is read.
fn what_is_there(pipe: &Receiver) -> Vec<u8> {
    let there = rustix::io::ioctl_fionread(pipe.as_fd()).ok().and_then(|n| usize::try_from(n).ok());
    let mut bytes = vec![0; there.unwrap_or(0)];
    let mut read = 0;
    while read < bytes.len() {
        match rustix::io::read(pipe, &mut bytes[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    bytes.truncate(read);
    bytes
}

/// Where output is passed on to, until nobody reads it: the recording goes on.
struct Sink<W>(Option<W>);

impl<W: AsyncWrite + Unpin> Sink<W> {
    fn new(to: W) -> Self {
        Sink(Some(to))
    }

    async fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(to) = &mut self.0 {
            let written = async {
                to.write_all(bytes).await?;
                to.flush().await
            };
            if written.await.is_err() {
                self.0 = None;
            }
        }
    }
}
