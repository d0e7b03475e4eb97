//! A lease that is kept: what its owner and the keeper know of it together.

use std::pin::pin;
use std::sync::PoisonError;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Loss};
use crate::name::{FencingToken, Holder, Key, Ticket};
use crate::observe::{self, Subject};
use crate::protocol::{Renewal, Ttl, Who};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, Notify};

#[cfg(soloist_shuttle)]
pub mod interleavings;

/// How long a sleep may be that has to notice that the machine was suspended: timers stand still meanwhile.
pub(crate) const SUSPEND_CHECK: Duration = Duration::from_secs(1);

/// One lease of this process. Its deadline only ever becomes later by a confirmed renewal, and a loss that was
/// told is final.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) key: Key,
    pub(crate) ticket: Ticket,
    pub(crate) token: FencingToken,
    pub(crate) holder: Holder,
    pub(crate) since: Moment,
    /// It is not renewed beyond this.
    until: Option<Moment>,
    life: Mutex<Life>,
    ending: AtomicBool,
    /// Told when the lease is lost.
    told: Notify,
}

#[derive(Debug)]
struct Life {
    /// What the next renewal asks for.
    ttl: Ttl,
    /// How often what is asked for was changed, or may have been at the store.
    changes: u64,
    /// The longest that was ever asked for: the store may still count by it.
    longest: Ttl,
    deadline: Option<Moment>,
    loss: Option<Loss>,
}

/// A renewal, and what was asked for when it was made.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) renewal: Renewal,
    ttl: Ttl,
    changes: u64,
}

impl Kept {
    /// A lease whose first (perhaps short) ttl ends at `deadline` and that is renewed for `ttl` from then on.
    pub(crate) fn new(
        (key, ticket): (Key, Ticket),
        token: FencingToken,
        holder: Holder,
        ttl: Ttl,
        deadline: Option<Moment>,
    ) -> Self {
        let life = Mutex::new(Life { ttl, changes: 0, longest: ttl, deadline, loss: None });
        let (ending, told) = (AtomicBool::new(false), Notify::new());
        Kept { key, ticket, token, holder, since: Moment::now(), until: None, life, ending, told }
    }

    /// The same, held for so long at most.
    pub(crate) fn at_most(mut self, max_hold: Option<Duration>) -> Self {
        self.until = max_hold.map(|most| self.since.after(most));
        let until = self.until;
        let mut life = self.life();
        life.deadline = earlier(life.deadline, until);
        drop(life);
        self
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        // Nothing panics while it is held, and it is whole at every step.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ttl(&self) -> Ttl {
        self.life().ttl
    }

    /// How long the store may hold it from now on, whatever was lost on the way; `None` is for ever.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.life().longest.duration()
    }

    /// Renewals ask for this ttl from now on. A shorter one counts at once: its answer may be lost, and then
    /// the store counts by it all the same.
    pub(crate) fn set_ttl(&self, ttl: Ttl) {
        let mut life = self.life();
        life.ttl = ttl;
        life.changes += 1;
        if life.longest.duration().is_some_and(|longest| ttl.duration().is_none_or(|ttl| longest < ttl)) {
            life.longest = ttl;
        }
        let end = ttl.duration().map(|ttl| Moment::now().after(ttl));
        life.deadline = earlier(life.deadline, end);
    }

    /// When the lease ends unless it is renewed; `None` is never.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.life().deadline
    }

    /// Whether a renewal could make it live longer.
    pub(crate) fn may_live_longer(&self) -> bool {
        self.until.is_none_or(|until| self.deadline().is_none_or(|deadline| deadline < until))
    }

    /// A renewal that was sent at `sent` has been confirmed. Answers whether it counts: it does not if another
    /// ttl was asked for meanwhile, since the store may have carried out either of them last. Then it is to be
    /// asked again.
    pub(crate) fn renewed(&self, sent: Moment, asked: &Asked) -> bool {
        let mut life = self.life();
        let counts = life.changes == asked.changes;
        // From before sending: the store began the ttl no earlier.
        let end = asked.renewal.ttl.duration().map(|ttl| sent.after(ttl));
        if counts {
            life.deadline = earlier(end, self.until);
        } else {
            // Invariant: no deadline is later than the store's, which may count by this one.
            life.deadline = earlier(life.deadline, end);
            // And what was under way at the same time may have been carried out before it.
            life.changes += u64::from(life.ttl != asked.ttl);
        }
        counts
    }

    /// Its owner asks the store to end it: that a renewal which crosses this finds nothing is no loss.
    pub(crate) fn begin_end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether its owner has asked the store to end it.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Says that the lease has ended, once.
    pub(crate) fn lose(&self, loss: Loss) {
        let mut life = self.life();
        let first = life.loss.is_none();
        life.loss.get_or_insert_with(|| loss.clone());
        drop(life);
        if first {
            self.told.notify_waiters();
            observe::lost(self.subject(), &loss);
        }
    }

    /// How the lease ended, if it has. Looks at the clock itself: true at once after a suspend.
    pub(crate) fn loss(&self) -> Option<Loss> {
        if self.deadline().is_some_and(|end| Moment::now() >= end) {
            self.lose(Loss::Expired);
        }
        self.told_loss()
    }

    /// How the lease ended, if anybody has said so. Without a look at the clock.
    pub(crate) fn told_loss(&self) -> Option<Loss> {
        self.life().loss.clone()
    }

    /// Resolves when the lease has ended. Needs no keeper: it watches the deadline itself. Cancel safe.
    pub(crate) async fn lost(&self) -> Loss {
        loop {
            let mut said = pin!(self.told.notified());
            // Before the look: what is said after it is not missed.
            said.as_mut().enable();
            if let Some(loss) = self.loss() {
                return loss;
            }
            let left = self.deadline().map_or(SUSPEND_CHECK, |end| end.since(Moment::now()));
            // Either way all is looked at again, a deadline that moved, too.
            tokio::select! {
                biased;
                () = said => {}
                () = tokio::time::sleep(left.min(SUSPEND_CHECK)) => {}
            }
        }
    }

    /// Resolves when somebody has said that the lease has ended: the keeper does at its deadline. For the many,
    /// who need no clock of their own. Cancel safe.
    pub(crate) async fn told_lost(&self) {
        let mut said = pin!(self.told.notified());
        said.as_mut().enable();
        if self.told_loss().is_none() {
            said.await;
        }
    }

    /// As it is logged: without its ticket.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { key: &self.key, holder: &self.holder, token: self.token, since: self.since }
    }

    /// The error that says how the lease ended.
    pub(crate) fn lost_error(&self, loss: Loss) -> Error {
        Error::Lost { key: self.key.clone(), token: self.token, loss }
    }

    /// A renewal, for no longer than the lease may be held.
    pub(crate) fn renewal(&self, detach: bool) -> Asked {
        let (ttl, changes) = {
            let life = self.life();
            (life.ttl, life.changes)
        };
        let left = self.until.map(|until| until.since(Moment::now()).as_micros());
        // At least a microsecond: a ttl of none is none. The lease has ended by itself by then.
        let left = left.map(|left| u64::try_from(left).unwrap_or(u64::MAX).max(1));
        let renewal = Renewal {
            key: self.key.clone(),
            who: Who::Ticket(self.ticket),
            ttl: left.map_or(ttl, |left| ttl.at_most(left)),
            detach,
            at_least: None,
        };
        Asked { renewal, ttl, changes }
    }
}

/// The earlier of two ends; `None` is never.
fn earlier(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
