//! Where a store is: at which of its nodes, over which connection.
//!
//! Invariant: the connection that hears is at the node of the connection for the verbs. A primary counts who hears
//! a wake-up among its own connections only, so whoever heard elsewhere would be passed over as dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::nodes::{Found, Nodes};
use crate::error::{Error, Result};
use crate::observe;

/// How the connection for the verbs is.
pub(super) enum State {
    Up {
        generation: u64,
        node: usize,
        connection: Connection,
    },
    /// Why; `told` when waiting for it would not help.
    Down {
        error: Error,
        told: bool,
    },
    Closed,
}

/// What verbs, listener and keeper know together.
#[derive(Clone)]
pub(super) struct Seat {
    nodes: Arc<Nodes>,
    /// What the connection carries, as it is logged.
    pub(super) carries: &'static str,
    state: watch::Sender<State>,
    /// The last connection of which it is known that its node was not the primary any more.
    deposed: Arc<AtomicU64>,
    /// At which node that was.
    deposed_at: Arc<AtomicUsize>,
}

/// No node has this number.
fn nowhere() -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(usize::MAX))
}

impl Seat {
    pub(super) fn new(nodes: Arc<Nodes>, (node, connection): Found) -> Self {
        let state = watch::Sender::new(State::Up { generation: 1, node, connection });
        Seat { nodes, carries: "verbs", state, deposed: Arc::default(), deposed_at: nowhere() }
    }

    /// A seat beside this one, for renewals: nothing is open yet.
    pub(super) fn beside(&self) -> Self {
        let error = self.unavailable("it was not connected yet".into());
        let state = watch::Sender::new(State::Down { error, told: false });
        Seat {
            nodes: Arc::clone(&self.nodes),
            carries: "renewals",
            state,
            deposed: Arc::default(),
            deposed_at: nowhere(),
        }
    }

    /// Whether the connection is ended for good.
    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.state.borrow(), State::Closed)
    }

    pub(super) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The connection, if it is up.
    pub(super) fn now(&self) -> Option<(u64, Connection)> {
        match &*self.state.borrow() {
            State::Up { generation, connection, .. } => Some((*generation, connection.clone())),
            _ => None,
        }
    }

    /// The connection, once it is up.
    pub(super) async fn up(&self, give_up: Instant) -> Result<(u64, Connection)> {
        let mut states = self.state.subscribe();
        let settled = states.wait_for(|state| !matches!(state, State::Down { told: false, .. }));
        let settled = timeout_at(give_up, settled).await.map(|state| {
            state.map(|state| match &*state {
                State::Up { generation, connection, .. } => Ok((*generation, connection.clone())),
                State::Down { error, .. } => Err(error.clone()),
                State::Closed => Err(Error::Closed),
            })
        });
        match settled {
            Ok(Ok(outcome)) => outcome,
            // The sender lives as long as this seat.
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => match &*self.state.borrow() {
                State::Down { error, .. } => Err(error.clone()),
                _ => Err(self.unavailable(format!("no connection within {:?}", self.nodes.options.give_up))),
            },
        }
    }

    /// Which connection is up, and at which node it is.
    pub(super) fn here(&self) -> Option<(u64, usize)> {
        match &*self.state.borrow() {
            State::Up { generation, node, .. } => Some((*generation, *node)),
            _ => None,
        }
    }

    /// Drops a connection. One that owes a reply is never used again.
    pub(super) fn lost(&self, broken: u64, error: Error) -> Error {
        self.leave(error, |state| matches!(state, State::Up { generation, .. } if *generation == broken))
    }

    /// Drops a connection whose node is not the primary any more. What it still answers does not count.
    pub(super) fn depose(&self, (old, node): (u64, usize), error: Error) {
        self.deposed_at.store(node, Ordering::Release);
        self.deposed.fetch_max(old, Ordering::AcqRel);
        self.lost(old, error);
    }

    /// Whether the node of a connection is known not to be the primary any more. So are those before it.
    pub(super) fn is_deposed(&self, generation: u64) -> bool {
        generation <= self.deposed.load(Ordering::Acquire)
    }

    /// Whether the connection is lost because its node, this one, is not the primary any more.
    pub(super) fn has_left(&self, state: &State, node: usize) -> bool {
        matches!(state, State::Down { .. }) && self.deposed_at.load(Ordering::Acquire) == node
    }

    /// Has the primary looked for anew, where there are several nodes: the connection that hears was lost at this
    /// one, so that it may be dead, which an idle connection for the verbs does not tell.
    pub(super) fn doubt(&self, doubtful: usize, why: &str) {
        if self.nodes.several() {
            let error = self.unavailable(format!("no wake-ups are heard: {why}"));
            self.leave(error, |state| matches!(state, State::Up { node, .. } if *node == doubtful));
        }
    }

    fn leave(&self, error: Error, broken: impl FnOnce(&State) -> bool) -> Error {
        let lost = self.state.send_if_modified(|state| {
            let current = broken(state);
            if current {
                *state = State::Down { error: error.clone(), told: false };
            }
            current
        });
        // One connection is lost once, however many requests it carried.
        if lost {
            observe::connection_lost(&self.nodes.store, self.carries, &error);
        }
        error
    }

    /// Changes the state for good or bad, unless it is closed.
    pub(super) fn change(&self, next: State) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                *state = next;
            }
            open
        });
    }

    /// Ends the connection; everybody who waits for it is told.
    pub(super) fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    /// The node to hear at, once it is known.
    pub(super) async fn node(&self) -> usize {
        let mut states = self.state.subscribe();
        loop {
            if let Some(node) = self.at(&states.borrow_and_update()) {
                return node;
            }
            // The sender lives as long as this seat.
            let _ = states.changed().await;
        }
    }

    /// The node to hear at in this state. A single one is always the one.
    pub(super) fn at(&self, state: &State) -> Option<usize> {
        match state {
            _ if !self.nodes.several() => Some(0),
            State::Up { node, .. } => Some(*node),
            State::Down { .. } | State::Closed => None,
        }
    }

    /// Whether the node to hear at is this one now.
    pub(super) fn is_at(&self, node: usize) -> bool {
        self.at(&self.state.borrow()) == Some(node)
    }

    /// Returns when the verbs go to another node than this.
    pub(super) async fn moved(&self, from: usize) {
        let mut states = self.state.subscribe();
        // The sender lives as long as this seat.
        let _ = states.wait_for(|state| self.at(state).is_some_and(|node| node != from)).await;
    }

    pub(super) fn unavailable(&self, why: String) -> Error {
        Error::Unavailable { store: self.nodes.store.to_string(), why }
    }

    pub(super) fn refused(&self, why: String, hint: &'static str) -> Error {
        Error::Refused { store: self.nodes.store.to_string(), why, hint }
    }
}
