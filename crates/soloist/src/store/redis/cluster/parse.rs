//! The doors to URLs and to what nodes of a cluster say; see `testing::parse`.

use redis::Value;

use super::findings;
use super::map::{self, Map};
use super::url::Seeds;
use crate::store::redis::at::At;
use crate::store::redis::parse::{of_tree, tree};
use crate::store::url::PASSWORD;

fn asked() -> At {
    At { host: "h".into(), port: 1 }
}

/// A URL of a cluster. No error of it has the password, and each host becomes a node.
pub(crate) fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // These name files, which are read: of those on this machine nothing is known.
    if ["ca", "cert", "key", "%"].iter().any(|name| text.contains(name)) || text.contains(PASSWORD) {
        return;
    }
    let own = format!("redis-cluster://u:{PASSWORD}@h1,h2{text}");
    for url in [format!("redis-cluster://{text}"), own, text.into()] {
        match Seeds::of(&url) {
            Ok(Some(seeds)) => assert!(!seeds.named.is_empty()),
            Ok(None) => {}
            // What has an @ behind the login has two readings.
            Err(error) if !text.contains('@') => {
                assert!(!format!("{error} {error:?}").contains(PASSWORD), "{text}: {error}");
            }
            Err(_) => {}
        }
    }
}

pub(crate) fn url_seeds() -> Vec<Vec<u8>> {
    ["h1", "h1:7001,h2:7002/0", "[::1]:7001,h2", ":7003?boot_guard=3s", "/1", ",h3#x"].map(Into::into).into()
}

/// What a node answers.
pub(crate) fn answer(mut bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let epochs = map::epochs(&text);
    findings::open_slots(&text);
    if let Some(to) = map::redirected(&text, &asked()) {
        assert!(to.port > 0 && !to.host.is_empty());
    }
    if let Some(map) = Map::of(&tree(&mut bytes, 4), &epochs, &asked()) {
        let owners = (0..=u8::MAX).filter_map(|shard| map.owner(shard));
        for owner in owners {
            assert!(map.is_primary(owner) && map.knows(owner));
        }
    }
}

pub(crate) fn answer_seeds() -> Vec<Vec<u8>> {
    let node = |host: &[u8], port| {
        Value::Array(vec![
            Value::BulkString(host.to_vec()),
            Value::Int(port),
            Value::BulkString(b"id".to_vec()),
        ])
    };
    let range = Value::Array(vec![
        Value::Int(0),
        Value::Int(16383),
        node(b"h1", 7001),
        node(b"", 7002),
        node(b"?", 7003),
    ]);
    let text = [
        "cluster_current_epoch:7\r\n",
        "[::1]:7001",
        ":7001",
        "id h myself,master - 0 0 1 connected 0-9 [9->-id]",
    ];
    let mut all: Vec<Vec<u8>> = text.map(Into::into).into();
    all.push(of_tree(&Value::Array(vec![range])));
    all
}
