//! Puts a lease on the nodes that do not have it: in the background, in its turn, and taken from nobody.

use std::sync::Arc;
use std::time::Duration;

use super::leases::{Lease, Leases, Part};
use super::round::Round;
use super::settle::{first, one, renewed};
use super::{Nodes, Shared, judge};
use crate::error::Result;
use crate::name::{FencingToken, Key, Ticket};
use crate::protocol::{Answer, Mode, Renewal, Renewed, Request, Who};
use crate::store::{Reply, Store};

/// How long a node that does not have a lease is waited for to have it.
const SEED: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Who has not answered when a majority has.
pub(super) struct Late {
    pub(super) round: Round<Renewed>,
    pub(super) heard: Vec<bool>,
    pub(super) asked: Option<Round<Reply>>,
}

impl Late {
    async fn answered(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.until(|_| false).await;
        }
        self.round.until(|_| false).await;
    }

    fn is_heard(&self, at: usize) -> bool {
        let granted = |reply: &Reply| matches!(reply.answer, Answer::Granted(_));
        let late = || self.asked.as_ref().and_then(|asked| asked.answers[at].as_ref());
        self.heard[at] || matches!(late(), Some(Ok(reply)) if granted(reply))
    }

    /// The lease has ended before they answered: nothing of it stays with them.
    async fn leave(self, nodes: &Nodes, key: &Key, ticket: Ticket) {
        let unheard: Vec<usize> = (0..nodes.len()).filter(|at| !self.is_heard(*at)).collect();
        // Invariant: it is not asked again after this: a request that is dropped is not repeated.
        drop(self);
        let mut leaving = Round::some(
            nodes,
            |at| unheard.contains(&at),
            |_, node| {
                let key = key.clone();
                async move { judge::again(|| node.leave(&key, ticket)).await }
            },
        );
        leaving.until(|_| false).await;
    }
}

/// Has each node that does not have a lease asked for it, once at a time, in the background, when those who are
/// late have answered.
pub(super) fn fill_up(
    shared: &Arc<Shared>,
    nodes: &Nodes,
    ticket: Ticket,
    token: FencingToken,
    late: Option<Late>,
) {
    let at_once = late.as_ref().is_none_or(|late| !late.round.is_open() && late.asked.is_none());
    if at_once && !(0..nodes.len()).any(|at| shared.leases.is_missing(ticket, token, at)) {
        return;
    }
    let Some(lease) = shared.leases.get(ticket) else { return };
    let (leases, nodes) = (Arc::clone(&shared.leases), nodes.clone());
    shared.seeds.begin(async move {
        if let Some(mut late) = late {
            let ended = tokio::select! {
                biased;
                () = leases.over(ticket, token) => true,
                () = late.answered() => false,
            };
            if ended && !lease.is_detached() {
                return late.leave(&nodes, &lease.request.key, ticket).await;
            }
            if ended {
                return;
            }
            for (at, answer) in late.round.given() {
                if let Some(held) = renewed(answer).filter(|_| late.is_heard(at)) {
                    leases.heard(ticket, token, at);
                    leases.at(ticket, token, at, Part::Held(held));
                }
            }
        }
        let missing: Vec<usize> = (0..nodes.len()).filter(|at| leases.ask(ticket, token, *at)).collect();
        let Some(lease) = leases.get(ticket).filter(|_| !missing.is_empty()) else { return };
        let which = |at: usize| missing.contains(&at);
        let mut round =
            Round::some(&nodes, which, |at, node| fill(at, node, Arc::clone(&leases), lease.clone()));
        round.until(|_| false).await;
    });
}

/// Puts a lease on one node, in its turn and for a while, or leaves nothing of it there.
async fn fill(at: usize, node: Arc<dyn Store>, leases: Arc<Leases>, lease: Lease) -> Result<()> {
    let (ticket, token, key) = (lease.request.ticket, lease.token, &lease.request.key);
    let limit = lease.request.ttl.duration().map_or(SEED.1, |ttl| (ttl / 3).clamp(SEED.0, SEED.1));
    let held = tokio::select! {
        biased;
        () = leases.over(ticket, token) => None,
        seeded = tokio::time::timeout(limit, seed(&*node, &lease)) => seeded.ok().and_then(Result::ok).flatten(),
    };
    if lease.is_detached() {
        return Ok(());
    }
    if held.is_some() {
        leases.heard(ticket, token, at);
    }
    let stands = leases.at(ticket, token, at, held.map_or(Part::Missing, Part::Held));
    if held.is_none() || !stands {
        // Out of the line, and of what was granted too late.
        judge::again(|| node.leave(key, ticket)).await?;
    }
    Ok(())
}

/// Puts a lease on a node that does not have it, when its turn comes there: taken from nobody.
async fn seed(node: &dyn Store, lease: &Lease) -> Result<Option<FencingToken>> {
    let request = Request { mode: Mode::Line, ..first(&lease.request) };
    let mut reply = node.acquire(&request).await?;
    if matches!(reply.answer, Answer::Queued(_)) {
        reply = node.wait(&request, reply).await?;
    }
    if !matches!(reply.answer, Answer::Granted(_)) {
        return Ok(None);
    }
    let Request { key, ticket, ttl, .. } = lease.request.clone();
    let renewal = Renewal { key, who: Who::Ticket(ticket), ttl, detach: false, at_least: Some(lease.token) };
    Ok(renewed(&one(node, renewal).await?))
}
