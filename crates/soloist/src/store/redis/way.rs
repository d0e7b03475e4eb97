//! How a verb reaches the server that has its key, and how that server is heard: one, or one of a cluster.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::Value;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::at::At;
use super::cluster::{Hearing, Routes, What, Within};
use super::command::Cmd;
use super::connection::Connection;
use super::examine;
use super::greeting::Failed;
use super::link::{Answered, Build, Link};
use super::listen::Listener;
use super::options::RedisOptions;
use super::scripts::Verb;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::protocol::Micros;
use crate::store::{Results, Told};

/// The way of the verbs.
///
/// Whatever goes to a cluster is in a box of its own: it is large, and whoever asks a single server, as most do, has no
/// room kept for it in each of its futures.
#[derive(Clone)]
pub(super) enum Way {
    /// All keys are at one server.
    One(Arc<Link>),
    /// Each shard is at one of several.
    Cluster(Arc<Routes>),
}

/// The way of the verbs, as long as somebody else keeps it.
pub(super) enum WeakWay {
    One(Weak<Link>),
    Cluster(Weak<Routes>),
}

impl WeakWay {
    pub(super) fn upgrade(&self) -> Option<Way> {
        match self {
            WeakWay::One(link) => link.upgrade().map(Way::One),
            WeakWay::Cluster(routes) => routes.upgrade().map(Way::Cluster),
        }
    }
}

impl Way {
    pub(super) fn downgrade(&self) -> WeakWay {
        match self {
            Way::One(link) => WeakWay::One(Arc::downgrade(link)),
            Way::Cluster(routes) => WeakWay::Cluster(Arc::downgrade(routes)),
        }
    }

    /// Whether the keys of one call have to be of one shard.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Way::Cluster(_))
    }

    /// The connection, where there is one only.
    pub(super) fn link(&self) -> Result<&Link> {
        match self {
            Way::One(link) => Ok(link),
            Way::Cluster(_) => Err(self.refused(
                "the keys of an older system have no hash tag".into(),
                "a bridge needs the single server of the older system, redis://",
            )),
        }
    }

    fn within(options: &RedisOptions, size: usize, in_time: bool) -> Within {
        // A large result takes its time on a slow line: a second for each MiB.
        let limit = options.response_timeout + Duration::from_secs((size >> 20) as u64);
        Within { limit, in_time }
    }

    /// Runs a verb on keys of this shard, again and again until it is answered or the time for it is over. It may be
    /// carried out even later.
    pub(super) async fn call(&self, shard: u8, verb: &Verb, build: Build<'_>) -> Result<Answered> {
        self.call_sized(shard, verb, 0, build).await
    }

    /// Runs a verb that must not be carried out once it was given up.
    pub(super) async fn call_in_time(&self, shard: u8, verb: &Verb, build: Build<'_>) -> Result<Answered> {
        match self {
            Way::One(link) => link.call_in_time(verb, build).await,
            Way::Cluster(routes) => {
                let within = Self::within(&routes.cluster().options, 0, true);
                Box::pin(routes.call(shard, What::Changes(verb, build), within)).await
            }
        }
    }

    /// Runs a verb that carries so many bytes.
    pub(super) async fn call_sized(
        &self,
        shard: u8,
        verb: &Verb,
        size: usize,
        build: Build<'_>,
    ) -> Result<Answered> {
        match self {
            Way::One(link) => link.call_sized(verb, size, build).await,
            Way::Cluster(routes) => {
                let within = Self::within(&routes.cluster().options, size, false);
                Box::pin(routes.call(shard, What::Changes(verb, build), within)).await
            }
        }
    }

    /// Runs a verb that changes nothing.
    pub(super) async fn look(&self, shard: u8, verb: &Verb, build: Build<'_>) -> Result<Answered> {
        match self {
            Way::One(link) => link.call(verb, build).await,
            Way::Cluster(routes) => {
                let within = Self::within(&routes.cluster().options, 0, false);
                Box::pin(routes.call(shard, What::Looks(verb, build), within)).await
            }
        }
    }

    /// Runs a plain command where a shard is.
    pub(super) async fn command(&self, shard: u8, cmd: &Cmd) -> Result<Value> {
        match self {
            Way::One(link) => link.command(cmd).await,
            Way::Cluster(routes) => {
                let within = Self::within(&routes.cluster().options, 0, false);
                let answered = Box::pin(routes.call(shard, What::Plain(cmd), within)).await;
                answered.map(|answered| answered.value)
            }
        }
    }

    /// Takes in what the server's clock showed when it answered.
    pub(super) fn read(&self, Answered { sent, clock, .. }: &Answered, now: Micros) {
        match (self, clock) {
            (Way::One(link), _) => link.clock().read(*sent, now),
            (Way::Cluster(_), Some(clock)) => clock.read(*sent, now),
            (Way::Cluster(_), None) => {}
        }
    }

    pub(super) fn refused(&self, why: String, hint: &'static str) -> Error {
        match self {
            Way::One(link) => link.refused(why, hint),
            Way::Cluster(routes) => Error::Refused { store: routes.cluster().store.to_string(), why, hint },
        }
    }

    /// The answer's meaning, or an error that says that it has none.
    pub(super) fn meant<T>(&self, answer: Option<T>) -> Result<T> {
        answer.ok_or_else(|| {
            let why = "its answer makes no sense to this version".into();
            self.refused(why, "does another version, or another program, use keys named soloist:1:…?")
        })
    }

    /// The same way over connections of its own.
    pub(super) fn aside(&self) -> Self {
        match self {
            Way::One(link) => Way::One(Arc::new(link.aside())),
            Way::Cluster(routes) => Way::Cluster(Arc::new(routes.aside())),
        }
    }

    /// Ends the connections; everybody who waits for them is told.
    pub(super) fn close(&self) {
        match self {
            Way::One(link) => link.close(),
            Way::Cluster(routes) => routes.close(),
        }
    }
}

/// At which server a shard is, over which connection of the verbs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    number: u64,
    node: usize,
    /// Where there are several shards.
    at: Option<Arc<At>>,
}

impl Spot {
    /// Whether it is of an earlier connection than that one, to the same shards.
    pub(super) fn is_before(&self, now: &Spot) -> bool {
        self.at == now.at && self.number != now.number
    }
}

impl Way {
    /// Where a shard is now, or why that is not known.
    pub(super) async fn spot(&self, shard: u8, give_up: Instant) -> Result<Result<Spot, String>> {
        match self {
            Way::One(link) => {
                link.seat().up(give_up).await?;
                let here = link.seat().here().ok_or("the connection was lost");
                Ok(here.map(|(number, node)| Spot { number, node, at: None }).map_err(Into::into))
            }
            Way::Cluster(routes) => {
                let up = routes.up(shard).await.map_err(|failed| failed.why());
                Ok(up.map(|(number, at)| Spot { number, node: 0, at: Some(at) }))
            }
        }
    }

    /// Another connection to the same server.
    pub(super) async fn dial(&self, spot: &Spot) -> Result<Connection, Failed> {
        match (self, &spot.at) {
            (Way::Cluster(routes), Some(at)) => routes.dial(at).await,
            (Way::One(link), _) => link.seat().nodes().dial(spot.node).await,
            (Way::Cluster(routes), None) => {
                Err(Failed::unavailable(&routes.cluster().store, "no node is known".into()))
            }
        }
    }

    /// Whether the server is known not to be a primary any more.
    pub(super) fn has_left(&self, spot: &Spot) -> bool {
        match (self, &spot.at) {
            (Way::One(link), _) => link.seat().is_deposed(spot.number),
            (Way::Cluster(routes), Some(at)) => !routes.cluster().is_primary(at),
            (Way::Cluster(_), None) => true,
        }
    }

    pub(super) fn options(&self) -> &RedisOptions {
        match self {
            Way::One(link) => &link.seat().nodes().options,
            Way::Cluster(routes) => &routes.cluster().options,
        }
    }

    pub(super) fn unavailable(&self, why: String) -> Error {
        match self {
            Way::One(link) => link.seat().unavailable(why),
            Way::Cluster(routes) => routes.unavailable(why),
        }
    }

    /// Examines every server.
    pub(super) async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        match self {
            Way::One(link) if link.seat().is_closed() => Err(Error::Closed),
            Way::One(link) => examine::examine(link.seat().nodes(), ttl).await,
            Way::Cluster(routes) => routes.examine(ttl).await,
        }
    }
}

/// What hears.
#[derive(Clone)]
pub(super) enum Ears {
    One(Arc<Listener>),
    Cluster(Arc<Hearing>),
}

impl Ears {
    /// Waits, but not longer than this, until the wake-ups of a shard are heard where the verbs go: who joins the line
    /// unheard is passed over.
    pub(super) async fn hears(&self, shard: u8, limit: Duration) -> Result<()> {
        match self {
            Ears::One(listener) => {
                // Mostly it does; what waits is in a box, for there may be very many who ask.
                if !listener.is_heard() {
                    Box::pin(listener.hears(limit)).await;
                }
                Ok(())
            }
            Ears::Cluster(hearing) => Box::pin(hearing.hears(shard, limit)).await,
        }
    }

    /// Whether the wake-ups of a shard are heard now where the verbs go.
    pub(super) fn is_heard(&self, shard: u8) -> bool {
        match self {
            Ears::One(listener) => listener.is_heard(),
            Ears::Cluster(hearing) => hearing.is_heard(shard),
        }
    }

    /// All events from now on.
    pub(super) async fn events(&self, store: &str, limit: Duration) -> Result<broadcast::Receiver<Told>> {
        match self {
            Ears::One(listener) => listener.events(store, limit).await,
            Ears::Cluster(hearing) => hearing.events(limit).await,
        }
    }

    /// What becomes of results from now on. Of a cluster nobody can tell up to when all has been heard.
    pub(super) async fn results(&self, store: &str, limit: Duration) -> Result<Option<Box<dyn Results>>> {
        match self {
            Ears::One(listener) => listener.results(store, limit).await.map(Some),
            Ears::Cluster(_) => Ok(None),
        }
    }

    /// Ends all subscriptions, and returns when the servers know; where that takes too long they find out by
    /// themselves.
    pub(super) async fn end(&self, limit: Duration) {
        match self {
            Ears::One(listener) => listener.end(limit).await,
            Ears::Cluster(hearing) => hearing.end(limit).await,
        }
    }
}
