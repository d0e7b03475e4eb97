//! The way of a verb to the node that has its shard, and its repetition over moves and failures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{ErrorKind, RedisResult, Value};
use tokio::time::{Instant, timeout};

use super::Cluster;
use super::line::Line;
use super::map;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::protocol::Micros;
use crate::store::redis::at::At;
use crate::store::redis::backoff::Backoff;
use crate::store::redis::command::Cmd;
use crate::store::redis::connection::Connection;
use crate::store::redis::examine;
use crate::store::redis::greeting::{self, Failed};
use crate::store::redis::keys;
use crate::store::redis::link::{Answered, Build};
use crate::store::redis::scripts::Verb;
use crate::store::redis::server_clock::ServerClock;
use crate::store::redis::trouble::{Kind, No, Trouble};

/// So often in a row is a redirection followed at once. Then the nodes do not agree yet.
const REDIRECTIONS: u32 = 4;

/// What is asked of the node that has a shard.
#[derive(Clone, Copy)]
pub(in crate::store::redis) enum What<'a> {
    /// A script that changes something.
    Changes(&'a Verb, Build<'a>),
    /// A script that only looks.
    Looks(&'a Verb, Build<'a>),
    Plain(&'a Cmd),
}

/// For how long one try is waited for, and whether it must not be carried out after that.
#[derive(Clone, Copy)]
pub(in crate::store::redis) struct Within {
    pub(in crate::store::redis) limit: Duration,
    pub(in crate::store::redis) in_time: bool,
}

/// A connection to a node, which is open.
pub(in crate::store::redis) struct Open {
    line: Arc<Line>,
    number: u64,
    connection: Connection,
}

impl Open {
    pub(in crate::store::redis) fn clock(&self) -> &ServerClock {
        &self.line.clock
    }
}

/// One try.
struct Try {
    again: bool,
    until: Option<Micros>,
    asking: bool,
}

/// Connections to the nodes, each opened when it is first needed, on the runtime that needs it.
pub(in crate::store::redis) struct Routes {
    pub(super) cluster: Arc<Cluster>,
    carries: &'static str,
    lines: Mutex<BTreeMap<At, Arc<Line>>>,
    /// How often the nodes were asked who has what.
    looked: AtomicU64,
    looking: tokio::sync::Mutex<()>,
}

impl Routes {
    pub(super) fn new(cluster: Arc<Cluster>, carries: &'static str) -> Self {
        let (lines, looked, looking) = (Mutex::default(), AtomicU64::new(0), tokio::sync::Mutex::new(()));
        Routes { cluster, carries, lines, looked, looking }
    }

    /// The same cluster over connections of its own.
    pub(in crate::store::redis) fn aside(&self) -> Self {
        Self::new(Arc::clone(&self.cluster), "renewals")
    }

    pub(in crate::store::redis) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<At, Arc<Line>>> {
        // Nothing panics while it is held, and it is whole at every step.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to a node, which may not be open yet.
    pub(super) fn line(&self, at: &At) -> Result<Arc<Line>, Failed> {
        if let Some(line) = self.lines().get(at) {
            return Ok(Arc::clone(line));
        }
        let line = Arc::new(self.cluster.line(at, self.carries)?);
        Ok(Arc::clone(self.lines().entry(at.clone()).or_insert(line)))
    }

    /// Those that are open.
    pub(super) fn open_now(&self) -> Vec<(Arc<At>, Connection)> {
        let lines = self.lines();
        lines.values().filter_map(|line| Some((Arc::clone(&line.at), line.now()?.1))).collect()
    }

    /// Asks the nodes anew who has what, unless that was done since it was so often.
    pub(super) async fn look(&self, looked: u64) -> Result<(), Failed> {
        let _one = self.looking.lock().await;
        if self.looked.load(Ordering::Acquire) > looked {
            return Ok(());
        }
        let found = self.cluster.find(&self.open_now(), |_| false).await;
        self.looked.fetch_add(1, Ordering::AcqRel);
        let map = self.cluster.map();
        self.lines().retain(|at, line| {
            let known = map.knows(at);
            if !known {
                line.close();
            }
            known
        });
        found
    }

    /// How often the nodes were asked.
    pub(super) fn looked(&self) -> u64 {
        self.looked.load(Ordering::Acquire)
    }

    /// Asks whoever has a shard, again and again until it is answered or the time for it is over.
    pub(in crate::store::redis) async fn call(
        &self,
        shard: u8,
        what: What<'_>,
        within: Within,
    ) -> Result<Answered> {
        let give_up = Instant::now() + self.cluster.options.give_up;
        let (mut backoff, mut unsure, mut redirected) = (Backoff::new(), None, 0);
        // Where the owner of the shard says that this request has to go.
        let mut asking: Option<At> = None;
        loop {
            if self.cluster.is_closed() {
                return Err(Error::Closed);
            }
            let looked = self.looked();
            let to = asking.take();
            let one = Try { again: unsure.is_some(), until: None, asking: to.is_some() };
            let at = to.map(Arc::new).or_else(|| self.cluster.map().owner(shard).cloned());
            let error = match at {
                None => self.unavailable(format!("slot {} has no node", map::slot_of(shard))),
                Some(at) => match self.try_at(&at, shard, what, within, one).await? {
                    Tried::Answered(answered) => return Ok(Answered { unsure, ..answered }),
                    Tried::Elsewhere { to, asks } => {
                        redirected += 1;
                        if asks {
                            asking = Some(to.clone());
                        } else {
                            self.cluster.moved(shard, &to);
                        }
                        if redirected % (REDIRECTIONS + 1) != 0 && Instant::now() < give_up {
                            continue;
                        }
                        asking = None;
                        self.unavailable(format!("{at} says that {to} has slot {}", map::slot_of(shard)))
                    }
                    Tried::Unsure(why) => {
                        unsure = Some(why.clone());
                        self.unavailable(format!("{at}: {why}"))
                    }
                    Tried::No(error) => error,
                },
            };
            if Instant::now() >= give_up {
                return Err(error);
            }
            // An error is one of those who were asked; whoever had the shard may come back.
            let _ = self.look(looked).await;
            backoff.pause().await;
        }
    }

    /// One try at one node.
    async fn try_at(
        &self,
        at: &At,
        shard: u8,
        what: What<'_>,
        Within { limit, in_time }: Within,
        one: Try,
    ) -> Result<Tried> {
        let line = match self.line(at) {
            Ok(line) => line,
            Err(failed) => return Ok(Tried::No(failed.later())),
        };
        let (number, connection) = match line.up().await {
            Ok(up) => up,
            Err(failed) if failed.kind == Kind::Never => return Err(failed.error),
            Err(failed) => return Ok(Tried::No(failed.later())),
        };
        let sent = Moment::now();
        let until = if in_time { line.clock.at(sent.after(limit)) } else { None };
        let one = Try { until, ..one };
        let asking = one.asking;
        let error = match run(&connection, shard, what, &one, limit).await {
            // It was answered by a node that is no primary any more: the next one may not know of it. An answer of one
            // that had the slot until it was moved counts, for its keys were moved along.
            Ok(_) if !asking && !self.cluster.map().is_primary(at) => {
                return Ok(Tried::Unsure("it was answered by an old primary".into()));
            }
            Ok(value) => {
                let clock = Some(Arc::clone(&line.clock));
                return Ok(Tried::Answered(Answered { value, sent, unsure: None, clock }));
            }
            Err(error) => error,
        };
        if let Some((to, _)) = error.redirect_node()
            && let Some(to) = map::redirected(to, at)
        {
            let asks = error.code() == Some("ASK");
            return Ok(Tried::Elsewhere { to, asks });
        }
        Ok(match Trouble::of(&error) {
            Trouble::Lost(why) => {
                line.lost(number, &self.unavailable(why.clone()));
                Tried::Unsure(why)
            }
            // Invariant: no script of ours begins while its slot is being moved, so none stops halfway. If one did,
            // asking again would find out what came of it.
            Trouble::No(No { why, .. }) if why.contains("non local key") => Tried::Unsure(why),
            Trouble::No(No { kind: Kind::Never, why, hint }) => {
                let store = self.cluster.store.to_string();
                let hint = if hint == examine::HINT { examine::CLUSTER_HINT } else { hint };
                return Err(Error::Refused { store, why: format!("{at}: {why}"), hint });
            }
            // It is no primary any more.
            Trouble::No(No { kind: Kind::NotNow, why, .. }) if why.contains("READONLY") => {
                let error = self.unavailable(format!("{at}: {why}"));
                line.lost(number, &error);
                Tried::No(error)
            }
            Trouble::No(No { why, .. }) => Tried::No(self.unavailable(format!("{at}: {why}"))),
            // What the answer says of the server's clock gives the next try all of its time.
            Trouble::TooLate(now) => {
                line.clock.read(sent, now);
                Tried::No(self.unavailable("requests arrive there when they are given up already".into()))
            }
            Trouble::NoScript => {
                Tried::No(self.unavailable("the server forgets scripts while it runs them".into()))
            }
        })
    }

    /// The connection to whoever has a shard, if it is open.
    pub(in crate::store::redis) fn open(&self, shard: u8) -> Option<Open> {
        let at = self.cluster.map().owner(shard).cloned()?;
        let line = Arc::clone(self.lines().get(&*at)?);
        let (number, connection) = line.now()?;
        Some(Open { line, number, connection })
    }

    /// Asks two plain commands once there, in one write. `None`: what came of them is not known, or nothing at all.
    pub(in crate::store::redis) async fn ask_two(&self, open: Open, both: [Cmd; 2]) -> Option<Value> {
        let Open { line, number, connection } = open;
        match connection.ask_two(both, self.cluster.options.response_timeout).await {
            // An old primary's answers do not count.
            Ok(answers) => self.cluster.is_primary(&line.at).then_some(answers),
            Err(error) => {
                if let Trouble::Lost(why) = Trouble::of(&error) {
                    line.lost(number, &self.unavailable(why));
                }
                None
            }
        }
    }

    /// The connection to whoever has a shard: its number, and where it is.
    pub(in crate::store::redis) async fn up(&self, shard: u8) -> Result<(u64, Arc<At>), Failed> {
        let looked = self.looked();
        let Some(at) = self.cluster.map().owner(shard).cloned() else {
            self.look(looked).await?;
            let why = format!("slot {} has no node", map::slot_of(shard));
            return Err(Failed::unavailable(&self.cluster.store, why));
        };
        match self.line(&at)?.up().await {
            Ok((number, _)) => Ok((number, at)),
            Err(failed) => {
                let _ = self.look(looked).await;
                Err(failed)
            }
        }
    }

    /// Another connection to a node.
    pub(in crate::store::redis) async fn dial(&self, at: &At) -> Result<Connection, Failed> {
        let limit = self.cluster.options.connect_timeout;
        let dialled = timeout(limit, self.cluster.dial(at)).await;
        dialled.unwrap_or_else(|_| Err(greeting::silent(limit, &self.cluster.store)))
    }

    /// Examines the cluster, and each of its nodes.
    pub(in crate::store::redis) async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        if self.cluster.is_closed() {
            return Err(Error::Closed);
        }
        self.look(self.looked()).await.map_err(|failed| failed.error)?;
        let nodes = self.cluster.nodes().map_err(|failed| failed.error)?;
        let mut findings: Vec<_> = self.cluster.findings().await;
        findings.extend(examine::examine(&nodes, ttl).await?);
        Ok(findings)
    }

    pub(in crate::store::redis) fn unavailable(&self, why: String) -> Error {
        Error::Unavailable { store: self.cluster.store.to_string(), why }
    }

    /// Closes all connections.
    pub(in crate::store::redis) fn close(&self) {
        for line in self.lines().values() {
            line.close();
        }
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.close();
    }
}

/// What came of one try.
enum Tried {
    Answered(Answered),
    /// Not carried out: another node has the slot, or has what of it was moved already.
    Elsewhere {
        to: At,
        asks: bool,
    },
    /// It may have been carried out.
    Unsure(String),
    /// It was not.
    No(Error),
}

/// Runs it; a script by its hash, and by its source where the server does not know it.
async fn run(
    connection: &Connection,
    shard: u8,
    what: What<'_>,
    one: &Try,
    limit: Duration,
) -> RedisResult<Value> {
    match query(connection, command(shard, what, one, Verb::by_hash), one.asking, limit).await {
        Err(error) if Trouble::is_no_script(&error) => {
            query(connection, command(shard, what, one, Verb::by_source), one.asking, limit).await
        }
        answer => answer,
    }
}

async fn query(connection: &Connection, cmd: Cmd, asking: bool, limit: Duration) -> RedisResult<Value> {
    if !asking {
        return connection.ask(cmd, limit).await;
    }
    // It holds for the next command of this connection, which nobody else's may be.
    let both = connection.ask_two([Cmd::new("ASKING"), cmd], limit).await?;
    // What the server says of the second one, as if it had been sent alone; unless the user may not ask so.
    let both = if let Value::Array(both) = both { both } else { Vec::new() };
    match <[Value; 2]>::try_from(both) {
        Ok([Value::ServerError(said), _] | [_, Value::ServerError(said)]) => Err(said.into()),
        Ok([_, answer]) => Ok(answer),
        Err(_) => Err((ErrorKind::Parse, "not as many answers as questions").into()),
    }
}

fn command(shard: u8, what: What<'_>, one: &Try, begin: fn(&Verb) -> Cmd) -> Cmd {
    let built = |verb: &Verb, build: Build<'_>| {
        let mut cmd = begin(verb);
        build(&mut cmd, one.again);
        verb.until(&mut cmd, one.until);
        cmd
    };
    match what {
        What::Plain(cmd) => cmd.clone(),
        What::Looks(verb, build) => built(verb, build),
        // Invariant: no script that changes something runs while its slot is being moved. A server runs it as long as
        // all of its keys are there, and stops it in the middle at the first command that means a key which is not, as
        // one that it has just deleted itself: half of it would be done. A key that is never there is asked for before
        // the script begins, and then both nodes say no (`ASK`, `TRYAGAIN`) until the slot has been moved.
        What::Changes(verb, build) => built(verb, build).with_key(&keys::shard_nothing(shard)),
    }
}
