//! Several independent stores, of which a majority decides: a lease is held while most of them say so. None of them
//! knows of the others. What this costs and what it is good for: docs/quorum.md.

mod chores;
mod contend;
mod ears;
mod fill;
mod judge;
pub mod late;
mod leases;
mod line;
mod look;
mod open;
mod round;
mod settle;
mod tally;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use self::chores::Chores;
use self::ears::Ears;
use self::leases::Leases;
use self::round::{Round, count};
use super::{EventStream, Notice, Reply, Store};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::name::{Key, Ticket};
use crate::protocol::{
    KeyInfo, Left, Outcome, Publication, Published, Released, Renewal, Renewed, Request, Ttl, Want, Who,
};

/// The fewest nodes: with fewer, one that is down is a majority, or all that there is.
const FEWEST: usize = 3;
/// The most: each request asks all of them.
const MOST: usize = 15;
/// By how much longer than its holder believes a lease lives at the nodes: a hundredth, for clocks that run
/// differently, and this for those that count in milliseconds.
const DRIFT: Duration = Duration::from_millis(2);
/// How long to wait for the others' word, once a majority has answered and has not decided.
const GRACE: Duration = Duration::from_millis(250);
/// How long the end waits for what is still being told to slow nodes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Several independent stores, of which a majority decides. By URL: `quorum:redis://a,redis://b,redis://c`.
///
/// A lease is granted when a majority of the nodes has granted it *and* has written down its fencing token; it counts
/// from before the first of the two was asked. A minority of nodes may be down, slow, or cut off. What is not
/// offered: work-once, and leases that end with their process.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// use std::sync::Arc;
/// use soloist::Client;
/// use soloist::store::{Store, memory::MemoryStore, quorum::QuorumStore};
///
/// let nodes: Vec<Arc<dyn Store>> = (0..3).map(|_| Arc::new(MemoryStore::new()) as Arc<dyn Store>).collect();
/// let store = QuorumStore::new(nodes.clone())?;
/// let client = Client::builder().store(Arc::new(store))?;
/// nodes[0].close().await; // a minority may go
/// let lease = client.lock("report:42").await?;
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct QuorumStore {
    name: Arc<str>,
    nodes: Nodes,
    shared: Arc<Shared>,
}

/// What a store and its [`Store::aside`] have together.
#[derive(Debug)]
struct Shared {
    leases: Arc<Leases>,
    /// What puts leases on further nodes.
    seeds: Chores,
    chores: Chores,
    ears: Ears,
    closed: AtomicBool,
}

/// The nodes, in the order that everybody gives them in.
#[derive(Clone, Debug)]
pub(super) struct Nodes(Arc<[Arc<dyn Store>]>);

impl Deref for Nodes {
    type Target = [Arc<dyn Store>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Nodes {
    /// How many decide.
    pub(super) fn majority(&self) -> usize {
        self.len() / 2 + 1
    }

    /// How many are too many to fail.
    pub(super) fn blocking(&self) -> usize {
        self.len() - self.majority() + 1
    }
}

/// The life of a lease at the nodes: a little longer than its holder believes. Invariant: no node ends a lease before
/// its holder's own clock does, as long as the clocks agree on a second to within a hundredth.
fn lengthened(ttl: Ttl) -> Ttl {
    match ttl {
        Ttl::Micros(us) => Ttl::Micros(us.saturating_add(us / 100).saturating_add(DRIFT.as_micros() as u64)),
        Ttl::Forever => Ttl::Forever,
    }
}

impl QuorumStore {
    /// A majority of these stores decides. Everybody has to give the same ones; in the same order, that contenders
    /// agree sooner.
    ///
    /// # Errors
    /// [`Error::BadUrl`] unless it is an odd number of them, from 3 to 15.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(nodes: Vec<Arc<dyn Store>>) -> Result<Self> {
        let name = Self::check(nodes.len(), || nodes.iter().map(|node| node.name().to_owned()).collect())?;
        let (nodes, leases) = (Nodes(nodes.into()), Arc::new(Leases::default()));
        let ears = Ears::new(&nodes, &leases);
        let shared = Arc::new(Shared {
            leases,
            seeds: Chores::default(),
            chores: Chores::default(),
            ears,
            closed: AtomicBool::new(false),
        });
        Ok(QuorumStore { name, nodes, shared })
    }

    /// The name of so many nodes, if so many can decide.
    fn check(count: usize, names: impl FnOnce() -> Vec<String>) -> Result<Arc<str>> {
        let name = format!("quorum:{}", names().join(","));
        if count.is_multiple_of(2) || !(FEWEST..=MOST).contains(&count) {
            let why = format!("a quorum has an odd number of nodes, {FEWEST} to {MOST}, not {count}");
            return Err(Error::BadUrl { url: name, why });
        }
        Ok(name.into())
    }

    /// How many leases this store knows of: those that are held, and none that has ended.
    #[cfg(feature = "testing")]
    pub fn known(&self) -> usize {
        self.shared.leases.len()
    }

    fn no_flights(&self) -> Error {
        if self.shared.closed.load(Ordering::Relaxed) {
            return Error::Closed;
        }
        Error::Refused {
            store: self.name.to_string(),
            why: "work-once is not offered on a quorum: a result would need a majority of its own to be the only one"
                .into(),
            hint: "compute under a lock, or have the flights on one store: redis://HOST, redis-sentinel://…",
        }
    }

    /// Why no majority has decided.
    fn undecided(&self, errors: &[&Error]) -> Error {
        judge::undecided(&self.name, &self.nodes, errors)
    }

    /// Asks some nodes to make an end of a request.
    fn leave_round(&self, key: &Key, ticket: Ticket, which: impl Fn(usize) -> bool) -> Round<Left> {
        Round::some(&self.nodes, which, |_, node| {
            let key = key.clone();
            async move { node.leave(&key, ticket).await }
        })
    }

    /// Makes an end of a request also at the nodes that have not answered this round, or with an error: in the
    /// background, for a while. Invariant: whoever gives something up does so everywhere.
    fn see_through<T: Send + 'static>(&self, mut round: Round<T>, key: &Key, ticket: Ticket) {
        let failed = |answer: &Option<Result<T>>| matches!(answer, Some(Err(error)) if !matches!(error, Error::Closed));
        if !round.is_open() && !round.answers.iter().any(failed) {
            return;
        }
        let (nodes, key) = (self.nodes.clone(), key.clone());
        self.shared.chores.begin(async move {
            round.until(|_| false).await;
            let which = |at: usize| failed(&round.answers[at]);
            let mut rest = Round::some(&nodes, which, |_, node| {
                let key = key.clone();
                async move { judge::again(|| node.leave(&key, ticket)).await }
            });
            rest.until(|_| false).await;
        });
    }

    /// Goes on listening to those who have not answered, for a while: what they were asked arrives.
    fn hear_out<T: Send + 'static>(&self, mut round: Round<T>) {
        if round.is_open() {
            self.shared.chores.begin(async move { round.until(|_| false).await });
        }
    }

    async fn release_mine(&self, key: &Key, ticket: Ticket) -> Result<Released> {
        let known = self.shared.leases.remove(ticket);
        let mut round = Round::ask(&self.nodes, |at, node| {
            let (key, held) = (key.clone(), known.as_ref().is_some_and(|lease| lease.is_at(at)));
            async move {
                let released = node.release(&key, &Who::Ticket(ticket)).await?;
                if !held {
                    // It may stand in line there for the lease, or still listen for it.
                    node.leave(&key, ticket).await?;
                }
                Ok(released)
            }
        });
        let (majority, blocking) = (self.nodes.majority(), self.nodes.blocking());
        let released = |answer: &Released| matches!(answer, Released::Released { .. });
        let held_by_others = |answer: &Released| matches!(answer, Released::NotHeld(_));
        round
            .until_or(&self.nodes, GRACE, |answers| {
                count(answers, released) >= majority || count(answers, held_by_others) >= blocking
            })
            .await;
        let (yes, no) = (round.count(released), round.count(held_by_others));
        let token = known.map(|lease| lease.token).or_else(|| {
            judge::token(round.given().filter_map(|(_, answer)| match answer {
                Released::Released { token } => Some(*token),
                Released::NotHeld(_) => None,
            }))
        });
        let holding = judge::holding(round.given().filter_map(|(_, answer)| match answer {
            Released::NotHeld(holding) => holding.clone(),
            Released::Released { .. } => None,
        }));
        let closed = round.errors().iter().any(|error| matches!(error, Error::Closed));
        let why = self.undecided(&round.errors());
        self.see_through(round, key, ticket);
        match token {
            Some(token) if yes >= majority => Ok(Released::Released { token }),
            _ if no >= blocking => Ok(Released::NotHeld(holding)),
            _ if closed => Err(Error::Closed),
            _ if yes + no == 0 => Err(why),
            _ => Err(Error::Unknown { verb: "release", key: key.clone(), why: why.to_string() }),
        }
    }

    /// Ends whatever a holder, or anybody, has.
    async fn release_theirs(&self, key: &Key, who: &Who) -> Result<Released> {
        let mut round = Round::ask(&self.nodes, |_, node| {
            let (key, who) = (key.clone(), who.clone());
            async move { node.release(&key, &who).await }
        });
        let majority = self.nodes.majority();
        round.until(|answers| count(answers, |_| true) >= majority).await;
        let tokens = round.given().filter_map(|(_, answer)| match answer {
            Released::Released { token } => Some(*token),
            Released::NotHeld(_) => None,
        });
        let token = judge::token(tokens);
        let holdings = round.given().filter_map(|(_, answer)| match answer {
            Released::NotHeld(holding) => holding.clone(),
            Released::Released { .. } => None,
        });
        let (holding, answered) = (judge::holding(holdings), round.count(|_| true));
        let sure = round.errors().iter().all(|error| !matches!(error, Error::Unknown { .. }));
        let why = self.undecided(&round.errors());
        self.hear_out(round);
        match token {
            // Where a majority does not have it any more, nobody has it.
            Some(token) if answered >= majority => Ok(Released::Released { token }),
            None if answered >= majority => Ok(Released::NotHeld(holding)),
            None if answered == 0 && sure => Err(why),
            _ => Err(Error::Unknown { verb: "release", key: key.clone(), why: why.to_string() }),
        }
    }
}

#[async_trait]
impl Store for QuorumStore {
    fn name(&self) -> &str {
        &self.name
    }

    async fn acquire(&self, request: &Request) -> Result<Reply> {
        match request.want {
            Want::Lock => self.contend(request).await,
            Want::Flight => Err(self.no_flights()),
        }
    }

    async fn wait(&self, request: &Request, _: Reply) -> Result<Reply> {
        self.stand(request).await
    }

    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        self.shared.leases.remove(ticket);
        let mut round = self.leave_round(key, ticket, |_| true);
        let majority = self.nodes.majority();
        round.until(|answers| count(answers, |_| true) >= majority).await;
        let answered = round.count(|_| true);
        let (lease, line) =
            (round.count(|left| *left == Left::Lease), round.count(|left| *left == Left::Line));
        let closed = round.errors().iter().any(|error| matches!(error, Error::Closed));
        let why = self.undecided(&round.errors());
        self.see_through(round, key, ticket);
        match () {
            () if answered < majority && closed => Err(Error::Closed),
            () if answered < majority => Err(why),
            () if lease >= majority => Ok(Left::Lease),
            () if lease + line > 0 => Ok(Left::Line),
            () => Ok(Left::Absent),
        }
    }

    fn settles(&self) -> Duration {
        self.nodes.iter().map(|node| node.settles()).max().unwrap_or_default()
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        self.renew_all(renewals).await
    }

    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        match who {
            Who::Ticket(ticket) => self.release_mine(key, *ticket).await,
            Who::Holder(_) | Who::Any => self.release_theirs(key, who).await,
        }
    }

    async fn publish(&self, _: &Publication) -> Result<Published> {
        Err(self.no_flights())
    }

    async fn forget(&self, _: &Key) -> Result<bool> {
        Err(self.no_flights())
    }

    async fn touch(&self, key: &Key) -> Result<()> {
        let mut round = Round::ask(&self.nodes, |_, node| {
            let key = key.clone();
            async move { node.touch(&key).await }
        });
        let majority = self.nodes.majority();
        round.until(|answers| count(answers, |()| true) >= majority).await;
        match round.count(|()| true) >= majority {
            true => Ok(()),
            false => Err(self.undecided(&round.errors())),
        }
    }

    async fn result(&self, _: &Key) -> Result<Option<Outcome>> {
        Err(self.no_flights())
    }

    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        self.look_at(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        self.look_for(prefix).await
    }

    async fn events(&self) -> Result<EventStream> {
        tally::events(&self.name, &self.nodes).await
    }

    async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        self.look_into(ttl).await
    }

    fn aside(&self) -> Option<Arc<dyn Store>> {
        let asides: Vec<_> = self.nodes.iter().map(|node| node.aside()).collect();
        if asides.iter().all(Option::is_none) {
            return None;
        }
        let nodes: Vec<_> = asides
            .into_iter()
            .zip(self.nodes.iter())
            .map(|(aside, own)| aside.unwrap_or(Arc::clone(own)))
            .collect();
        let (name, shared) = (Arc::clone(&self.name), Arc::clone(&self.shared));
        Some(Arc::new(QuorumStore { name, nodes: Nodes(nodes.into()), shared }))
    }

    fn longest_ttl(&self) -> Option<Duration> {
        let longest = self.nodes.iter().filter_map(|node| node.longest_ttl()).min()?;
        // What is asked of the nodes is longer than what the client asks for.
        Some(longest.saturating_sub(DRIFT).mul_f64(100.0 / 101.0))
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.shared.ears.listen()
    }

    async fn stop_waiting(&self) {
        self.shared.leases.close();
        self.shared.seeds.end(LAST_WORDS / 4).await;
        futures_util::future::join_all(self.nodes.iter().map(|node| node.stop_waiting())).await;
    }

    async fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.stop_waiting().await;
        self.shared.chores.end(LAST_WORDS).await;
        futures_util::future::join_all(self.nodes.iter().map(|node| node.close())).await;
        self.shared.ears.close();
    }
}
