//! Where a store's wake-ups find the task that waits for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast};

use super::Notice;
use crate::name::Ticket;
use crate::protocol::Wake;

/// The tickets of one session that stand in line, and what they were told.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    notices: broadcast::Sender<Notice>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<Ticket, Arc<Slot>>,
    closed: bool,
}

/// What one ticket was told and has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Slot {
    told: Mutex<Option<Wake>>,
    notify: Notify,
}

impl Slot {
    /// The next thing told. Cancel safe: what was told stays until it is returned.
    pub(super) async fn told(&self) -> Wake {
        loop {
            if let Some(wake) = lock(&self.told).take() {
                return wake;
            }
            self.notify.notified().await;
        }
    }

    fn tell(&self, wake: Wake) {
        let mut told = lock(&self.told);
        // A grant or result is not overwritten by the hint to look, which it answers.
        if wake != Wake::Look || told.is_none() {
            *told = Some(wake);
        }
        drop(told);
        self.notify.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held, and the state is whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(super) fn new() -> Self {
        Hub { state: Mutex::default(), notices: broadcast::channel(1024).0 }
    }

    /// Listens for a ticket. To be called before the request is sent, or the answer may come first.
    /// `None` after [`Hub::close`].
    pub(super) fn listen(&self, ticket: Ticket) -> Option<Arc<Slot>> {
        let mut state = lock(&self.state);
        (!state.closed).then(|| Arc::clone(state.slots.entry(ticket).or_default()))
    }

    /// Whether a ticket is listened for, so that it may stand in line already.
    pub(super) fn knows(&self, ticket: Ticket) -> bool {
        lock(&self.state).slots.contains_key(&ticket)
    }

    /// Stops listening for a ticket that was served or has left.
    pub(super) fn forget(&self, ticket: Ticket) {
        lock(&self.state).slots.remove(&ticket);
    }

    /// Delivers what the store says to a ticket of this session. A message for a ticket that nobody listens
    /// for any more is late: a check has already recovered what it says, or leaving has undone it.
    pub(super) fn tell(&self, ticket: Ticket, wake: Wake) {
        if let Wake::Lost(loss) = wake {
            self.notice(Notice::Lost(ticket, loss));
            return;
        }
        let slot = lock(&self.state).slots.get(&ticket).cloned();
        if let Some(slot) = slot {
            slot.tell(wake);
        }
    }

    /// Makes every waiter ask again, and every holder's keeper too if `holders`: messages were lost.
    pub(super) fn look_all(&self, holders: bool) {
        let slots: Vec<_> = lock(&self.state).slots.values().cloned().collect();
        for slot in slots {
            slot.tell(Wake::Look);
        }
        if holders {
            self.notice(Notice::AskAgain);
        }
    }

    /// Wakes all waiters for the last time: `listen` answers `None` from now on.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.look_all(false);
        lock(&self.state).slots.clear();
    }

    pub(super) fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    fn notice(&self, notice: Notice) {
        // An error means that no keeper listens.
        let _ = self.notices.send(notice);
    }
}
