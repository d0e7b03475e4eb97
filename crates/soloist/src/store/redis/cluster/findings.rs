//! What a cluster is like for locks, beside what each of its nodes is.

use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::map::Map;
use super::{ASKED, Cluster, OTHERS, Routes};
use crate::finding::{Finding, Level};
use crate::observe;
use crate::store::redis::at::At;
use crate::store::redis::examine;

impl Routes {
    /// Looks at what loses locks, when a store is opened: at as many primaries as are asked for the map, and of those
    /// at the ones that answer about as soon as the first. Their connections are used later on. Whoever may not ask is
    /// not bothered.
    pub(in crate::store::redis) async fn at_connect(&self) {
        let one = async |at: Arc<At>| {
            let (_, mut connection) = self.line(&at).ok()?.up().await.ok()?;
            Some((at, redis::cmd("INFO").query_async::<Value>(&mut connection).await))
        };
        let (map, store) = (self.cluster.map(), &self.cluster.store);
        let mut asked: FuturesUnordered<_> = map.primaries.iter().take(ASKED).cloned().map(one).collect();
        let mut end = Instant::now() + self.cluster.options.response_timeout;
        // What several nodes have in common is told once.
        let mut found: Vec<(Finding, Vec<String>)> = Vec::new();
        while let Ok(Some(answered)) = timeout_at(end, asked.next()).await {
            end = end.min(Instant::now() + OTHERS);
            match answered {
                Some((at, Ok(told))) => {
                    for finding in examine::grave(told) {
                        match found.iter_mut().find(|(known, _)| *known == finding) {
                            Some((_, nodes)) => nodes.push(at.to_string()),
                            None => found.push((finding, vec![at.to_string()])),
                        }
                    }
                }
                Some((_, Err(error))) => observe::not_examined(store, &error),
                None => {}
            }
        }
        for (finding, mut nodes) in found {
            nodes.sort_unstable();
            let what = format!("{}: {}", nodes.join(", "), finding.what);
            observe::may_lose_locks(store, &Finding { what, ..finding });
        }
    }
}

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
    if primaries < 3 {
        let what = format!("{primaries} primaries cannot vote");
        let why = "a replica is promoted only when most primaries agree: at least three are needed";
        let fix = "redis-cli --cluster add-node NEW:PORT HOST:PORT; redis-cli --cluster rebalance HOST:PORT --cluster-use-empty-masters";
        found.push(Finding::new(Level::Warning, "cluster-size", what, why).fix(fix));
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
