//! The signals that the program hears.

use std::future::poll_fn;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::failure::{Failure, Outcome};
use crate::sys;

/// What is passed on to the command.
const FORWARDED: [Signal; 7] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];

/// The signals that this program hears from now on.
pub(crate) struct Signals(Vec<(Signal, Stream)>);

impl Signals {
    /// Hears everything that would be passed on to a command. What the caller had ignored (`nohup`, a
    /// shell's background job) stays so.
    pub(crate) fn listen() -> Outcome<Self> {
        let mut signals = Signals(Vec::new());
        for signal in FORWARDED {
            signals.add(signal)?;
        }
        Ok(signals)
    }

    /// Hears one more.
    pub(crate) fn add(&mut self, which: Signal) -> Outcome<()> {
        if !sys::is_ignored(which) {
            let stream = signal(SignalKind::from_raw(which.as_raw()))
                .map_err(|error| Failure::own(format!("cannot listen for signals: {error}")))?;
            self.0.push((which, stream));
        }
        Ok(())
    }

    /// The next signal. Cancel safe.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (which, stream) in &mut self.0 {
                if let Poll::Ready(Some(())) = stream.poll_recv(context) {
                    return Poll::Ready(*which);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Resolves at the first signal that ends the program, with the code that it then exits with.
    pub(crate) async fn end(&mut self) -> u8 {
        loop {
            let signal = self.next().await;
            if ends(signal) {
                return code(signal);
            }
        }
    }
}

/// Whether a signal asks the program to end.
pub(crate) fn ends(signal: Signal) -> bool {
    matches!(signal, Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT)
}

/// 128 + n.
pub(crate) fn code(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

/// Does the work, or drops it when a signal ends the program.
pub(crate) async fn until_ended<T, E: Into<Failure>>(
    signals: &mut Signals,
    work: impl Future<Output = Result<T, E>>,
) -> Outcome<T> {
    tokio::select! {
        biased;
        code = signals.end() => Err(Failure::silent(code)),
        done = work => done.map_err(Into::into),
    }
}
