//! What a cluster is like for locks, beside what each of its nodes is.

use futures_util::future::join_all;
use redis::Value;
use tokio::time::timeout;

use super::Cluster;
use super::map::Map;
use crate::finding::{Finding, Level};
use crate::store::redis::at::At;

impl Cluster {
    /// What its nodes say of it.
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let map = self.map();
        let mut found = judged(&map);
        let said = join_all(map.primaries.iter().map(|at| self.said_by(at))).await;
        for (at, said) in map.primaries.iter().zip(said) {
            found.extend(
                said.iter().flat_map(|text| open_slots(text)).map(|finding| finding.at(at.to_string())),
            );
        }
        found
    }

    /// What a node knows of all nodes; nothing where it may not be asked, or is away, which is told elsewhere.
    async fn said_by(&self, at: &At) -> Option<String> {
        let asked = async {
            let mut connection = self.dial(at).await.ok()?;
            let told = redis::cmd("CLUSTER").arg("NODES").query_async::<Value>(&mut connection).await.ok()?;
            redis::from_redis_value(told).ok()
        };
        timeout(self.options.response_timeout, asked).await.ok().flatten()
    }
}

fn judged(map: &Map) -> Vec<Finding> {
    let mut found = Vec::new();
    let (primaries, replicas) = (map.primaries.len(), map.replicas.len());
    let what = format!("a cluster of {primaries} primaries and {replicas} replicas");
    found.push(Finding::new(Level::Note, "cluster", what, "each lock is at one of the primaries"));
    let none = map.without_owner();
    if none > 0 {
        let what = format!("{none} of the 256 shards of locks are in slots that no node has");
        let why = "whoever asks for one of their keys waits in vain";
        let fix = "redis-cli --cluster fix HOST:PORT";
        found.push(Finding::new(Level::Error, "slots", what, why).fix(fix));
    }
    if replicas < primaries {
        let what = format!("{primaries} primaries have {replicas} replicas between them");
        let why = "when a primary without one ends, its locks are away until it is back";
        found.push(Finding::new(Level::Warning, "cluster-replicas", what, why));
    }
    if primaries < 3 {
        let what = format!("{primaries} primaries cannot vote");
        let why = "a replica is promoted only when most primaries agree: at least three are needed";
        found.push(Finding::new(Level::Warning, "cluster-size", what, why));
    }
    found
}

/// Slots that are being moved from or to the node that says so, `[93->-...]` and `[93-<-...]`.
pub(super) fn open_slots(nodes: &str) -> Vec<Finding> {
    let own = nodes.lines().filter(|line| line.contains("myself"));
    let open: Vec<_> = own.flat_map(str::split_whitespace).filter(|word| word.starts_with('[')).collect();
    if open.is_empty() {
        return Vec::new();
    }
    let what = format!("slots are being moved: {}", open.join(" "));
    let why = "no lock in them can be taken, renewed or released until that is done";
    let fix = "let it end, or redis-cli --cluster fix HOST:PORT";
    vec![Finding::new(Level::Warning, "open-slots", what, why).fix(fix)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_are_left_half_moved_are_found() {
        let line = |words: &str| format!("07c37d 127.0.0.1:7001@17001 {words}\n");
        let well =
            line("myself,master - 0 0 1 connected 0-5460") + &line("master - 0 0 2 connected 5461-16383");
        assert_eq!(open_slots(&well), []);
        let open = line("myself,master - 0 0 1 connected 0-5460 [93->-292f8b] [77-<-e7d1ee]");
        assert!(open_slots(&open)[0].what.contains("[93->-292f8b] [77-<-e7d1ee]"));
    }
}
