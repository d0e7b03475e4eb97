//! One key: who holds it, who waits, what was published; and the verbs on it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::step::{Step, Wake};
use super::{
    Answer, Body, Grant, HANDOVER_TTL, Holding, KeyInfo, Left, Micros, Mode, Outcome, OutcomeKind,
    Publication, Published, Queued, RESULT_GRACE, Released, Renewal, Renewed, Request, ResultInfo, Ttl,
    WaiterInfo, Want, Who,
};
use crate::error::Loss;
use crate::event::EventKind;
use crate::name::{FencingToken, Holder, Key, Note, Session, Ticket};

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Whose request it is.
    pub ticket: Ticket,
    /// Where its holder hears.
    pub session: Session,
    /// Whether it ends with that session.
    pub bound: bool,
    /// How many fencing tokens it has, from that of `holding` on.
    pub tokens: u8,
    /// Whether the key was forgotten while this flight was under way: its result will not be kept.
    pub stale: bool,
    /// What everybody may know.
    pub holding: Holding,
}

/// One in the line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// Whose request it is.
    pub ticket: Ticket,
    /// Where it hears.
    pub session: Session,
    /// Its name.
    pub holder: Holder,
    /// Its remark.
    pub note: Option<Note>,
    /// A lock, or a flight's result.
    pub want: Want,
    /// The life of the lease that it asks for.
    pub ttl: Ttl,
    /// Whether the lease will end with its session.
    pub bound: bool,
    /// How many fencing tokens it asks for.
    pub tokens: u8,
}

/// A result, as it is stored. The bytes themselves stand elsewhere when they are large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The leader's ticket: makes a repeated publish the same publish.
    pub ticket: Ticket,
    /// What everybody may know.
    pub info: ResultInfo,
    /// The bytes, or where the store has put them.
    pub body: Body,
}

/// One key.
#[derive(Clone, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    /// The leases: none or one today. Reader-writer locks and semaphores will hold several.
    pub holders: Vec<Held>,
    /// The line.
    pub queue: VecDeque<Waiter>,
    /// The result.
    pub done: Option<Done>,
}

impl Waiter {
    /// The lease that it is granted.
    pub fn held(&self, token: FencingToken, tokens: u8, since: Micros, deadline: Option<Micros>) -> Held {
        let (holder, note, want) = (self.holder.clone(), self.note.clone(), self.want);
        let holding = Holding { holder, token, since, deadline, note, want };
        let Waiter { ticket, session, bound, .. } = *self;
        Held { ticket, session, bound, tokens, stale: false, holding }
    }

    fn of(request: &Request, session: Session) -> Self {
        Waiter {
            ticket: request.ticket,
            session,
            holder: request.holder.clone(),
            note: request.note.clone(),
            want: request.want,
            ttl: request.ttl,
            bound: request.bound,
            tokens: request.tokens,
        }
    }
}

impl Held {
    fn is(&self, who: &Who) -> bool {
        match who {
            Who::Ticket(ticket) => self.ticket == *ticket,
            Who::Holder(holder) => self.holding.holder == *holder,
            Who::Any => true,
        }
    }
}

impl Done {
    /// When its bytes are dropped.
    pub fn gone_at(&self) -> Micros {
        self.info.until.max(self.info.at.saturating_add(RESULT_GRACE))
    }
}

impl KeyState {
    /// Whether there is nothing to remember.
    pub fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty() && self.done.is_none()
    }

    /// Whether a request could be granted. The one place that will know about several holders.
    fn has_room(&self) -> bool {
        self.holders.is_empty()
    }

    fn current(&self) -> Option<Holding> {
        self.holders.first().map(|held| held.holding.clone())
    }

    fn grant(&mut self, step: &mut Step<'_>, waiter: &Waiter, ttl: Ttl) -> Grant {
        let (token, tokens) = step.next_tokens(waiter.tokens);
        self.holders.push(waiter.held(token, tokens, step.now, ttl.deadline(step.now)));
        Grant { token, tokens, from: step.now, ttl }
    }

    /// Drops what has ended: leases past their deadline or bound to a dead session, results past their time.
    fn sweep(&mut self, key: &Key, step: &mut Step<'_>) {
        let now = step.now;
        let gone: Vec<Held> = self.holders.extract_if(.., |held| ended(held, step)).collect();
        for held in gone {
            step.tell(key, EventKind::Expired, &held.holding.holder, held.holding.token);
        }
        if self.done.as_ref().is_some_and(|done| done.gone_at() <= now) {
            self.done = None;
        }
    }

    /// Hands the key to the next living waiter, if it is free. `asker` is the request being answered: it is
    /// alive for certain, and hears its grant as the answer instead of a message.
    fn hand_over(&mut self, key: &Key, step: &mut Step<'_>, asker: Option<Ticket>) -> Option<Grant> {
        while self.has_room() {
            let waiter = self.queue.pop_front()?;
            step.left(key, 0, waiter.session);
            let asks = Some(waiter.ticket) == asker;
            if !asks && step.alive.waiter_gone(waiter.session) {
                continue;
            }
            let ttl = if asks { waiter.ttl } else { waiter.ttl.at_most(HANDOVER_TTL) };
            let grant = self.grant(step, &waiter, ttl);
            step.tell(key, EventKind::Locked, &waiter.holder, grant.token);
            if asks {
                return Some(grant);
            }
            step.wake(waiter.session, waiter.ticket, Wake::Granted(grant));
        }
        None
    }

    /// Invariant: asking again with the same ticket changes nothing but the life of its own lease.
    pub fn acquire(&mut self, request: &Request, session: Session, step: &mut Step<'_>) -> Answer {
        let (key, ticket) = (&request.key, request.ticket);
        self.sweep(key, step);
        if let Some(held) = self.holders.iter_mut().find(|held| held.ticket == ticket) {
            held.holding.deadline = request.ttl.deadline(step.now);
            let (token, tokens) = (held.holding.token, held.tokens);
            return Answer::Granted(Grant { token, tokens, from: step.now, ttl: request.ttl });
        }
        if request.want == Want::Flight
            && request.mode != Mode::Force
            && let Some(done) = self.done.as_ref()
            && (done.info.until > step.now || request.seen.is_some_and(|seen| seen <= done.info.token))
        {
            let outcome = outcome(done);
            self.drop_from_line(key, ticket, step);
            self.hand_over(key, step, None);
            return Answer::Done(outcome);
        }
        if request.mode == Mode::Force {
            return Answer::Granted(self.take_over(request, session, step));
        }
        if let Some(grant) = self.hand_over(key, step, Some(ticket)) {
            return Answer::Granted(grant);
        }
        let Some(holding) = self.current() else {
            // Free, and nobody alive is waiting: the line is empty, so nobody is overtaken.
            let waiter = Waiter::of(request, session);
            let grant = self.grant(step, &waiter, request.ttl);
            step.tell(key, EventKind::Locked, &request.holder, grant.token);
            return Answer::Granted(grant);
        };
        if request.mode == Mode::Try {
            return Answer::Busy(holding);
        }
        let place = match self.place_of(ticket) {
            Some(place) => place,
            None => {
                let waiting = self.queue.len() as u64;
                if request.max_waiting.is_some_and(|most| waiting >= most) {
                    return Answer::Full { holding, waiting };
                }
                self.queue.push_back(Waiter::of(request, session));
                step.joined(key);
                self.queue.len() - 1
            }
        };
        Answer::Queued(self.queued(place, holding))
    }

    /// Takes a request out of the line. Answers whether it stood there.
    fn drop_from_line(&mut self, key: &Key, ticket: Ticket, step: &mut Step<'_>) -> bool {
        let Some(place) = self.place_of(ticket) else { return false };
        if let Some(waiter) = self.queue.remove(place) {
            step.left(key, place, waiter.session);
        }
        true
    }

    fn place_of(&self, ticket: Ticket) -> Option<usize> {
        self.queue.iter().position(|waiter| waiter.ticket == ticket)
    }

    fn queued(&self, place: usize, holding: Holding) -> Queued {
        let ahead = match place.checked_sub(1) {
            Some(ahead) => Some(self.queue[ahead].session),
            None => self.holders.first().filter(|held| held.bound).map(|held| held.session),
        };
        Queued { place: place as u64 + 1, holding, ahead }
    }

    fn take_over(&mut self, request: &Request, session: Session, step: &mut Step<'_>) -> Grant {
        let (key, by) = (&request.key, &request.holder);
        self.drop_from_line(key, request.ticket, step);
        let before: Vec<Held> = self.holders.drain(..).collect();
        let waiter = Waiter::of(request, session);
        let grant = self.grant(step, &waiter, request.ttl);
        let kind = match before.first() {
            Some(held) => EventKind::TakenOver { from: held.holding.holder.clone() },
            None => EventKind::Locked,
        };
        step.tell(key, kind, by, grant.token);
        for held in before {
            let lost = Wake::Lost(held.holding.token, Loss::TakenOver { by: by.clone() });
            step.wake(held.session, held.ticket, lost);
        }
        grant
    }

    /// Gives a request up: out of the line, or the grant that crossed it is passed on.
    pub fn leave(&mut self, key: &Key, ticket: Ticket, step: &mut Step<'_>) -> Left {
        self.sweep(key, step);
        let left = if self.drop_from_line(key, ticket, step) {
            Left::Line
        } else if let Some(held) = self.take(&Who::Ticket(ticket)) {
            step.tell(key, EventKind::Released, &held.holding.holder, held.holding.token);
            Left::Lease
        } else {
            Left::Absent
        };
        self.hand_over(key, step, None);
        left
    }

    fn take(&mut self, who: &Who) -> Option<Held> {
        let at = self.holders.iter().position(|held| held.is(who))?;
        Some(self.holders.remove(at))
    }

    /// Begins a lease's ttl anew. It wakes nobody. A token that is raised is told as a lock with the new one.
    pub fn renew(&mut self, renewal: &Renewal, step: &mut Step<'_>) -> Renewed {
        self.sweep(&renewal.key, step);
        let Some(held) = self.holders.iter_mut().find(|held| held.is(&renewal.who)) else {
            self.hand_over(&renewal.key, step, None);
            return Renewed::NotHeld(self.current());
        };
        held.holding.deadline = renewal.ttl.deadline(step.now);
        held.bound &= !renewal.detach;
        if let Some(token) = renewal.at_least.filter(|token| *token > held.holding.token) {
            // The tokens behind it were not asked for anywhere.
            (held.holding.token, held.tokens) = (token, 1);
            step.raise(token);
            step.tell(&renewal.key, EventKind::Locked, &held.holding.holder, token);
        }
        Renewed::Renewed { token: held.holding.token, deadline: held.holding.deadline }
    }

    /// Ends a lease and hands the key over. `by` is the session that asks: a holder is told when its lease
    /// is ended by anybody else.
    pub fn release(&mut self, key: &Key, who: &Who, by: Session, step: &mut Step<'_>) -> Released {
        self.sweep(key, step);
        let Some(held) = self.take(who) else {
            self.hand_over(key, step, None);
            return Released::NotHeld(self.current());
        };
        let token = held.holding.token;
        let kind = if *who == Who::Any { EventKind::Broken } else { EventKind::Released };
        step.tell(key, kind, &held.holding.holder, token);
        if !matches!(who, Who::Ticket(_)) || held.session != by {
            step.wake(held.session, held.ticket, Wake::Lost(token, Loss::Released));
        }
        self.hand_over(key, step, None);
        Released::Released { token }
    }

    /// Stores a result, tells everybody who waits for it, and hands the key over to the next who
    /// wants it as a lock. Invariant: only the current leader's result is taken.
    pub fn publish(&mut self, publication: &Publication, step: &mut Step<'_>) -> Published {
        let key = &publication.key;
        self.sweep(key, step);
        let Some(held) = self.take(&Who::Ticket(publication.ticket)) else {
            self.hand_over(key, step, None);
            let again = self.done.as_ref().is_some_and(|done| done.ticket == publication.ticket);
            return if again { Published::Published } else { Published::Refused(self.current()) };
        };
        let (leader, token) = (held.holding.holder, held.holding.token);
        if held.stale {
            step.tell(key, EventKind::Released, &leader, token);
            self.hand_over(key, step, None);
            return Published::Stale;
        }
        let kind = match publication.kind {
            OutcomeKind::Value => EventKind::Published,
            OutcomeKind::Error => EventKind::Failed,
        };
        step.tell(key, kind, &leader, token);
        let info = ResultInfo {
            leader,
            token,
            at: step.now,
            until: step.now.saturating_add(publication.keep),
            kind: publication.kind,
            size: publication.body.size(),
        };
        let done = Done { ticket: publication.ticket, info, body: publication.body.clone() };
        let mut stay = 0;
        self.queue.retain(|waiter| {
            let flight = waiter.want == Want::Flight;
            if flight {
                step.left(key, stay, waiter.session);
                step.wake(waiter.session, waiter.ticket, Wake::Done(outcome(&done)));
            } else {
                stay += 1;
            }
            !flight
        });
        self.done = Some(done);
        self.hand_over(key, step, None);
        Published::Published
    }

    /// Drops the result; a flight under way will not be kept either. Answers whether there was a result.
    pub fn forget(&mut self, key: &Key, step: &mut Step<'_>) -> bool {
        self.sweep(key, step);
        self.hand_over(key, step, None);
        for held in self.holders.iter_mut().filter(|held| held.holding.want == Want::Flight) {
            held.stale = true;
        }
        let Some(done) = self.done.take() else { return false };
        step.tell(key, EventKind::Forgotten, &done.info.leader, done.info.token);
        done.info.until > step.now
    }

    /// Ends what has ended and hands over what is free, as any other verb would.
    pub fn touch(&mut self, key: &Key, step: &mut Step<'_>) {
        self.sweep(key, step);
        self.hand_over(key, step, None);
    }

    /// The result, if it is kept for all, changing nothing.
    pub fn result(&self, step: &Step<'_>) -> Option<Outcome> {
        self.done.as_ref().filter(|done| done.info.until > step.now).map(outcome)
    }

    /// Everything about the key, changing nothing.
    pub fn inspect(&self, key: &Key, step: &Step<'_>) -> KeyInfo {
        let current = |held: &&Held| !ended(held, step);
        let waiters = self.queue.iter().map(|waiter| WaiterInfo {
            holder: waiter.holder.clone(),
            note: waiter.note.clone(),
            want: waiter.want,
        });
        KeyInfo {
            key: key.clone(),
            now: step.now,
            holding: self.holders.iter().find(current).map(|held| held.holding.clone()),
            waiters: waiters.collect(),
            waiting: self.queue.len() as u64,
            result: self.done.as_ref().map(|d| d.info.clone()).filter(|info| info.until > step.now),
        }
    }
}

/// Whether a lease is past its deadline, or bound to a session that is gone.
fn ended(held: &Held, step: &Step<'_>) -> bool {
    held.holding.deadline.is_some_and(|deadline| deadline <= step.now)
        || (held.bound && step.alive.holder_gone(held.session))
}

/// A stored result as it is told to callers.
fn outcome(done: &Done) -> Outcome {
    let ResultInfo { leader, token, at, until, kind, .. } = done.info.clone();
    Outcome { token, leader, at, until, kind, body: done.body.clone() }
}
