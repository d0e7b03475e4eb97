//! One step of the machine: what it is told from outside, and what it wants done outside.

use super::{Grant, MOST_TOKENS, Micros, Outcome, TOKENS_AHEAD};
use crate::error::Loss;
use crate::event::{Event, EventKind};
use crate::name::{FencingToken, Holder, Key, Session, Ticket};

/// Who is alive, as the store can tell.
pub trait Liveness {
    /// Whether wake-ups of this session have nobody left to hear them.
    fn waiter_gone(&self, session: Session) -> bool;

    /// Whether this session has ended, and with it the leases bound to it. Redis cannot tell and says no.
    fn holder_gone(&self, session: Session) -> bool;
}

/// What a session is told about one of its tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// You hold the key.
    Granted(Grant),
    /// The result is there.
    Done(Outcome),
    /// Your lease with this token has ended.
    Lost(FencingToken, Loss),
    /// Something changed: ask again.
    Look,
}

/// What the store has to do after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell a session about its ticket.
    Wake(Session, Ticket, Wake),
    /// Tell those who watch.
    Event(Event),
}

/// A change of a line. Newcomers stand at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// One more stands in the line of this key.
    Joined(Key),
    /// The one at this place, from 0, in the line of this key left it. It was of this session.
    Left(Key, usize, Session),
}

impl Move {
    /// Whose line it is.
    pub fn key(&self) -> &Key {
        let (Move::Joined(key) | Move::Left(key, ..)) = self;
        key
    }
}

/// One step: the time, who is alive, and the effects so far.
pub struct Step<'a> {
    /// The store's clock.
    pub now: Micros,
    /// Who is alive.
    pub alive: &'a dyn Liveness,
    /// What is to be done, in order.
    pub effects: Vec<Effect>,
    /// How lines changed, in order. Invariant: nothing else changed them, so that a store can write down the
    /// change alone, however long the line is.
    pub moves: Vec<Move>,
    /// The largest token that this shard of keys ever gave; the table lends it.
    pub(super) last: FencingToken,
}

impl<'a> Step<'a> {
    /// A step at this time.
    pub fn new(now: Micros, alive: &'a dyn Liveness) -> Self {
        Step { now, alive, effects: Vec::new(), moves: Vec::new(), last: FencingToken(0) }
    }

    /// So many tokens in a row, or one: the first of them, and how many.
    ///
    /// Invariant: a key's tokens never decrease, also across expiry, force and a store that lost its data. So they are
    /// taken from the time that has passed, and where too little has, there is only one.
    pub(super) fn next_tokens(&mut self, wanted: u8) -> (FencingToken, u8) {
        let wanted = wanted.clamp(1, MOST_TOKENS);
        let last = self.last.0.saturating_add(wanted.into()).max(self.now);
        if wanted > 1 && last > self.now.saturating_add(TOKENS_AHEAD) {
            return self.next_tokens(1);
        }
        self.last = FencingToken(last);
        (FencingToken(last - u64::from(wanted) + 1), wanted)
    }

    pub(super) fn wake(&mut self, session: Session, ticket: Ticket, wake: Wake) {
        self.effects.push(Effect::Wake(session, ticket, wake));
    }

    pub(super) fn joined(&mut self, key: &Key) {
        self.moves.push(Move::Joined(key.clone()));
    }

    pub(super) fn left(&mut self, key: &Key, place: usize, session: Session) {
        self.moves.push(Move::Left(key.clone(), place, session));
    }

    pub(super) fn tell(&mut self, key: &Key, kind: EventKind, holder: &Holder, token: FencingToken) {
        let event = Event::new(key.clone(), kind, holder.clone(), token, self.now);
        self.effects.push(Effect::Event(event));
    }
}
