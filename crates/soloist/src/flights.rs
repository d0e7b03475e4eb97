//! The flights of one process: however many callers want the same result, one of them asks the store.
//!
//! The callers of a key pass a baton. Who has it drives: it stands in line, and either hears the result,
//! which then is everybody's, or leads and computes it. A driver that goes away passes the baton on, and
//! with it its place in the line. A leader that loses its lease is left behind with the baton: the others go
//! on without it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use crate::kept::Kept;
use crate::name::{Key, Ticket};
use crate::place::Place;
use crate::protocol::{Outcome, Request};
use crate::sync::{Mutex, MutexGuard, Notify};

#[cfg(soloist_shuttle)]
pub mod interleavings;

/// The flights that callers of this process are on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<Key, Weak<LocalFlight>>>>);

/// The callers of one key in this process.
pub(crate) struct LocalFlight {
    key: Key,
    flights: Flights,
    state: Mutex<State>,
    /// Wakes one when the baton is free, and all when the flight is over. Whoever is woken looks at the state.
    told: Notify,
}

#[derive(Default)]
struct State {
    /// Whether somebody has the baton.
    driven: bool,
    /// The request of whoever has it and leads.
    leader: Option<Ticket>,
    /// The place in line that the last driver left.
    place: Option<Box<Place>>,
    over: Option<Over>,
}

/// How a flight ended.
#[derive(Clone)]
enum Over {
    Done(Arc<Outcome>),
    /// Its leader has lost the lease: the others join a new flight.
    Left,
}

/// What a caller gets: the result, or its turn to drive.
pub(crate) enum Turn {
    Done(Arc<Outcome>),
    Drive(Baton),
}

/// The turn to drive. Dropping it passes it on.
pub(crate) struct Baton {
    flight: Arc<LocalFlight>,
    place: Option<Box<Place>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held, and the state is whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flights {
    /// Waits with the other callers of a key for the result or for the turn to drive. Cancel safe.
    pub(crate) async fn turn(&self, key: &Key) -> Turn {
        loop {
            if let Some(turn) = self.join(key).turn().await {
                return turn;
            }
        }
    }

    /// The turn to drive at once, apart from all other callers.
    pub(crate) fn alone(&self, key: &Key) -> Turn {
        let flight = LocalFlight::new(key, self);
        lock(&flight.state).driven = true;
        Turn::Drive(Baton { flight: Arc::new(flight), place: None })
    }

    /// Joins the callers of a key.
    fn join(&self, key: &Key) -> Arc<LocalFlight> {
        let mut map = lock(&self.0);
        if let Some(flight) = map.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(LocalFlight::new(key, self));
        map.insert(key.clone(), Arc::downgrade(&flight));
        flight
    }

    /// Whoever comes from now on joins a new flight.
    pub(crate) fn part(&self, key: &Key) {
        lock(&self.0).remove(key);
    }

    fn remove(&self, flight: &LocalFlight) {
        let mut map = lock(&self.0);
        if map.get(&flight.key).is_some_and(|weak| std::ptr::eq(weak.as_ptr(), flight)) {
            map.remove(&flight.key);
        }
    }
}

impl LocalFlight {
    fn new(key: &Key, flights: &Flights) -> Self {
        let (key, flights, state) = (key.clone(), flights.clone(), Mutex::default());
        LocalFlight { key, flights, state, told: Notify::new() }
    }

    /// Waits for the result or the baton. `None` when the leader has lost its lease and with it this flight:
    /// the others join a new one. Cancel safe: a wake-up that was meant for this one goes to another.
    async fn turn(self: Arc<Self>) -> Option<Turn> {
        loop {
            // Before the look: what is told after it is not missed.
            let told = pin!(self.told.notified());
            {
                let mut state = lock(&self.state);
                match &state.over {
                    Some(Over::Done(outcome)) => return Some(Turn::Done(Arc::clone(outcome))),
                    Some(Over::Left) => return None,
                    None if state.driven => {}
                    None => {
                        state.driven = true;
                        let place = state.place.take();
                        drop(state);
                        return Some(Turn::Drive(Baton { flight: Arc::clone(&self), place }));
                    }
                }
            }
            told.await;
        }
    }

    /// Nobody waits here any more.
    fn end(&self, over: Over) {
        self.flights.remove(self);
        lock(&self.state).over.get_or_insert(over);
        self.told.notify_waiters();
    }

    /// The lease of this request is lost.
    fn lost(&self, leader: Ticket) {
        if lock(&self.state).leader == Some(leader) {
            self.end(Over::Left);
        }
    }
}

impl Drop for LocalFlight {
    fn drop(&mut self) {
        self.flights.remove(self);
    }
}

impl Baton {
    /// The place in line: the one that an earlier driver left, if it asks for the same.
    pub(crate) fn place(
        &mut self,
        request: Request,
        max_hold: Option<Duration>,
        new: impl FnOnce(Request) -> Place,
    ) -> &mut Place {
        let left = self.place.take().filter(|place| place.asks_for(&request, max_hold));
        self.place.insert(left.unwrap_or_else(|| Box::new(new(request))))
    }

    /// The place has been served: there is none to pass on.
    pub(crate) fn served(&mut self) {
        self.place = None;
    }

    /// Its lease: once that is lost, the others do not wait for this caller any more.
    pub(crate) fn leads(&self, kept: &Kept) {
        let (leader, flight) = (kept.ticket, Arc::downgrade(&self.flight));
        lock(&self.flight.state).leader = Some(leader);
        kept.on_loss(Box::new(move || {
            if let Some(flight) = flight.upgrade() {
                flight.lost(leader);
            }
        }));
    }

    /// Everybody of this process who waits has this result.
    pub(crate) fn done(&self, outcome: Arc<Outcome>) {
        self.flight.end(Over::Done(outcome));
    }
}

impl Drop for Baton {
    fn drop(&mut self) {
        let mut state = lock(&self.flight.state);
        (state.driven, state.leader) = (false, None);
        // The next driver goes on with the place. If there is none, the flight drops it, and it is left.
        state.place = self.place.take();
        drop(state);
        self.flight.told.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::clock::Moment;
    use crate::error::Loss;
    use crate::name::{FencingToken, Holder};
    use crate::protocol::{Body, OutcomeKind, Ttl};
    use crate::testing::orders::{Actor, Ended, every_order, step};

    fn outcome() -> Outcome {
        let (leader, body) = (Holder::new("h").unwrap(), Body::Inline("1".into()));
        Outcome { token: FencingToken(1), leader, at: 0, until: 0, kind: OutcomeKind::Value, body }
    }

    fn lease() -> Arc<Kept> {
        let (key, holder) = (Key::new("k").unwrap(), Holder::new("h").unwrap());
        let (ticket, life) = ((key, Ticket::from_u128(1)), (Moment::now(), None));
        Arc::new(Kept::new(ticket, FencingToken(1), holder, Ttl::Forever, life))
    }

    /// Drives, or hears the result. `led` counts who has led.
    async fn calls(flights: Flights, led: Rc<Cell<usize>>) {
        if let Turn::Drive(baton) = flights.turn(&Key::new("k").unwrap()).await {
            step().await;
            led.set(led.get() + 1);
            baton.done(Arc::new(outcome()));
        }
    }

    #[test]
    fn in_no_order_is_the_baton_lost() {
        let orders = every_order(|| {
            let (flights, led) = (Flights::default(), Rc::new(Cell::new(0)));
            let calls = || calls(flights.clone(), Rc::clone(&led));
            let actors =
                vec![Actor::dropped_anywhere(calls()), Actor::dropped_anywhere(calls()), Actor::new(calls())];
            let check = move |ends: &[Ended]| {
                assert!(!ends.contains(&Ended::Stuck), "a caller waits for nobody: {ends:?}");
                assert!(led.get() >= 1);
                assert!(lock(&flights.0).is_empty(), "a flight is left that nobody is on");
            };
            (actors, check)
        });
        assert!(orders > 100, "{orders}");
    }

    #[test]
    fn in_no_order_does_a_leader_that_lost_its_lease_hold_anybody_up() {
        let orders = every_order(|| {
            let (flights, led, kept) = (Flights::default(), Rc::new(Cell::new(0)), lease());
            let (driving, lost) = (flights.clone(), Arc::clone(&kept));
            let leader = Actor::new(async move {
                let Turn::Drive(baton) = driving.turn(&Key::new("k").unwrap()).await else { return };
                baton.leads(&kept);
                // It does not notice, and computes for ever.
                std::future::pending::<()>().await;
            });
            let loss = Actor::new(async move {
                step().await;
                lost.lose(Loss::Gone);
            });
            let calls = || calls(flights.clone(), Rc::clone(&led));
            let actors = vec![leader, loss, Actor::new(calls()), Actor::dropped_anywhere(calls())];
            let check =
                move |ends: &[Ended]| assert_ne!(ends[2], Ended::Stuck, "it waits for the old leader");
            (actors, check)
        });
        assert!(orders > 100, "{orders}");
    }
}
