//! What a server says about itself: `INFO`, and `CONFIG GET` where the user may ask it.

use std::collections::HashMap;
use std::str::FromStr;

use redis::Value;

/// The settings that say something about locks.
pub(super) const SETTINGS: [&str; 7] = [
    "save",
    "appendfsync",
    "min-replicas-to-write",
    "timeout",
    "client-output-buffer-limit",
    "busy-reply-threshold",
    "lua-time-limit", // what the one before was called until 7.0
];

/// The settings that say something about locks in a cluster.
pub(super) const CLUSTER_SETTINGS: [&str; 3] =
    ["cluster-require-full-coverage", "cluster-replica-no-failover", "cluster-replica-validity-factor"];

/// Names and values. Everything may be missing: servers differ, and not everybody may ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Info(HashMap<String, String>);

impl Info {
    /// The lines of `INFO`.
    pub(super) fn of(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Info(pairs.map(|(name, value)| (name.into(), value.trim_end().into())).collect())
    }

    /// Takes an answer of `CONFIG GET` in: a list of names and values.
    pub(super) fn take(&mut self, told: &Value) {
        let Value::Array(list) = told else { return };
        for pair in list.chunks_exact(2) {
            if let [Value::BulkString(name), Value::BulkString(value)] = pair {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                self.0.insert(text(name), text(value));
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    /// As people know it: `Redis 7.0.15`, `Valkey 8.0.1`.
    pub(super) fn version(&self) -> String {
        match (self.get("valkey_version"), self.get("redis_version")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, Some(version)) => format!("Redis {version}"),
            (None, None) => "a server that does not tell its version".into(),
        }
    }

    /// The replicas as the primary sees them: `slave0:ip=..,port=..,state=online,offset=..,lag=0`.
    pub(super) fn replicas(&self) -> Vec<Info> {
        let count = self.number::<usize>("connected_slaves").unwrap_or(0).min(1000);
        let lines = (0..count).filter_map(|at| self.get(&format!("slave{at}")));
        let fields = |line: &str| {
            let pairs = line.split(',').filter_map(|field| field.split_once('='));
            Info(pairs.map(|(name, value)| (name.into(), value.into())).collect())
        };
        lines.map(fields).collect()
    }
}
