//! One question to one node: who has which slots?

use redis::Value;

use super::map::{self, Map};
use crate::store::redis::at::At;
use crate::store::redis::connection::Connection;
use crate::store::redis::examine;
use crate::store::redis::greeting::{self, Failed};
use crate::store::redis::trouble::{Kind, No, Trouble};

/// Asks a node.
pub(super) async fn ask(mut connection: Connection, asked: &At, store: &str) -> Result<Map, Failed> {
    let mut nodes = redis::cmd("CLUSTER");
    nodes.arg("NODES");
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    let slots: Value = slots.query_async(&mut connection).await.map_err(|error| failed(&error, store))?;
    let nodes: String = nodes.query_async(&mut connection).await.map_err(|error| failed(&error, store))?;
    Map::of(&slots, &map::epochs(&nodes), asked).ok_or_else(|| {
        let why = "its answer to CLUSTER SLOTS makes no sense to this version".into();
        Failed::refused(store, No { kind: Kind::Away, why, hint: greeting::NO_CLUSTER })
    })
}

fn failed(error: &redis::RedisError, store: &str) -> Failed {
    match Trouble::of(error) {
        Trouble::No(No { why, .. }) if why.contains("cluster support disabled") => {
            let why = "it is not in cluster mode".into();
            Failed::refused(store, No { kind: Kind::Never, why, hint: greeting::NO_CLUSTER })
        }
        Trouble::No(No { why, .. }) if why.starts_with("NOPERM") => {
            Failed::refused(store, No { kind: Kind::Never, why, hint: examine::CLUSTER_HINT })
        }
        _ => greeting::failed(error, store),
    }
}
