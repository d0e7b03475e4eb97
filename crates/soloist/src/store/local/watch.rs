//! Noticing that a session has died, at once: who stands in line watches the one in front.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::fifo;
use super::folder::Folder;
use crate::name::{Session, Ticket};
use crate::protocol::Wake;
use crate::store::hub::Hub;

/// How many sessions are watched at most for which nobody waits just now: in a line that few processes pass a key
/// around, each stands behind the same ones time and again.
const IDLE: usize = 128;

/// The sessions that this one watches, and for which of its tickets. Dropping it ends all watches.
#[derive(Debug)]
pub(super) struct Watches {
    state: Mutex<State>,
    hub: Arc<Hub>,
    runtime: Handle,
}

#[derive(Debug, Default)]
struct State {
    tickets: HashMap<Ticket, Session>,
    sessions: HashMap<Session, Watch>,
    closed: bool,
}

/// One watch a session, whatever the number of waiters.
#[derive(Debug)]
struct Watch {
    tickets: HashSet<Ticket>,
    task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watches {
    pub(super) fn new(hub: Arc<Hub>, runtime: Handle) -> Arc<Self> {
        Arc::new(Watches { state: Mutex::default(), hub, runtime })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `ticket` looks when this session ends, and no longer when another one does.
    pub(super) fn watch(self: &Arc<Self>, folder: &Folder, ticket: Ticket, ahead: Option<Session>) {
        let mut state = self.state();
        if state.tickets.get(&ticket) == ahead.as_ref() || state.closed {
            return;
        }
        state.unwatch(ticket);
        let Some(session) = ahead else { return };
        if !state.sessions.contains_key(&session) {
            let Some(task) = self.start(folder, session) else {
                // It ended in between: there is nothing left to wait for.
                drop(state);
                self.hub.tell(ticket, Wake::Look);
                return;
            };
            state.sessions.insert(session, Watch { tickets: HashSet::new(), task });
        }
        state.tickets.insert(ticket, session);
        if let Some(watch) = state.sessions.get_mut(&session) {
            watch.tickets.insert(ticket);
        }
    }

    /// This ticket watches no longer.
    pub(super) fn unwatch(&self, ticket: Ticket) {
        self.state().unwatch(ticket);
    }

    /// Ends all watches, and begins no more.
    pub(super) fn close(&self) {
        *self.state() = State { closed: true, ..State::default() };
    }

    /// Watches a session's FIFO: an open writing end reports an error once the last reader is gone. `None`
    /// if it is gone already.
    fn start(self: &Arc<Self>, folder: &Folder, session: Session) -> Option<AbortHandle> {
        let fd = match fifo::open(&folder.sessions, &session.to_string()) {
            Ok(fd) => fd?,
            Err(error) => {
                tracing::warn!(%session, %error, "cannot watch this session; its end is noticed later");
                return Some(self.runtime.spawn(async {}).abort_handle());
            }
        };
        let (watches, runtime) = (Arc::downgrade(self), self.runtime.clone());
        let task = runtime.spawn(async move {
            if let Ok(fifo) = pipe::Sender::from_owned_fd_unchecked(fd) {
                // Any end of this loop makes the waiters look: at worst they see that nothing has happened.
                while fifo.ready(Interest::ERROR).await.is_ok_and(|ready| !ready.is_error()) {}
            }
            if let Some(watches) = watches.upgrade() {
                watches.ended(session);
            }
        });
        Some(task.abort_handle())
    }

    fn ended(&self, session: Session) {
        let mut state = self.state();
        let watch = state.sessions.remove(&session);
        let tickets: Vec<Ticket> = watch.iter().flat_map(|watch| watch.tickets.iter().copied()).collect();
        for ticket in &tickets {
            state.tickets.remove(ticket);
        }
        drop(state);
        for ticket in tickets {
            self.hub.tell(ticket, Wake::Look);
        }
    }
}

impl State {
    fn unwatch(&mut self, ticket: Ticket) {
        let Some(session) = self.tickets.remove(&ticket) else { return };
        let many = self.sessions.len() > IDLE;
        if let Some(watch) = self.sessions.get_mut(&session) {
            watch.tickets.remove(&ticket);
            if watch.tickets.is_empty() && (many || watch.task.is_finished()) {
                self.sessions.remove(&session);
            }
        }
    }
}
