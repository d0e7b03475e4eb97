//! How the program ends when it does not end well: an exit code, a message, and a way out.

use std::time::Duration;

use soloist::{Client, Error, Key, KeyInfo};

use crate::out::argument;
use crate::units::human;

/// The lease was lost, or is not the current one.
pub(crate) const LOST: u8 = 123;
/// The key is busy, its line is full, or the wait is over.
pub(crate) const BUSY: u8 = 124;
/// Soloist's own failure.
pub(crate) const OWN: u8 = 125;
/// The command is there, but cannot be run.
pub(crate) const NOT_RUNNABLE: u8 = 126;
/// The command is not there.
pub(crate) const NOT_FOUND: u8 = 127;

/// Why the program ends with this code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// What a command comes to: an exit code, or a failure to be told.
pub(crate) type Outcome<T = u8> = Result<T, Failure>;

impl Failure {
    pub(crate) fn own(message: impl Into<String>) -> Self {
        Failure { code: OWN, message: message.into(), hint: None }
    }

    /// An end that has nothing to say, as after a signal.
    pub(crate) fn silent(code: u8) -> Self {
        Failure { code, message: String::new(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The key is held, and the caller did not want to wait. Says by whom, if the store tells.
    pub(crate) async fn busy(client: &Client, key: &Key) -> Self {
        let holding = client.inspect(key.as_str()).await.ok().and_then(|info| {
            let left = left(&info);
            info.holding.map(|now| (now.holder, left))
        });
        let message = match holding {
            Some((holder, Some(left))) => format!("{key:?} is held by {holder} ({} left)", human(left)),
            Some((holder, None)) => format!("{key:?} is held by {holder}"),
            // It has become free since: that is not the same as having had it.
            None => format!("{key:?} was held a moment ago"),
        };
        Failure {
            code: BUSY,
            message,
            hint: Some("pass --wait 30s in place of --try to stand in line".into()),
        }
    }
}

/// How long the lease of a key still lives unless it is renewed; `None` when nobody holds it, or for ever.
pub(crate) fn left(info: &KeyInfo) -> Option<Duration> {
    let deadline = info.holding.as_ref()?.deadline?;
    Some(Duration::from_micros(deadline.saturating_sub(info.now)))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::TimedOut { .. } | Error::LineFull { .. } | Error::Guarded { .. } => BUSY,
            Error::Lost { .. } | Error::NotHeld { .. } => LOST,
            _ => OWN,
        };
        let hint = match &error {
            Error::TimedOut { key, .. } => {
                let key = argument(key.as_str());
                Some(format!("pass a longer --wait; `soloist show {key}` says who holds it"))
            }
            Error::LineFull { key, .. } => {
                let key = argument(key.as_str());
                Some(format!(
                    "come back later, or pass a larger --max-waiting; `soloist show {key}` says who waits"
                ))
            }
            Error::NotHeld { holder: None, .. } => Some("it was released, or ended at its ttl".into()),
            Error::NotHeld { key, .. } => {
                Some(format!("`soloist show {}` says more of its lease", argument(key.as_str())))
            }
            Error::TooLarge { .. } => {
                Some("raise --max-output everywhere, or write the result to a file".into())
            }
            Error::BadResult { key, .. } => {
                Some(format!("`soloist forget {}` has it computed again", argument(key.as_str())))
            }
            Error::NotReplicated { .. } => Some(
                "are the replicas connected (`soloist doctor`)? try again, or pass a smaller --replicas"
                    .into(),
            ),
            error => error.hint().map(Into::into),
        };
        let message = match &error {
            // In the words of the flags.
            Error::BadDuration { what, range, .. } => {
                format!("--{what}: {}", range.replace("no_expiry", "--no-expiry"))
            }
            error => error.to_string(),
        };
        Failure { code, message, hint }
    }
}
