//! The leases of this session that a majority has granted: under which token, and which nodes have them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::Loss;
use crate::name::{FencingToken, Ticket};
use crate::protocol::Request;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    known: Mutex<BTreeMap<Ticket, Lease>>,
    /// Told whenever one has ended, and when none is put on further nodes any more.
    ended: Notify,
    closing: AtomicBool,
}

/// One that a majority has granted.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// As it is asked of a node that does not have it: for the full ttl.
    pub(super) request: Request,
    /// The token that a majority has written down.
    pub(super) token: FencingToken,
    /// What is known of each node.
    nodes: Vec<Part>,
    /// Under which token each node counts when it is renewed.
    counted: Vec<FencingToken>,
    /// Whose answer to the request was heard: the others may still listen for a wake-up there.
    heard: Vec<bool>,
    /// Whether it lives on without this session.
    detached: Arc<AtomicBool>,
}

/// One node's part in a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It has it, under this token: the lease's own, or a larger one.
    Held(FencingToken),
    /// It has not said so, and may be asked for it.
    Missing,
    /// It is being asked for it.
    Asked,
    /// It said that it has ended there.
    Lost,
    /// It said that somebody has ended it there. Invariant: it is not put there again, for whoever did that may have
    /// been given the key by a majority since; the lease lives by the others, or not.
    Taken,
}

/// What the end of a lease at one node means.
pub(super) enum Ended {
    /// A majority is known to have it.
    Nothing,
    /// No majority is known to have it.
    Perhaps,
    /// No majority can have it any more. Its own token.
    Lease(FencingToken),
}

impl Leases {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Ticket, Lease>> {
        // Nothing panics while it is held, and it is whole at every step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that a majority has granted it.
    pub(super) fn insert(&self, request: Request, token: FencingToken, nodes: Vec<Part>, heard: Vec<bool>) {
        let counted = vec![token; nodes.len()];
        let lease = Lease { request, token, nodes, counted, heard, detached: Arc::default() };
        self.all().insert(lease.request.ticket, lease);
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<Lease> {
        self.all().get(&ticket).cloned()
    }

    pub(super) fn remove(&self, ticket: Ticket) -> Option<Lease> {
        let lease = self.all().remove(&ticket);
        self.ended.notify_waiters();
        lease
    }

    /// It lives on, and is whoever's who has its id. Invariant: whatever is under way for it takes nothing of it back.
    pub(super) fn detach(&self, ticket: Ticket) {
        if let Some(lease) = self.all().remove(&ticket) {
            lease.detached.store(true, Ordering::Release);
        }
        self.ended.notify_waiters();
    }

    /// Puts none on further nodes from now on.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.ended.notify_waiters();
    }

    /// Resolves when a lease is not to be put on further nodes: it has ended, or all do. Cancel safe.
    pub(super) async fn over(&self, ticket: Ticket, token: FencingToken) {
        loop {
            let mut told = pin!(self.ended.notified());
            // Before the look: what is said after it is not missed.
            told.as_mut().enable();
            let stands = self.all().get(&ticket).is_some_and(|lease| lease.token == token);
            if !stands || self.closing.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    /// Its next renewals ask for this life.
    pub(super) fn set_request(&self, request: Request) {
        if let Some(lease) = self.all().get_mut(&request.ticket) {
            lease.request = request;
        }
    }

    /// Writes down what a node has said. Answers whether the lease still stands, and is to be there.
    pub(super) fn at(&self, ticket: Ticket, token: FencingToken, node: usize, part: Part) -> bool {
        let mut all = self.all();
        let Some(lease) = all.get_mut(&ticket).filter(|lease| lease.token == token) else { return false };
        if lease.nodes[node] == Part::Taken {
            return false;
        }
        lease.nodes[node] = part;
        true
    }

    /// A node counts from now on, under the token by which it has the lease.
    pub(super) fn count(&self, ticket: Ticket, token: FencingToken, node: usize, held: FencingToken) {
        if let Some(lease) = self.all().get_mut(&ticket).filter(|lease| lease.token == token) {
            lease.counted[node] = held;
        }
    }

    /// A node has answered the request itself: it listens for it no more.
    pub(super) fn heard(&self, ticket: Ticket, token: FencingToken, node: usize) {
        if let Some(lease) = self.all().get_mut(&ticket).filter(|lease| lease.token == token) {
            lease.heard[node] = true;
        }
    }

    /// Says that a node is being asked for it, where it is missing; otherwise `false`.
    pub(super) fn ask(&self, ticket: Ticket, token: FencingToken, node: usize) -> bool {
        self.is_missing(ticket, token, node) && self.at(ticket, token, node, Part::Asked)
    }

    /// Whether a node does not have it, and is not asked for it either.
    pub(super) fn is_missing(&self, ticket: Ticket, token: FencingToken, node: usize) -> bool {
        let all = self.all();
        let lease = all.get(&ticket).filter(|lease| lease.token == token);
        lease.is_some_and(|lease| matches!(lease.nodes[node], Part::Missing | Part::Lost))
    }

    /// A node has said that it does not have it. Answers whether it is to be asked for it.
    pub(super) fn lacks(&self, ticket: Ticket, token: FencingToken, node: usize) -> bool {
        let mut all = self.all();
        let Some(lease) = all.get_mut(&ticket).filter(|lease| lease.token == token) else { return false };
        if matches!(lease.nodes[node], Part::Asked | Part::Taken) {
            return false;
        }
        lease.nodes[node] = Part::Missing;
        true
    }

    /// A node says that a lease of this token has ended there. Answers what that means for the lease. Invariant: a word
    /// about another grant of the same request says nothing.
    pub(super) fn lost_at(
        &self,
        node: usize,
        ticket: Ticket,
        token: FencingToken,
        loss: &Loss,
        majority: usize,
    ) -> Ended {
        let mut all = self.all();
        let Some(lease) = all.get_mut(&ticket) else { return Ended::Nothing };
        let meant = match lease.nodes[node] {
            Part::Held(held) => held == token,
            Part::Missing | Part::Asked => lease.token == token,
            Part::Lost | Part::Taken => false,
        };
        if !meant {
            return Ended::Nothing;
        }
        lease.nodes[node] = match loss {
            Loss::TakenOver { .. } | Loss::Released => Part::Taken,
            Loss::Expired | Loss::Gone => Part::Lost,
        };
        let count = |so: fn(&Part) -> bool| lease.nodes.iter().filter(|part| so(part)).count();
        if count(|part| !matches!(part, Part::Lost | Part::Taken)) < majority {
            return Ended::Lease(lease.token);
        }
        // The others may have it, or may never have had it: somebody else may have a majority by now.
        match count(|part| matches!(part, Part::Held(_))) < majority {
            true => Ended::Perhaps,
            false => Ended::Nothing,
        }
    }

    /// How many are known.
    #[cfg(feature = "testing")]
    pub(super) fn len(&self) -> usize {
        self.all().len()
    }
}

impl Lease {
    /// Whether it lives on without this session.
    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// Whether a node that has renewed it under this token shows that it never ended there. Invariant: under the lease's
    /// own token it did not, since whoever had it there in between would have left a larger one behind. Under a larger one
    /// it was put there later, when somebody else may already have had a majority.
    pub(super) fn counts(&self, node: usize, held: FencingToken) -> bool {
        held == self.token || held == self.counted[node]
    }

    /// Whether a node is known to have it under this token.
    pub(super) fn is_held(&self, node: usize, held: FencingToken) -> bool {
        self.nodes[node] == Part::Held(held)
    }

    /// Whether a node is known to have it, and to listen for it no more.
    pub(super) fn is_at(&self, node: usize) -> bool {
        matches!(self.nodes[node], Part::Held(_)) && self.heard[node]
    }
}
