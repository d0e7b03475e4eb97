//! A cluster: many primaries, each with a part of the slots.
//!
//! All names of one lock share a slot, so each lock is at one node: the map says which. It is learned from any node, and
//! learned anew when a node says that a slot is elsewhere, when a connection is lost, and now and then. Nothing is
//! ever asked of a replica.

mod ask;
mod ear;
mod findings;
mod hearing;
mod line;
mod map;
#[cfg(feature = "testing")]
pub(crate) mod parse;
mod routes;
mod url;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::Client;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout, timeout_at};

use self::line::Line;
use self::map::Map;
use self::url::Seeds;
use super::at::At;
use super::connection::Connection;
use super::greeting::{self, Failed};
use super::nodes::Nodes;
use super::options::RedisOptions;
use super::scripts::ScriptClock;
use super::server_clock::ServerClock;
use super::trouble::Kind;
use crate::error::Result;
use crate::store::Told;
use crate::store::hub::Hub;

pub(super) use self::hearing::Hearing;
pub(super) use self::routes::{Routes, What, Within};

/// How long the others have to answer when the first has.
const OTHERS: Duration = Duration::from_millis(250);
/// How long an answer that is older than the one before is not believed. Then the cluster was set up anew.
const OLDER: Duration = Duration::from_secs(60);
/// So many nodes are asked at once at most.
const ASKED: usize = 8;

/// What all connections to a cluster have in common.
pub(super) struct Cluster {
    pub(super) store: Arc<str>,
    pub(super) options: RedisOptions,
    seeds: Seeds,
    map: watch::Sender<Arc<Map>>,
    /// Since when nodes tell of something that is older than what is known.
    older_since: Mutex<Option<Instant>>,
    /// What is known of each node's clock.
    clocks: Mutex<BTreeMap<At, Arc<ServerClock>>>,
    hub: Arc<Hub>,
    events: broadcast::WeakSender<Told>,
    by: ScriptClock,
    /// How often there was a reason to look at the map anew.
    hints: watch::Sender<u64>,
    closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held, and what they guard is whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// The cluster of a URL; `None` if it is not about one.
    pub(super) fn of(
        url: &str,
        (store, options): (Arc<str>, RedisOptions),
        hub: &Arc<Hub>,
        (events, by): (&broadcast::Sender<Told>, ScriptClock),
    ) -> Result<Option<Arc<Self>>> {
        let Some(seeds) = Seeds::of(url)? else { return Ok(None) };
        Ok(Some(Arc::new(Cluster {
            store,
            options,
            seeds,
            map: watch::Sender::new(Arc::default()),
            older_since: Mutex::default(),
            clocks: Mutex::default(),
            hub: Arc::clone(hub),
            events: events.downgrade(),
            by,
            hints: watch::Sender::new(0),
            closed: AtomicBool::new(false),
        })))
    }

    /// Connects for the first time: what no waiting helps against is an error, whichever node of the URL says so.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Routes, Failed> {
        self.find(&[], |failed| failed.kind == Kind::Never).await?;
        Ok(Routes::new(Arc::clone(self), "verbs"))
    }

    /// What is known of it now.
    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.borrow())
    }

    /// How to connect to a node.
    fn client(&self, at: &At) -> Result<Client, Failed> {
        at.client(&self.seeds.login, &self.store)
    }

    fn line(&self, at: &At, carries: &'static str) -> Result<Line, Failed> {
        let (client, common) = (self.client(at)?, (Arc::clone(&self.store), self.options.clone()));
        Ok(Line::new(Arc::new(at.clone()), client, self.clock(at), carries, common))
    }

    fn clock(&self, at: &At) -> Arc<ServerClock> {
        let new = || {
            let name = format!("{} at {at}", self.store).into();
            Arc::new(ServerClock::of(name, Arc::clone(&self.hub), self.events.clone(), self.by))
        };
        Arc::clone(lock(&self.clocks).entry(at.clone()).or_insert_with(new))
    }

    /// Asks nodes who has what; of each shard the newest of their answers counts. `open` are connections that are there. `ends` tells
    /// for which failure of a node of the URL no other is asked.
    async fn find(
        &self,
        open: &[(Arc<At>, Connection)],
        ends: impl Fn(&Failed) -> bool,
    ) -> Result<(), Failed> {
        let (map, limit) = (self.map(), self.options.connect_timeout);
        let mut nodes: Vec<At> = open.iter().map(|(at, _)| At::clone(at)).collect();
        // Those that are known, and then those of the URL, which were there once.
        let known = map.primaries.iter().chain(&map.replicas).map(|at| At::clone(at));
        for at in known.chain(self.seeds.named.iter().cloned()) {
            if !nodes.contains(&at) {
                nodes.push(at);
            }
        }
        nodes.truncate(ASKED.max(self.seeds.named.len()));
        let one = async |at: At| {
            let open = open.iter().find(|(there, _)| **there == at).map(|(_, open)| open.clone());
            let answer = timeout(limit, async {
                let connection = match open {
                    Some(open) => open,
                    None => self.dial(&at).await?,
                };
                ask::ask(connection, &at, &self.store).await
            });
            let answer = answer.await.unwrap_or_else(|_| Err(greeting::silent(limit, &self.store)));
            (at, answer)
        };
        let mut asked: FuturesUnordered<_> = nodes.into_iter().map(one).collect();
        let (mut newest, mut passed, mut end) = (None::<Map>, Vec::new(), None);
        loop {
            let answered = match end {
                None => asked.next().await,
                Some(end) => timeout_at(end, asked.next()).await.unwrap_or_default(),
            };
            match answered {
                Some((_, Ok(map))) => {
                    end = end.or_else(|| Some(Instant::now() + OTHERS));
                    newest = Some(match newest {
                        Some(newest) => newest.and(map),
                        None => map,
                    });
                }
                Some((at, Err(failed))) if ends(&failed) => return Err(failed.at(&at.to_string())),
                Some((at, Err(failed))) => passed.push((at.to_string(), failed)),
                None => break,
            }
        }
        match newest {
            Some(map) if map.primaries.is_empty() => {
                let why = "its nodes have no slots: see redis-cli --cluster check".into();
                Err(Failed::unavailable(&self.store, why))
            }
            Some(map) => {
                self.believe(map);
                Ok(())
            }
            None => Err(Failed::none(&self.store, "none of its nodes tells who has which slots", &passed)),
        }
    }

    async fn dial(&self, at: &At) -> Result<Connection, Failed> {
        Connection::open(&self.client(at)?).await.map_err(|error| greeting::failed(&error, &self.store))
    }

    /// Invariant: no answer leads back to what is known to be over, as while the nodes that know better are cut off. Not
    /// for ever, for a cluster that is set up anew begins to count anew.
    fn believe(&self, map: Map) {
        let mut older_since = lock(&self.older_since);
        let (merged, older) = map.clone().after(&self.map.borrow());
        let disbelieved = older && older_since.get_or_insert_with(Instant::now).elapsed() < OLDER;
        let map = if disbelieved { merged } else { map };
        if !disbelieved {
            *older_since = None;
        }
        self.map.send_if_modified(|known| {
            let news = **known != map;
            *known = Arc::new(map);
            news
        });
    }

    /// A node says that another has a shard.
    fn moved(&self, shard: u8, to: &At) {
        let news = self.map.send_if_modified(|known| {
            // A copy, for others may be looking at it.
            let mut map = Map::clone(known);
            let news = map.moved(shard, to);
            if news {
                *known = Arc::new(map);
            }
            news
        });
        if news {
            self.hint();
        }
    }

    /// Something is not as the map says.
    fn hint(&self) {
        self.hints.send_modify(|count| *count += 1);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.hint();
    }

    /// Whether a node is a primary, as far as is known.
    pub(super) fn is_primary(&self, at: &At) -> bool {
        self.map.borrow().is_primary(at)
    }

    /// A shard of each primary, to ask each of them something.
    pub(super) fn a_shard_of_each(&self) -> Vec<u8> {
        let (map, mut seen) = (self.map(), Vec::new());
        let mut shards = Vec::new();
        for shard in 0..=u8::MAX {
            if let Some(owner) = map.owner(shard).filter(|owner| !seen.contains(owner)) {
                seen.push(owner);
                shards.push(shard);
            }
        }
        shards
    }

    /// All nodes, as servers to be examined.
    pub(super) fn nodes(&self) -> Result<Nodes, Failed> {
        let map = self.map();
        let all = map.primaries.iter().chain(&map.replicas);
        let node = |at: &Arc<At>| self.client(at).map(|client| (client, map.a_shard_of(at)));
        let nodes = all.map(node).collect::<Result<_, _>>()?;
        Ok(Nodes::of_cluster(Arc::clone(&self.store), nodes, self.options.clone()))
    }
}
