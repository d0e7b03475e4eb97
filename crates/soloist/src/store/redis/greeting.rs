//! Who answers on a new connection: a Redis or Valkey >= 6.2 that takes writes, or what else.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};

use super::trouble::Trouble;
use crate::error::Error;

/// The error, and whether trying again would not help.
pub(super) type Failed = (Error, bool);

/// Why no connection came about.
pub(super) fn failed(error: &RedisError, store: &str) -> Failed {
    let store = store.to_owned();
    match Trouble::of(error) {
        Trouble::Lost(why) => (Error::Unavailable { store, why }, false),
        Trouble::Passing { why, hint, .. } => (Error::Refused { store, why, hint }, false),
        Trouble::Refused { why, hint } => (Error::Refused { store, why, hint }, true),
        Trouble::NoScript => (Error::Unavailable { store, why: error.to_string() }, false),
    }
}

/// Nobody answered in time.
pub(super) fn silent(limit: Duration, store: &str) -> Failed {
    (Error::Unavailable { store: store.to_owned(), why: format!("no answer within {limit:?}") }, false)
}

/// Looks who answers. `HELLO` is there since Redis 6.0, and every user may ask it.
pub(super) async fn greet(connection: &mut MultiplexedConnection, store: &str) -> Result<(), Failed> {
    let refused = |why: String, hint, told| (Error::Refused { store: store.to_owned(), why, hint }, told);
    const OLD: &str = "a Redis or Valkey server >= 6.2 is needed";
    let told = match redis::cmd("HELLO").query_async(connection).await {
        Ok(told) => told,
        Err(error) if error.to_string().contains("unknown command") => {
            return Err(refused("the server does not know HELLO".into(), OLD, true));
        }
        Err(error) => return Err(failed(&error, store)),
    };
    let field = |name: &str| field(&told, name);
    let version = field("version").unwrap_or_default();
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) < (6, 2) {
        return Err(refused(format!("it is version {version:?}"), OLD, true));
    }
    if field("mode").as_deref() == Some("sentinel") {
        return Err(refused("it is a Sentinel".into(), "name the primary that it watches", true));
    }
    if field("role").as_deref() == Some("replica") {
        let why = "READONLY it is a replica".into();
        return Err(refused(why, "name the primary; this server takes no writes", false));
    }
    Ok(())
}

/// A field of the answer, a flat list of names and values.
fn field(told: &Value, name: &str) -> Option<String> {
    let Value::Array(list) = told else { return None };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    list.chunks(2).find(|pair| text(&pair[0]).as_deref() == Some(name)).and_then(|pair| text(pair.get(1)?))
}
