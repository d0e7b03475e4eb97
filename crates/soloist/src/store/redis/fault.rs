//! Why a stream of requests and answers ends, and that an answer is late.

use std::io;
use std::time::Duration;

use redis::{ParsingError, RedisError};

/// Why a stream ends.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Lost(io::ErrorKind, String),
    Nonsense(String),
}

impl Fault {
    pub(super) fn error(&self) -> RedisError {
        match self {
            Fault::Lost(kind, why) => io::Error::new(*kind, why.clone()).into(),
            Fault::Nonsense(what) => ParsingError::from(what.clone()).into(),
        }
    }

    pub(super) fn closed(why: &str) -> Self {
        Fault::Lost(io::ErrorKind::BrokenPipe, why.into())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Lost(error.kind(), error.to_string())
    }
}

/// No answer came within this time.
pub(super) fn late(limit: Duration) -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")).into()
}
