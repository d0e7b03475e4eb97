//! Callers of one process that hand a lease to each other: a cohort.
//!
//! The first of those who wait asks the store, for all of them. Its lease is the process's turn: each holder hands it
//! to the next in the process's own line, with a fencing token of its own out of those that the grant took, until
//! the turn is over. Then the key goes on to the next in the store's line, and the first of those who still wait asks
//! again. Whoever asks may go away at any moment: the request is parked, and the next goes on with it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::kept::Kept;
use crate::lease::Lease;
use crate::name::{FencingToken, Holder, Ticket};
use crate::protocol::Request;
use crate::sync::{Mutex, MutexGuard};

mod terms;

use self::terms::Asking;
pub(crate) use self::terms::{Asker, Terms, asking};

/// How long a turn of a process lasts in which the lease is handed on: after that the others have theirs.
const LONGEST_TURN: Duration = Duration::from_millis(1);
/// How much of the lease has to be left for whoever it is handed to, unless a third of its ttl is less.
const ENOUGH_LEFT: Duration = Duration::from_secs(1);

/// The cohorts of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cohorts(Arc<Mutex<HashMap<Terms, Weak<Cohort>>>>);

/// Those of one process who ask for one key alike.
pub(crate) struct Cohort {
    terms: Terms,
    cohorts: Cohorts,
    state: Mutex<State>,
}

/// Invariant: whoever is in line has either a holder of this process in front, who hands the lease on or says that the
/// turn is over, or the first in line asks the store, or whoever releases does so for him ([`Rotation`]).
#[derive(Default)]
struct State {
    line: VecDeque<Arc<Waiter>>,
    turn: Option<Turn>,
    /// Whether the first in line asks the store, or was told to, or a releaser does it for him.
    asks: bool,
    /// The request that whoever asked before has left.
    parked: Option<Asking>,
}

/// A lease of the store's while it is handed on.
struct Turn {
    kept: Arc<Kept>,
    began: Moment,
    /// The token of whoever holds it now, and how many are left after that.
    token: FencingToken,
    left: u8,
}

impl Turn {
    /// Whether the lease may be handed on now.
    fn goes_on(&self, now: Moment) -> bool {
        self.left > 0 && !self.has_lasted(now)
    }

    /// Whether it is over for the time that it has lasted, or has left.
    fn has_lasted(&self, now: Moment) -> bool {
        now.since(self.began) > LONGEST_TURN || !self.kept.has_left(ENOUGH_LEFT, now)
    }
}

/// One in line.
struct Waiter {
    asker: Asker,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    what: Option<Told>,
    waker: Option<Waker>,
}

/// What one in line is told.
enum Told {
    Lease(Lease),
    /// To ask the store.
    Ask,
    Failed(Error),
}

/// Whose turn it is within a cohort's lease.
pub(crate) struct Member {
    pub(crate) holder: Holder,
    pub(crate) token: FencingToken,
    pub(crate) since: Moment,
    cohort: Arc<Cohort>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held, and the state is whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiter {
    /// Says something to one in line. Invariant: the cohort's state is locked, so nobody leaves the line without
    /// having heard what was said to him. Whom to wake, when it is not any more.
    #[must_use]
    fn tell(&self, told: Told) -> Option<Waker> {
        let mut heard = lock(&self.heard);
        heard.what = Some(told);
        heard.waker.take()
    }

    fn poll_told(&self, cx: &mut Context<'_>) -> Poll<Told> {
        let mut heard = lock(&self.heard);
        if let Some(told) = heard.what.take() {
            return Poll::Ready(told);
        }
        if !heard.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            heard.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Cohorts {
    /// Stands in line with those who ask alike.
    pub(crate) fn stand(&self, terms: Terms, asker: Asker) -> Standing {
        let cohort = self.join(terms);
        let waiter = Arc::new(Waiter { asker, heard: Mutex::default() });
        let mut state = lock(&cohort.state);
        state.line.push_back(Arc::clone(&waiter));
        // Where a turn has lasted, the store's line is stood in while its last holder still works; before that, when he
        // releases, in the same step.
        let goes_on = state.turn.as_ref().is_some_and(|turn| !turn.has_lasted(Moment::now()));
        let woken = if goes_on { None } else { state.asks() };
        drop(state);
        wake(woken);
        Standing { cohort, waiter, asks: false, asking: None, served: false }
    }

    fn join(&self, terms: Terms) -> Arc<Cohort> {
        let mut map = lock(&self.0);
        if let Some(cohort) = map.get(&terms).and_then(Weak::upgrade) {
            return cohort;
        }
        let cohorts = self.clone();
        let cohort = Arc::new(Cohort { terms: terms.clone(), cohorts, state: Mutex::default() });
        map.insert(terms, Arc::downgrade(&cohort));
        cohort
    }
}

impl Drop for Cohort {
    fn drop(&mut self) {
        let mut map = lock(&self.cohorts.0);
        if map.get(&self.terms).is_some_and(|weak| std::ptr::eq(weak.as_ptr(), self)) {
            map.remove(&self.terms);
        }
    }
}

impl State {
    /// Has the first in line ask, if nobody does yet. Whom to wake for that.
    #[must_use]
    fn asks(&mut self) -> Option<Waker> {
        if self.asks {
            return None;
        }
        let first = self.line.front()?;
        self.asks = true;
        first.tell(Told::Ask)
    }

    /// The turn with this lease is over, whoever says so. Whom to wake for that.
    #[must_use]
    fn over(&mut self, ticket: Ticket) -> Option<Waker> {
        if self.turn.as_ref().is_none_or(|turn| turn.kept.ticket != ticket) {
            return None;
        }
        self.turn = None;
        self.asks()
    }
}

/// Nobody is woken while a state is locked: whoever is may run at once.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Cohort {
    /// The turn with this lease is over: it was lost, or its holder keeps it for himself.
    pub(crate) fn over(&self, ticket: Ticket) {
        let woken = lock(&self.state).over(ticket);
        wake(woken);
    }

    /// A turn begins, with the first in line, who asked.
    fn begins(self: &Arc<Self>, mut lease: Lease, holder: Holder) -> Lease {
        let kept = Arc::clone(lease.kept());
        let (ticket, token, since) = (kept.ticket, kept.token, kept.since);
        let left = lease.tokens.min(self.terms.members).saturating_sub(1);
        lease.member = Some(Box::new(Member { holder, token, since, cohort: Arc::clone(self) }));
        let turn = Turn { kept: Arc::clone(&kept), began: since, token, left };
        let mut state = lock(&self.state);
        let before = state.turn.replace(turn);
        let first = state.line.pop_front();
        state.asks = false;
        drop(state);
        drop((before, first));
        let cohort = Arc::downgrade(self);
        // Whoever waits behind a holder that has lost the lease and hangs does not wait for him.
        kept.on_loss(Box::new(move || {
            if let Some(cohort) = cohort.upgrade() {
                cohort.over(ticket);
            }
        }));
        lease
    }
}

/// What becomes of a lease that is released.
pub(crate) enum Handed {
    /// The next in its process's line has it.
    On,
    /// Its turn is over: it is to be released at the store.
    Over(Lease),
    /// The same, and the first of those who still wait is to stand in the store's line, in one step.
    Rotates(Lease, Rotation),
}

/// Hands a lease that is released to the next in its process's line, if its turn goes on. `rotates`: whether its releaser
/// can ask the store again for those who still wait, where nobody does yet.
pub(crate) fn hand_on(mut lease: Lease, now: Moment, rotates: bool) -> Handed {
    let Some(member) = lease.member.as_mut() else { return Handed::Over(lease) };
    let (ticket, cohort) = (lease.kept.ticket, Arc::clone(&member.cohort));
    let mut state = lock(&cohort.state);
    let State { line, turn, asks, .. } = &mut *state;
    let mine = turn.as_mut().filter(|turn| turn.kept.ticket == ticket && !*asks);
    // Invariant: only whoever holds the lease hands it on, and only to one.
    match mine {
        Some(turn) if turn.goes_on(now) => {
            if let Some(next) = line.pop_front() {
                (turn.token, turn.left) = (FencingToken(turn.token.0 + 1), turn.left - 1);
                (member.token, member.holder, member.since) = (turn.token, next.asker.holder.clone(), now);
                let woken = next.tell(Told::Lease(lease));
                drop(state);
                wake(woken);
                return Handed::On;
            }
        }
        Some(_) if rotates => {
            if let Some(first) = line.front() {
                let request = cohort.terms.request(&first.asker);
                (state.turn, state.asks) = (None, true);
                drop(state);
                return Handed::Rotates(lease, Rotation { cohort, request });
            }
        }
        _ => {}
    }
    let woken = state.over(ticket);
    drop(state);
    wake(woken);
    Handed::Over(lease)
}

/// A release that asks the store again for the first who still waits in its process. Until it has ended nobody else of
/// them asks. Dropping it has the first of them ask.
pub(crate) struct Rotation {
    cohort: Arc<Cohort>,
    request: Request,
}

impl Rotation {
    /// Releases the lease, and stands in line again. Answers what came of the release; what came of the other is heard by
    /// whoever is the first of those who wait.
    pub(crate) async fn run(self, mut lease: Lease) -> Result<()> {
        let Terms { max_hold, replicas, .. } = self.cohort.terms;
        lease.member = None;
        let store = Arc::clone(lease.store());
        let mut place = lease.place(self.request.clone(), max_hold);
        place.rotate(lease, None).await?;
        lock(&self.cohort.state).parked = Some(asking(place, store, replicas));
        Ok(())
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        let mut state = lock(&self.cohort.state);
        state.asks = false;
        let woken = state.asks();
        // Where nobody waits any more, it is taken back.
        let left = if state.asks { None } else { state.parked.take() };
        drop(state);
        drop(left);
        wake(woken);
    }
}

impl Member {
    /// This holder keeps the lease for himself: it is handed on to nobody of his process.
    pub(crate) fn leaves(&self, ticket: Ticket) {
        self.cohort.over(ticket);
    }
}

/// A place in a cohort's line. Dropping it leaves the line; whoever is behind goes on.
pub(crate) struct Standing {
    cohort: Arc<Cohort>,
    waiter: Arc<Waiter>,
    asks: bool,
    asking: Option<Asking>,
    /// Whether it stands in line no more, since it was told what came of it.
    served: bool,
}

impl Standing {
    /// Waits for the lease, or asks the store for it when it is told to. `ask` makes the request, if there is none under
    /// way. Cancel safe: dropping it keeps the place.
    pub(crate) async fn lease(&mut self, ask: impl Fn(&Terms, &Asker) -> Asking) -> Result<Lease> {
        let came = poll_fn(|cx| {
            if !self.asks {
                match self.waiter.poll_told(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Told::Lease(lease)) => return Poll::Ready(Ok(lease)),
                    Poll::Ready(Told::Failed(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Told::Ask) => self.asks = true,
                }
            }
            self.poll_asking(cx, &ask)
        });
        let came = came.await;
        // Whoever told it anything but to ask has taken it out of the line before.
        self.served = true;
        came
    }

    fn poll_asking(
        &mut self,
        cx: &mut Context<'_>,
        ask: &impl Fn(&Terms, &Asker) -> Asking,
    ) -> Poll<Result<Lease>> {
        if self.asking.is_none() {
            let parked = lock(&self.cohort.state).parked.take();
            let anew = || ask(&self.cohort.terms, &self.waiter.asker);
            self.asking = Some(parked.unwrap_or_else(anew));
        }
        let Some(asking) = self.asking.as_mut() else { return Poll::Pending };
        let Poll::Ready(asked) = asking.as_mut().poll(cx) else { return Poll::Pending };
        (self.asking, self.asks) = (None, false);
        Poll::Ready(match asked {
            Ok(lease) => Ok(self.cohort.begins(lease, self.waiter.asker.holder.clone())),
            Err(error) => Err(self.failed(error)),
        })
    }

    /// What the store says is said to all who asked alike: asked one after the other, each would wait for it anew.
    fn failed(&mut self, error: Error) -> Error {
        let mut state = lock(&self.cohort.state);
        state.asks = false;
        let line = std::mem::take(&mut state.line);
        let woken: Vec<_> =
            line.iter().filter_map(|waiter| waiter.tell(Told::Failed(error.clone()))).collect();
        drop(state);
        self.asks = false;
        woken.into_iter().for_each(Waker::wake);
        error
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let mut state = lock(&self.cohort.state);
        state.line.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
        let told = lock(&self.waiter.heard).what.take();
        let (mut woken, mut left) = (None, None);
        if self.asks || matches!(told, Some(Told::Ask)) {
            state.asks = false;
            woken = state.asks();
            // The next goes on with the request. Where nobody waits any more, it is taken back.
            left = self.asking.take().or_else(|| state.parked.take());
            if state.asks {
                state.parked = left.take();
            }
        }
        drop(state);
        // It may have been handed the lease just now: then the next has it.
        drop((told, left));
        wake(woken);
    }
}

impl fmt::Debug for Cohort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cohort").field("terms", &self.terms).finish_non_exhaustive()
    }
}
