//! The Sentinels of a URL, and which node they name as the primary.
//!
//! All are asked at once, and the newest of their answers counts: a Sentinel that was cut off may still name an old
//! primary. Whatever one says unasked (`+switch-master`) is a hint to ask.

mod ask;
mod findings;
#[cfg(feature = "testing")]
pub(crate) mod parse;
mod url;
mod watch;

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Client, ConnectionInfo};
use tokio::sync::watch as channel;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use self::ask::Answer;
use super::at::At;
use super::greeting::Failed;
use super::options::RedisOptions;
use super::trouble::Kind;

/// How long the others have to answer when the first has.
const OTHERS: Duration = Duration::from_millis(250);
/// How long an answer that is older than the one before is not believed. Then the Sentinels were set up anew.
const OLDER: Duration = Duration::from_secs(60);
/// So many Sentinels are learned at most.
const MOST_LEARNED: usize = 16;
/// So many addresses of nodes are remembered at least. Where each failover brings new ones, old ones are dropped.
const NODES_KEPT: usize = 64;

/// What a URL says of them, and what they have said.
pub(super) struct Sentinels {
    shared: Arc<Shared>,
    /// How to connect to a node; only its address is still to be told.
    node: ConnectionInfo,
    told: Mutex<Told>,
    watch: OnceLock<JoinHandle<()>>,
}

/// What the task that hears them needs, too.
struct Shared {
    store: Arc<str>,
    options: RedisOptions,
    /// What they call the primary and its replicas.
    name: String,
    /// Those of the URL.
    named: Vec<At>,
    /// How to connect to one.
    login: ConnectionInfo,
    /// All that are known: those of the URL, and then those that they know of.
    all: channel::Sender<Vec<At>>,
    /// How often one had something to say.
    hints: channel::Sender<u64>,
}

/// What they have said.
#[derive(Default)]
struct Told {
    /// Nodes have numbers that only ever grow; the first of these has the number `dropped`.
    nodes: VecDeque<Node>,
    dropped: usize,
    /// The epoch of the newest answer, and since when there are only older ones.
    epoch: u64,
    older_since: Option<Instant>,
}

/// A node that was named as the primary.
struct Node {
    at: At,
    client: Client,
    /// How many hints there had been when it was asked for and named last: a later one may be about another.
    hints: u64,
}

/// The primary: its number, and how to connect to it.
pub(super) struct Named {
    pub(super) node: usize,
    pub(super) client: Client,
}

impl Sentinels {
    fn told(&self) -> MutexGuard<'_, Told> {
        // Nothing panics while it is held, and it is whole at every step.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks who the primary is. Answers that, and how many hints there had been before. `ends` tells for which failure
    /// of a Sentinel of the URL no other is asked.
    pub(super) async fn primary(&self, ends: impl Fn(&Failed) -> bool) -> Result<(Named, u64), Failed> {
        // Before the first question: what is hinted from now on may be unknown to the answers.
        let hints = self.hints();
        let all = self.shared.all.borrow().clone();
        let one = |at: At| async {
            let answer = ask::ask(&self.shared, &at).await;
            (at, answer)
        };
        let mut asked: FuturesUnordered<_> = all.into_iter().map(one).collect();
        let (mut newest, mut passed, mut end) = (None::<Answer>, Vec::new(), None);
        let (mut learned, mut present) = (Vec::new(), HashSet::new());
        loop {
            let answered = match end {
                None => asked.next().await,
                Some(end) => timeout_at(end, asked.next()).await.unwrap_or_default(),
            };
            match answered {
                Some((at, Ok(answer))) => {
                    end = end.or_else(|| Some(Instant::now() + OTHERS));
                    learned.extend(answer.sentinels.iter().cloned());
                    if self.shared.named.contains(&at) {
                        present.insert(answer.id.clone());
                    }
                    if newest.as_ref().is_none_or(|newest| answer.epoch > newest.epoch) {
                        newest = Some(answer);
                    }
                }
                Some((at, Err(failed))) if ends(&failed) && self.shared.named.contains(&at) => {
                    return Err(failed.at(&format!("the Sentinel {at}")));
                }
                Some((at, Err(failed))) => passed.push((at.to_string(), failed)),
                None => break,
            }
        }
        let Some(newest) = newest else {
            return Err(Failed::none(&self.shared.store, "none of its Sentinels names a primary", &passed));
        };
        // One that is named by another address than it tells of itself is one all the same.
        learned.retain(|(_, id)| !present.contains(id));
        self.shared.learn(learned.into_iter().map(|(at, _)| at));
        let why = {
            let mut told = self.told();
            if told.believes(newest.epoch) {
                let named = told.number(newest.primary, hints, &self.node, &self.shared.store)?;
                return Ok((named, hints));
            }
            format!("its Sentinels that answer know an older primary only, {}", newest.primary)
        };
        Err(Failed::unavailable(&self.shared.store, why))
    }

    /// All that were named and are remembered.
    pub(super) fn nodes(&self) -> Range<usize> {
        let told = self.told();
        told.dropped..told.dropped + told.nodes.len()
    }

    /// How to connect to a node that was named.
    pub(super) fn client(&self, node: usize) -> Option<Client> {
        self.told().get(node).map(|node| node.client.clone())
    }

    /// How to connect to a node that they have not named.
    pub(super) fn client_at(&self, at: &At) -> Result<Client, Failed> {
        at.client(&self.node, &self.shared.store)
    }

    /// The address of a node that was named.
    pub(super) fn address(&self, node: usize) -> String {
        self.told().get(node).map_or_else(|| format!("node {node}"), |node| node.at.to_string())
    }

    /// Begins to listen for what they say, once.
    pub(super) fn listen(&self) {
        self.watch.get_or_init(|| tokio::spawn(watch::all(Arc::clone(&self.shared))));
    }

    /// Listens no more.
    pub(super) fn close(&self) {
        if let Some(watch) = self.watch.get() {
            watch.abort();
        }
    }

    /// How often they have had something to say.
    pub(super) fn hints(&self) -> u64 {
        *self.shared.hints.borrow()
    }

    /// Returns when one has said something since there were so many hints.
    pub(super) async fn hinted(&self, before: u64) {
        let mut hints = self.shared.hints.subscribe();
        // The sender lives as long as this.
        let _ = hints.wait_for(|count| *count != before).await;
    }

    /// Returns when they name another node than this, and why it is not used any more.
    pub(super) async fn switched(&self, from: usize) -> String {
        // Others may ask, too, and hear of another: what counts is when this one was named last.
        let mut before = self.told().get(from).map_or(0, |node| node.hints);
        loop {
            self.hinted(before).await;
            before = self.hints();
            // Where none answers, whoever uses the node finds out by himself whether it serves.
            if let Ok((Named { node, .. }, _)) = self.primary(|_| false).await
                && node != from
            {
                return format!("the Sentinels name {} as the primary now", self.address(node));
            }
        }
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// The limit for one question, or to begin to listen.
    fn limit(&self) -> Duration {
        self.options.connect_timeout
    }

    /// How to connect to a Sentinel.
    fn client(&self, at: &At) -> Result<Client, Failed> {
        at.client(&self.login, &self.store)
    }

    /// Those that are known of by hearsay stand behind those of the URL, and are forgotten when nobody names them.
    fn learn(&self, learned: impl Iterator<Item = At>) {
        let mut all = self.named.clone();
        for at in learned {
            if all.len() < self.named.len() + MOST_LEARNED && !all.contains(&at) {
                all.push(at);
            }
        }
        self.all.send_if_modified(|known| {
            let news = known.len() != all.len() || all.iter().any(|at| !known.contains(at));
            if news {
                *known = all;
            }
            news
        });
    }

    fn hint(&self) {
        self.hints.send_modify(|count| *count += 1);
    }
}

impl Told {
    /// Invariant: no answer leads back to a primary that is known to be an old one, as while the Sentinels which know
    /// the new one are cut off. Not for ever, for Sentinels that are set up anew begin to count anew.
    fn believes(&mut self, epoch: u64) -> bool {
        let older = epoch < self.epoch;
        if older && self.older_since.get_or_insert_with(Instant::now).elapsed() < OLDER {
            return false;
        }
        (self.epoch, self.older_since) = (epoch, None);
        true
    }

    fn get(&self, node: usize) -> Option<&Node> {
        self.nodes.get(node.checked_sub(self.dropped)?)
    }

    /// The number of a node that is named, which it keeps for as long as it is remembered.
    fn number(&mut self, at: At, hints: u64, login: &ConnectionInfo, store: &str) -> Result<Named, Failed> {
        if let Some(place) = self.nodes.iter().position(|known| known.at == at) {
            let known = &mut self.nodes[place];
            known.hints = known.hints.max(hints);
            return Ok(Named { node: self.dropped + place, client: known.client.clone() });
        }
        let client = at.client(login, store)?;
        if self.nodes.len() == NODES_KEPT {
            self.nodes.pop_front();
            self.dropped += 1;
        }
        self.nodes.push_back(Node { at, client: client.clone(), hints });
        Ok(Named { node: self.dropped + self.nodes.len() - 1, client })
    }
}

/// Whether no waiting helps against a failure.
pub(super) fn for_ever(failed: &Failed) -> bool {
    failed.kind == Kind::Never
}
