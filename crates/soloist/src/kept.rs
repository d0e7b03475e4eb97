//! A lease that is kept: what its owner and the keeper know of it together.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
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
    /// With which other leases it is renewed; see [`Store::group`](crate::Store::group).
    pub(crate) group: u16,
    /// It is not renewed beyond this.
    until: Option<Moment>,
    life: Mutex<Life>,
    ending: AtomicBool,
    /// Told when the lease is lost.
    told: Notify,
}

struct Life {
    /// What the next renewal asks for.
    ttl: Ttl,
    /// How long the store gave it last: a hand-over's first life is short, whatever was asked for.
    term: Ttl,
    /// How often what is asked for was changed, or may have been at the store.
    changes: u64,
    /// The longest that was ever asked for: the store may still count by it.
    longest: Ttl,
    deadline: Option<Moment>,
    loss: Option<Loss>,
    on_loss: Option<OnLoss>,
    /// What is open of the requests for `ttl`, and of those for other ttls, which are few and mostly none.
    open: Open,
    others: Vec<(Ttl, Open)>,
}

/// Called when a lease is lost, once.
pub(crate) type OnLoss = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Life { ttl, deadline, loss, .. } = self;
        f.debug_struct("Life").field("ttl", ttl).field("deadline", deadline).field("loss", loss).finish()
    }
}

/// Requests for one ttl that were not answered: the store may carry them out after later ones.
#[derive(Debug, Default)]
struct Open {
    under_way: u32,
    /// Until when those that were given up may still be carried out.
    until: Option<Moment>,
}

impl Open {
    fn is_none(&self) -> bool {
        self.under_way == 0 && self.until.is_none()
    }

    /// Whether all have been carried out before what was sent at this moment, if ever.
    fn is_settled_at(&self, sent: Moment) -> bool {
        self.under_way == 0 && self.until.is_none_or(|until| until <= sent)
    }
}

/// A renewal, and what was asked for when it was made. It is under way as long as this lives; dropped without a
/// word of its answer, it may be carried out for as long as the store needs to settle.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) kept: Arc<Kept>,
    pub(crate) renewal: Renewal,
    ttl: Ttl,
    changes: u64,
    /// How long it may still be carried out once it is given up; `None`: it was not sent, or was answered.
    settles: Option<Duration>,
}

impl Asked {
    /// It is about to be sent to a store that [settles](crate::Store::settles) in so long.
    pub(crate) fn sending(&mut self, settles: Duration) {
        self.settles = Some(settles);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let until = self.settles.map(|settles| Moment::now().after(settles));
        self.kept.life().close(self.ttl, until);
    }
}

impl Life {
    /// What is open of the requests for a ttl.
    fn open(&mut self, ttl: Ttl) -> &mut Open {
        if ttl == self.ttl {
            return &mut self.open;
        }
        let at = self.others.iter().position(|(other, _)| *other == ttl).unwrap_or_else(|| {
            self.others.push((ttl, Open::default()));
            self.others.len() - 1
        });
        &mut self.others[at].1
    }

    /// A request for this ttl is not under way any more, and may be carried out until then.
    fn close(&mut self, ttl: Ttl, until: Option<Moment>) {
        let open = self.open(ttl);
        open.under_way = open.under_way.saturating_sub(1);
        open.until = open.until.max(until);
        self.others.retain(|(_, open)| !open.is_none());
    }

    /// The ttl by which the store may count: the shortest of what it said and what is open.
    fn shortest(&self) -> Ttl {
        self.others.iter().fold(self.term, |shortest, (ttl, _)| shorter(shortest, *ttl))
    }
}

impl Kept {
    /// A lease that is held from `since` on, whose life ends at `deadline` and that is renewed for `ttl` each time.
    pub(crate) fn new(
        (key, ticket): (Key, Ticket),
        token: FencingToken,
        holder: Holder,
        ttl: Ttl,
        (since, deadline): (Moment, Option<Moment>),
    ) -> Self {
        let (open, others) = (Open::default(), Vec::new());
        let life = Mutex::new(Life {
            ttl,
            term: ttl,
            changes: 0,
            longest: ttl,
            deadline,
            loss: None,
            on_loss: None,
            open,
            others,
        });
        let (ending, told) = (AtomicBool::new(false), Notify::new());
        Kept { key, ticket, token, holder, since, group: 0, until: None, life, ending, told }
    }

    /// The same, of a group that is renewed together.
    pub(crate) fn in_group(mut self, group: u16) -> Self {
        self.group = group;
        self
    }

    /// The same, whose first life is of this length: when that is renewed goes by it.
    pub(crate) fn at_first(mut self, term: Ttl) -> Self {
        self.own_life().term = term;
        self
    }

    /// The same, held for so long at most.
    pub(crate) fn at_most(mut self, max_hold: Option<Duration>) -> Self {
        let until = max_hold.map(|most| self.since.after(most));
        self.until = until;
        let life = self.own_life();
        life.deadline = earlier(life.deadline, until);
        self
    }

    /// Its life, while nobody else knows of it.
    fn own_life(&mut self) -> &mut Life {
        self.life.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        // Nothing panics while it is held, and it is whole at every step.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it lives at a time, as far as the store has said, or a shorter ttl that it may yet count by: all that
    /// is planned goes by this.
    pub(crate) fn term(&self) -> Ttl {
        self.life().shortest()
    }

    /// The same, and when it ends unless it is renewed.
    pub(crate) fn term_and_deadline(&self) -> (Ttl, Option<Moment>) {
        let life = self.life();
        (life.shortest(), life.deadline)
    }

    /// How long the store may hold it from now on, whatever was lost on the way; `None` is for ever.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.life().longest.duration()
    }

    /// Renewals ask for this ttl from now on. A shorter one counts at once: its answer may be lost, and then
    /// the store counts by it all the same.
    pub(crate) fn set_ttl(&self, ttl: Ttl) {
        let mut life = self.life();
        if life.ttl != ttl {
            let new = std::mem::take(life.open(ttl));
            let old = (life.ttl, std::mem::replace(&mut life.open, new));
            life.ttl = ttl;
            life.others.push(old);
            life.others.retain(|(other, open)| *other != ttl && !open.is_none());
        }
        life.term = shorter(life.term, ttl);
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

    /// Whether a renewal could make it live longer than until then.
    pub(crate) fn may_live_longer(&self, deadline: Option<Moment>) -> bool {
        self.until.is_none_or(|until| deadline.is_none_or(|deadline| deadline < until))
    }

    /// A renewal that was sent at `sent` has been confirmed. Answers whether it counts: it does not if another
    /// ttl was asked for meanwhile, since the store may have carried out either of them last. Then it is to be
    /// asked again.
    pub(crate) fn renewed(&self, sent: Moment, asked: &mut Asked) -> bool {
        asked.settles = None;
        let mut life = self.life();
        let counts = life.changes == asked.changes;
        // From before sending: the store began the ttl no earlier.
        let end = asked.renewal.ttl.duration().map(|ttl| sent.after(ttl));
        if counts {
            life.term = life.ttl;
            if life.open.until.is_some_and(|until| until <= sent) {
                life.open.until = None;
            }
            life.others.retain(|(_, open)| !open.is_settled_at(sent));
            // Invariant: what was given up and may be carried out after this one is counted by, if it is shorter.
            let open = life.shortest().duration().map(|ttl| sent.after(ttl));
            life.deadline = earlier(earlier(end, open), self.until);
        } else {
            // Invariant: no deadline is later than the store's, which may count by this one.
            life.deadline = earlier(life.deadline, end);
            // And what was under way at the same time may have been carried out before it.
            life.changes += u64::from(life.ttl != asked.ttl);
        }
        counts
    }

    /// Whether what the store has under this ticket, with this token, can be this lease. A larger one is that of a later
    /// grant of the same request: this one is over, though it came late, and nobody was told. The grants of a cohort have
    /// the store's token, or larger ones.
    pub(crate) fn can_have(&self, token: FencingToken) -> bool {
        token <= self.token
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
        let on_loss = life.on_loss.take();
        drop(life);
        if first {
            self.told.notify_waiters();
            on_loss.into_iter().for_each(|tell| tell());
            observe::lost(self.subject(), &loss);
        }
    }

    /// Whether it is not lost at this moment, and so much of it is left, or a third of its ttl.
    pub(crate) fn has_left(&self, enough: Duration, now: Moment) -> bool {
        let life = self.life();
        let enough = life.ttl.duration().map_or(enough, |ttl| enough.min(ttl / 3));
        life.loss.is_none() && life.deadline.is_none_or(|end| end.since(now) >= enough)
    }

    /// How the lease ended, if it has. Looks at the clock itself: true at once after a suspend.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.loss_by(Moment::now())
    }

    /// The same, where it is known what the time is.
    pub(crate) fn loss_by(&self, now: Moment) -> Option<Loss> {
        let life = self.life();
        if life.loss.is_some() || life.deadline.is_none_or(|end| now < end) {
            return life.loss.clone();
        }
        drop(life);
        self.lose(Loss::Expired);
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

    /// Has this called when the lease is lost, by whoever says so: the keeper does at its deadline. For the many who
    /// wait for what its owner does. At once if it is lost already; in place of what was to be called before.
    pub(crate) fn on_loss(&self, tell: OnLoss) {
        let mut life = self.life();
        if life.loss.is_none() {
            life.on_loss = Some(tell);
            return;
        }
        drop(life);
        tell();
    }

    /// Resolves when somebody has said that the lease has ended. Without a look at the clock. Cancel safe.
    #[cfg(soloist_shuttle)]
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
    pub(crate) fn renewal(self: &Arc<Self>, detach: bool) -> Asked {
        let (ttl, changes) = {
            let mut life = self.life();
            life.open.under_way += 1;
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
        Asked { kept: Arc::clone(self), renewal, ttl, changes, settles: None }
    }
}

/// The shorter of two ttls.
fn shorter(one: Ttl, other: Ttl) -> Ttl {
    match other {
        Ttl::Micros(us) => one.at_most(us),
        Ttl::Forever => one,
    }
}

/// The earlier of two ends; `None` is never.
fn earlier(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
