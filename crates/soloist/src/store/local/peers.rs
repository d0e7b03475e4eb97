//! The other sessions: whether they are alive, and what they are told.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;

use super::fifo::{self, Heard, Reader, Sent};
use super::folder::Folder;
use crate::error::Loss;
use crate::name::{FencingToken, Holder, Session, Ticket};
use crate::protocol::{Liveness, Wake};
use crate::store::hub::Hub;

/// How many dead sessions are remembered, so that a line of them costs one look each.
const REMEMBERED: usize = 4096;

/// What one session tells another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Something changed for this ticket: ask again.
    Look(Ticket),
    /// The lease of this ticket with this token has ended.
    Lost(Ticket, FencingToken, Ending),
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

/// Sessions that are known to be dead. Ids are never used again, so the dead stay dead.
#[derive(Debug, Default)]
pub(super) struct Dead(Mutex<HashSet<Session>>);

impl Dead {
    fn has(&self, session: Session) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&session)
    }

    fn add(&self, session: Session) {
        let mut dead = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.len() >= REMEMBERED {
            dead.clear();
        }
        dead.insert(session);
    }
}

/// The other sessions, as one transaction sees them: each is looked up once.
#[derive(Debug)]
pub(super) struct Peers<'a> {
    folder: &'a Folder,
    me: Session,
    dead: &'a Dead,
    open: RefCell<HashMap<Session, OwnedFd>>,
}

impl<'a> Peers<'a> {
    pub(super) fn new(folder: &'a Folder, me: Session, dead: &'a Dead) -> Self {
        Peers { folder, me, dead, open: RefCell::default() }
    }

    /// Whether a session has ended. Doubt is no proof: then it counts as alive.
    pub(super) fn gone(&self, session: Session) -> bool {
        if session == self.me || self.open.borrow().contains_key(&session) {
            return false;
        }
        if self.dead.has(session) {
            return true;
        }
        match fifo::open(&self.folder.sessions, &session.to_string()) {
            Ok(Some(fd)) => {
                self.open.borrow_mut().insert(session, fd);
                false
            }
            Ok(None) => {
                self.dead.add(session);
                true
            }
            Err(error) => {
                tracing::warn!(%session, %error, "cannot tell whether this session lives");
                false
            }
        }
    }

    /// Tells another session. A full FIFO wakes its reader for everything anyway.
    pub(super) fn tell(&self, session: Session, message: &Message) {
        if self.gone(session) {
            return;
        }
        if let Some(fd) = self.open.borrow().get(&session)
            && fifo::send(fd, message) == Sent::Gone
        {
            self.dead.add(session);
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
pub(super) async fn listen(fifo: Arc<pipe::Receiver>, hub: Arc<Hub>) {
    let mut reader = Reader::<Message>::new(&*fifo);
    loop {
        match reader.next(&fifo).await {
            Ok(Heard::Record(Message::Look(ticket))) => hub.tell(ticket, Wake::Look),
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
