//! Who answers on a new connection: a Redis or Valkey >= 6.2 that takes writes, or what else.

use std::time::Duration;

use redis::{ErrorKind, RedisError, Value};

use super::connection::Connection;
use super::keys;
use super::trouble::{Kind, No, Trouble};
use crate::error::Error;

/// Why no connection came about.
pub(super) struct Failed {
    /// For whoever connects.
    pub(super) error: Error,
    /// Whether the server may serve later, and how soon that is told.
    pub(super) kind: Kind,
}

impl Failed {
    pub(super) fn unavailable(store: &str, why: String) -> Self {
        Failed { error: Error::Unavailable { store: store.to_owned(), why }, kind: Kind::Away }
    }

    pub(super) fn refused(store: &str, No { kind, why, hint }: No) -> Self {
        Failed { error: Error::Refused { store: store.to_owned(), why, hint }, kind }
    }

    /// Why none of several serves. As long as one may do so later, this is an outage.
    pub(super) fn none(store: &str, what: &str, nodes: &[(String, Failed)]) -> Self {
        let told: Vec<_> = nodes.iter().map(|(node, failed)| format!("{node}: {}", failed.why())).collect();
        let why = format!("{what}: {}", told.join("; "));
        match nodes.last() {
            Some((_, Failed { kind: Kind::Never, error: Error::Refused { hint, .. } }))
                if nodes.iter().all(|(_, failed)| failed.kind == Kind::Never) =>
            {
                Failed::refused(store, No { kind: Kind::Never, why, hint })
            }
            _ => Failed::unavailable(store, why),
        }
    }

    /// The same, said by one of several nodes.
    pub(super) fn at(self, node: &str) -> Self {
        let Failed { error, kind } = self;
        let error = match error {
            Error::Refused { store, why, hint } => {
                Error::Refused { store, why: format!("{node}: {why}"), hint }
            }
            Error::Unavailable { store, why } => Error::Unavailable { store, why: format!("{node}: {why}") },
            error => error,
        };
        Failed { error, kind }
    }

    /// The same, where another node may be the primary soon: an outage, unless no waiting helps.
    pub(super) fn away(self) -> Self {
        match (self.kind, self.error) {
            (Kind::NotNow, Error::Refused { store, why, .. }) => Failed::unavailable(&store, why),
            (kind, error) => Failed { kind, error },
        }
    }

    /// In the server's words, without whose they are.
    pub(super) fn why(&self) -> String {
        match &self.error {
            Error::Refused { why, .. } | Error::Unavailable { why, .. } => why.clone(),
            error => error.to_string(),
        }
    }

    /// The error as it is told during an outage, which waiters wait through.
    pub(super) fn later(self) -> Error {
        match (self.kind, self.error) {
            (Kind::Away, Error::Refused { store, why, hint }) => {
                Error::Unavailable { store, why: format!("{why} ({hint})") }
            }
            (_, error) => error,
        }
    }
}

/// What an error of a new connection means.
pub(super) fn failed(error: &RedisError, store: &str) -> Failed {
    match Trouble::of(error) {
        Trouble::Lost(why) if error.kind() == ErrorKind::Parse => {
            let hint = "is this the port of a Redis server, and should it be rediss:// for TLS?";
            Failed::refused(store, No { kind: Kind::Away, why, hint })
        }
        Trouble::Lost(why) => Failed::unavailable(store, why),
        Trouble::No(no) => Failed::refused(store, no),
        Trouble::NoScript | Trouble::TooLate(_) => Failed::unavailable(store, error.to_string()),
    }
}

/// Nobody answered in time.
pub(super) fn silent(limit: Duration, store: &str) -> Failed {
    let tls = if store.starts_with("rediss") { "; does this port speak TLS?" } else { "" };
    Failed::unavailable(store, format!("no answer within {limit:?}{tls}"))
}

/// Who should answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A server that has all keys.
    Server,
    /// One of the primaries of a cluster.
    ClusterNode,
}

const CLUSTER: &str = "name the cluster: redis-cluster://host:port, or several of its nodes, h1,h2,h3";
pub(super) const NO_CLUSTER: &str =
    "redis-cluster:// names nodes of a cluster; a single server, or a primary and its replicas, is redis://";

/// Looks who answers. `HELLO` is there since Redis 6.0, and every user may ask it.
pub(super) async fn greet(
    connection: &mut Connection,
    store: &str,
    expected: Expected,
) -> Result<(), Failed> {
    let refused = |kind, why, hint| Failed::refused(store, No { kind, why, hint });
    const OLD: &str = "a Redis or Valkey server >= 6.2 is needed";
    let told = match redis::cmd("HELLO").query_async(connection).await {
        Ok(told) => told,
        Err(error) if error.to_string().contains("unknown command") => {
            return Err(refused(Kind::Never, "the server does not know HELLO".into(), OLD));
        }
        Err(error) => return Err(failed(&error, store)),
    };
    let field = |name: &str| field(&told, name);
    let version = field("version").unwrap_or_default();
    if numbers(&version) < (6, 2) {
        return Err(refused(Kind::Never, format!("it is version {version:?}"), OLD));
    }
    if field("mode").as_deref() == Some("sentinel") {
        return Err(refused(
            Kind::Never,
            "it is a Sentinel".into(),
            "name it as redis-sentinel://host:26379/NAME, or name the primary that it watches",
        ));
    }
    match (expected, field("mode").as_deref() == Some("cluster")) {
        (Expected::Server, true) => {
            return Err(refused(Kind::Never, "it is a node of a cluster".into(), CLUSTER));
        }
        (Expected::ClusterNode, false) => {
            return Err(refused(Kind::Never, "it is not in cluster mode".into(), NO_CLUSTER));
        }
        _ => {}
    }
    if field("role").as_deref() == Some("replica") {
        let why = "READONLY it is a replica".into();
        return Err(refused(Kind::NotNow, why, "name the primary; this server takes no writes"));
    }
    Ok(())
}

/// Whether the server takes a write, which one that is cut off from its replicas may not (`NOREPLICAS`): then
/// another node may be the primary by now. What is deleted was never there, so nothing is changed.
pub(super) async fn takes_writes(connection: &mut Connection, store: &str) -> Result<(), Failed> {
    let deleted: Result<Value, _> = redis::cmd("DEL").arg(keys::NOTHING).query_async(connection).await;
    deleted.map(drop).map_err(|error| failed(&error, store))
}

/// The first two numbers of a version; what is none is 0.
pub(super) fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A field of the answer, a flat list of names and values.
pub(super) fn field(told: &Value, name: &str) -> Option<String> {
    let Value::Array(list) = told else { return None };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    list.chunks(2).find(|pair| text(&pair[0]).as_deref() == Some(name)).and_then(|pair| text(pair.get(1)?))
}
