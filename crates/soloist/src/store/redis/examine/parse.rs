//! The door to what a server says when it is examined; see `testing::parse`.

use std::time::Duration;

use redis::Value;

use super::info::Info;
use super::rights::{Missing, Of};
use super::{data, service};

/// Whatever a server says of itself and of its settings, it is judged.
pub(crate) fn info(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut info = Info::of(&text);
    let words = text.split_whitespace().map(|word| Value::BulkString(word.into())).collect();
    info.take(&Value::Array(words));
    let ttl = Duration::from_secs(30);
    let several = text.len().is_multiple_of(2);
    let mut found = data::role(&info, several, several);
    found.extend(service::version(&info));
    found.extend(data::eviction(&info));
    found.extend(data::memory(&info));
    found.extend(data::persistence(&info));
    found.extend(data::min_replicas(&info));
    found.extend(data::failover(&info));
    found.extend(service::limits(&info, Duration::from_secs(3)));
    found.extend(service::clock(info.number("ahead").unwrap_or(0), Duration::ZERO, ttl));
    let mut missing = Missing::default();
    text.lines().for_each(|line| missing.take("get", line));
    found.extend(missing.finding("u", if several { Of::Node(None) } else { Of::Server }));
    assert!(found.iter().all(|finding| !finding.code.is_empty() && !finding.why.is_empty()));
}

pub(crate) fn info_seeds() -> Vec<Vec<u8>> {
    [
        "redis_version:7.0.15\r\nconnected_clients:10\r\nmaxclients:10\r\ntimeout:3\r\nrole:master\r\n",
        "maxmemory:100\r\nused_memory:99\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\nahead:-9\r\n",
        "connected_slaves:2\r\nrole:slave\r\nslave0:ip=1,port=2,state=online,offset=3,lag=0\r\nmaster_link_status:down",
        "client-output-buffer-limit:normal 0 0 0 pubsub 1 2 60\nlua-time-limit:50\nsave:\nconnected_slaves:99999",
        "client-output-buffer-limit pubsub save  appendfsync no",
        "role:slave\ncluster-require-full-coverage:yes\ncluster-replica-no-failover:yes\ncluster-replica-validity-factor:0",
        "NOPERM this user has no permissions to access one of the channels",
        "connected_clients:18446744073709551615\nmaxclients:18446744073709551615",
    ]
    .map(Into::into)
    .into()
}
