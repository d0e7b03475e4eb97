//! What clients believed, and when: a recorded history, to be read by a [`Checker`](super::Checker).

use std::fmt::Write;
use std::io::{self, BufRead};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::protocol::{Mode, Want};

/// A moment on the clock that all who record share, in microseconds.
pub type At = u64;

/// One request, in the whole history.
pub type Op = u64;

/// How a caller stopped believing that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It asks the store to end the lease, or drops it.
    LetGo,
    /// It published, or is about to.
    Published,
    /// It was told that the lease is lost.
    Lost,
}

/// What the store said about a release or a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It was carried out.
    Yes,
    /// The lease was not current any more.
    Lost,
    /// Nobody knows.
    Unknown,
    /// An error.
    Failed,
}

/// Why a request ended without a lease or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gave {
    /// Its wait was over.
    TimedOut,
    /// It was a try, and somebody else holds the key.
    Busy,
    /// Its future was dropped.
    Dropped,
    /// The leader's error was told.
    Shared,
    /// The store failed.
    Failed,
}

/// Something that a caller asked, heard or did; or that was done to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
#[non_exhaustive]
pub enum What {
    /// A request begins.
    Asked {
        /// Which.
        op: Op,
        /// Its key.
        key: String,
        /// A lock, or a flight's result.
        want: Want,
        /// What it does when the key is not free.
        mode: Mode,
        /// How long it waits, in microseconds; `None` is for ever.
        wait: Option<u64>,
    },
    /// The store said that it stands in line.
    InLine {
        /// Which.
        op: Op,
    },
    /// It holds, or leads.
    Granted {
        /// Which.
        op: Op,
        /// Its fencing token.
        token: u64,
        /// Until when it is sure of that, as long as nothing else is heard; `None` is for ever.
        sure: Option<At>,
    },
    /// Until when it is sure has changed.
    Sure {
        /// Which.
        op: Op,
        /// Until when; `None` is for ever.
        sure: Option<At>,
    },
    /// It believes to hold no more.
    Ended {
        /// Which.
        op: Op,
        /// How.
        how: End,
        /// Until when it was sure, whatever it noticed later; `None` is for ever.
        sure: Option<At>,
    },
    /// The answer to its release or publication.
    Answered {
        /// Which.
        op: Op,
        /// What was said.
        said: Said,
    },
    /// It ended without a lease and without a value.
    GaveUp {
        /// Which.
        op: Op,
        /// Why.
        why: Gave,
    },
    /// A leader publishes a value, which is the leader's token.
    Publishes {
        /// Which.
        op: Op,
        /// How long it is kept, in microseconds.
        keep: u64,
    },
    /// A caller of a flight has the value of the leader with this token.
    Got {
        /// Which.
        op: Op,
        /// The value.
        value: u64,
    },
    /// A holder writes to what the lock protects: a register that refuses older tokens.
    Wrote {
        /// Which.
        op: Op,
        /// How many writes the register has seen before.
        seq: u64,
        /// Whether it took this one.
        accepted: bool,
    },
    /// Somebody begins to end whatever lease the key has (`forget`: to drop its result).
    Breaks {
        /// Which, for its end.
        op: Op,
        /// Its key.
        key: String,
        /// Whether only the result is dropped.
        forget: bool,
    },
    /// That is done, or has failed.
    Broke {
        /// Which.
        op: Op,
    },
    /// A fault begins, or happens.
    Fault {
        /// Its kind.
        kind: String,
    },
    /// The last fault is over.
    Calm,
    /// A client was killed: it believes nothing any more.
    Killed,
    /// A client stands still, or sleeps.
    Stopped,
    /// It goes on.
    Went,
    /// The store lost its data. What it had granted has a token of at most `last`.
    DataLost {
        /// The largest token so far.
        last: u64,
    },
    /// The store's clock was stepped, in microseconds.
    ClockStepped {
        /// By how much.
        by: i64,
    },
    /// All have gone. This is what is left of them.
    Left {
        /// Keys held.
        held: u64,
        /// Requests in line.
        waiting: u64,
        /// Subscriptions, or tickets that are still listened for.
        subscriptions: u64,
        /// Connections, sessions or files.
        connections: u64,
    },
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: At,
    /// Whose it is; 0 is nobody's.
    pub client: u32,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Everything that was recorded, in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The lines.
    pub records: Vec<Record>,
}

impl History {
    /// The history as JSON, one line a record.
    pub fn to_json_lines(&self) -> String {
        self.records.iter().fold(String::new(), |mut text, record| {
            // A record is plain data, which always has a JSON form.
            text += &serde_json::to_string(record).unwrap_or_default();
            text + "\n"
        })
    }

    /// Takes in what a process wrote with [`Recorder::to`]. Its last line may be cut off, by a kill.
    ///
    /// # Errors
    /// What reading says, or that an earlier line is no record.
    pub fn read(&mut self, lines: impl BufRead) -> io::Result<()> {
        let lines: Vec<String> = lines.lines().collect::<io::Result<_>>()?;
        for (at, line) in lines.iter().enumerate() {
            match serde_json::from_str(line) {
                Ok(record) => self.records.push(record),
                Err(_) if at + 1 == lines.len() => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        // A stable sort: what one process recorded at the same moment stays in order.
        self.records.sort_by_key(|record| record.at);
        Ok(())
    }

    /// The lines about these requests, and what was done to all or to a key, between two moments: for a message.
    pub fn excerpt(&self, ops: &[Op], from: At, to: At) -> String {
        let about = |record: &&Record| {
            let op = record.what.op().filter(|_| !matches!(record.what, What::Breaks { .. }));
            (op.is_none() || op.is_some_and(|op| ops.contains(&op))) && (from..=to).contains(&record.at)
        };
        let first = self.records.first().map_or(0, |record| record.at);
        self.records.iter().filter(about).fold(String::new(), |mut text, record| {
            let time = Duration::from_micros(record.at.saturating_sub(first));
            let _ = writeln!(text, "  {time:>12.3?}  client {:<3} {:?}", record.client, record.what);
            text
        })
    }
}

impl What {
    /// The request that it is about.
    pub fn op(&self) -> Option<Op> {
        match self {
            What::Asked { op, .. }
            | What::InLine { op }
            | What::Granted { op, .. }
            | What::Sure { op, .. }
            | What::Ended { op, .. }
            | What::Answered { op, .. }
            | What::GaveUp { op, .. }
            | What::Publishes { op, .. }
            | What::Got { op, .. }
            | What::Wrote { op, .. }
            | What::Breaks { op, .. }
            | What::Broke { op } => Some(*op),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Inner {
    history: History,
    ops: u64,
    sink: Option<Box<dyn io::Write + Send>>,
}

/// Writes a history. Clones write the same one.
///
/// The clock is [`Moment`], which all processes of a machine share: their histories can be put together.
///
/// ```
/// use soloist::testing::{Checker, Recorder, What};
///
/// let recorder = Recorder::new(1);
/// let (op, key) = (recorder.op(), "k".to_owned());
/// let (want, mode) = (soloist::Want::Lock, soloist::protocol::Mode::Line);
/// recorder.record(1, What::Asked { op, key, want, mode, wait: None });
/// recorder.record(1, What::Granted { op, token: 7, sure: None });
/// let violations = Checker::default().check(&recorder.history());
/// assert!(violations.is_empty(), "{violations:?}"); // it still holds
/// ```
#[derive(Clone)]
pub struct Recorder {
    /// Makes requests of several processes distinct.
    process: u32,
    inner: Arc<Mutex<Inner>>,
}

impl Recorder {
    /// A recorder of the process with this number.
    pub fn new(process: u32) -> Self {
        Recorder { process, inner: Arc::default() }
    }

    /// A recorder that keeps nothing and writes JSON lines, each at once: what a killed process did is there.
    pub fn to(process: u32, sink: impl io::Write + Send + 'static) -> Self {
        let recorder = Recorder::new(process);
        recorder.inner().sink = Some(Box::new(sink));
        recorder
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held, and it is whole at every step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a new request.
    pub fn op(&self) -> Op {
        let mut inner = self.inner();
        inner.ops += 1;
        (u64::from(self.process) << 32) | inner.ops
    }

    /// Records what happens now.
    pub fn record(&self, client: u32, what: What) {
        let mut inner = self.inner();
        let record = Record { at: Moment::now().micros(), client, what };
        match &mut inner.sink {
            Some(sink) => {
                let line = serde_json::to_string(&record).unwrap_or_default() + "\n";
                // One write a line. Where it fails, the line is missing and the check says so.
                let _ = sink.write_all(line.as_bytes()).and_then(|()| sink.flush());
            }
            None => inner.history.records.push(record),
        }
    }

    /// What was recorded so far.
    pub fn history(&self) -> History {
        self.inner().history.clone()
    }

    /// A moment of a lease as it is recorded.
    pub fn at(moment: Moment) -> At {
        moment.micros()
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("process", &self.process).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_read_back_also_one_whose_last_line_is_cut_off() {
        let recorder = Recorder::new(3);
        recorder.record(1, What::Granted { op: recorder.op(), token: 7, sure: Some(9) });
        recorder.record(2, What::ClockStepped { by: -5 });
        let history = recorder.history();
        let text = history.to_json_lines();
        let mut read = History::default();
        read.read(text.as_bytes()).unwrap();
        assert_eq!(read, history);
        let mut cut = History::default();
        cut.read(&text.as_bytes()[..text.len() - 4]).unwrap();
        assert_eq!(cut.records, history.records[..1]);
        assert!(History::default().read(&b"x\n{}\n"[..]).is_err());
    }
}
