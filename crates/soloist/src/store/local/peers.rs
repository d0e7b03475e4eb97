//! The other sessions: whether they are alive, and what they are told.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;

use super::fifo::{self, Heard, Reader, Sent};
use super::folder::Folder;
use crate::error::Loss;
use crate::name::{FencingToken, Holder, Session, Ticket};
use crate::protocol::{Grant, Liveness, Wake};
use crate::store::hub::Hub;

/// How many dead sessions are remembered, so that a line of them costs one look each.
const REMEMBERED: usize = 4096;
/// How many FIFOs of others are held open: a hand-over between a few processes opens none.
const HELD_OPEN: usize = 128;
/// So few may be those of sessions that have ended meanwhile, as long as nobody asks.
const FEW: usize = 8;

/// What one session tells another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Something changed for this ticket: ask again.
    Look(Ticket),
    /// The lease of this ticket with this token has ended.
    Lost(Ticket, FencingToken, Ending),
    /// This ticket holds its key: the grant as the step that handed over has committed it.
    Granted(Ticket, Grant),
}

/// A [`Loss`] on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ending {
    /// See [`Loss::Expired`].
    Expired,
    /// See [`Loss::TakenOver`].
    TakenOver(Holder),
    /// See [`Loss::Released`].
    Released,
    /// See [`Loss::Gone`].
    Gone,
}

impl From<Loss> for Ending {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Expired => Ending::Expired,
            Loss::TakenOver { by } => Ending::TakenOver(by),
            Loss::Released => Ending::Released,
            Loss::Gone => Ending::Gone,
        }
    }
}

impl From<Ending> for Loss {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Expired => Loss::Expired,
            Ending::TakenOver(by) => Loss::TakenOver { by },
            Ending::Released => Loss::Released,
            Ending::Gone => Loss::Gone,
        }
    }
}

/// The other sessions, as this one has met them.
#[derive(Debug, Default)]
pub(super) struct Met(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    /// Ids are never used again, so the dead stay dead.
    dead: HashSet<Session>,
    /// Their FIFOs, held open: to be asked for a sign of life, and written into.
    open: HashMap<Session, Arc<OwnedFd>>,
    /// With how many of them it is time to close those of the dead.
    enough: usize,
}

impl Met {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn died(&mut self, session: Session) {
        self.open.remove(&session);
        if self.dead.len() >= REMEMBERED {
            self.dead.clear();
        }
        self.dead.insert(session);
    }

    fn lives(&mut self, session: Session, fd: OwnedFd) {
        if self.open.len() >= self.enough.max(FEW) {
            self.open.retain(|_, fd| !fifo::is_gone(fd));
            if self.open.len() >= HELD_OPEN {
                self.open.clear();
            }
            self.enough = 2 * self.open.len();
        }
        self.open.insert(session, Arc::new(fd));
    }
}

/// The other sessions, as one transaction sees them: each is asked for one sign of life.
#[derive(Debug)]
pub(super) struct Peers<'a> {
    folder: &'a Folder,
    me: Session,
    met: &'a Met,
    alive: RefCell<Vec<Session>>,
}

impl<'a> Peers<'a> {
    pub(super) fn new(folder: &'a Folder, me: Session, met: &'a Met) -> Self {
        Peers { folder, me, met, alive: RefCell::default() }
    }

    /// Whether a session has ended. Doubt is no proof: then it counts as alive.
    pub(super) fn gone(&self, session: Session) -> bool {
        if session == self.me || self.alive.borrow().contains(&session) {
            return false;
        }
        let gone = self.ask(session);
        if !gone {
            self.alive.borrow_mut().push(session);
        }
        gone
    }

    fn ask(&self, session: Session) -> bool {
        let mut met = self.met.sessions();
        if met.dead.contains(&session) {
            return true;
        }
        let gone = match met.open.get(&session) {
            Some(fd) => fifo::is_gone(fd),
            None => match fifo::open(&self.folder.sessions, &session.to_string()) {
                Ok(Some(fd)) => {
                    met.lives(session, fd);
                    false
                }
                Ok(None) => true,
                Err(error) => {
                    tracing::warn!(%session, %error, "cannot tell whether this session lives");
                    false
                }
            },
        };
        if gone {
            met.died(session);
        }
        gone
    }

    /// Tells another session. A full FIFO wakes its reader for everything anyway.
    pub(super) fn tell(&self, session: Session, message: &Message) {
        if self.gone(session) {
            return;
        }
        let fd = self.met.sessions().open.get(&session).map(Arc::clone);
        if let Some(fd) = fd
            && fifo::send(fd, message) == Sent::Gone
        {
            self.met.sessions().died(session);
        }
    }
}

impl Liveness for Peers<'_> {
    fn waiter_gone(&self, session: Session) -> bool {
        self.gone(session)
    }

    fn holder_gone(&self, session: Session) -> bool {
        self.gone(session)
    }
}

/// Delivers what other sessions say.
pub(super) async fn listen(mut fifo: pipe::Receiver, hub: Arc<Hub>) {
    let mut reader = Reader::<Message>::new(&fifo);
    loop {
        match reader.next(&mut fifo).await {
            Ok(Heard::Record(Message::Look(ticket))) => hub.tell(ticket, Wake::Look),
            Ok(Heard::Record(Message::Granted(ticket, grant))) => hub.tell(ticket, Wake::Granted(grant)),
            Ok(Heard::Record(Message::Lost(ticket, token, ending))) => {
                hub.tell(ticket, Wake::Lost(token, ending.into()));
            }
            Ok(Heard::Lossy) => hub.look_all(true),
            Err(error) => {
                // It is open for writing here, so there is no end of file: the runtime is shutting down.
                tracing::debug!(%error, "no more wake-ups are heard");
                return;
            }
        }
    }
}
