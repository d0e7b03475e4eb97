//! The server of a simulation, and what can be done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::network::Weather;
use super::planted::Planted;
use super::session::{Seat, SimulatedStore};
use crate::event::Event;
use crate::name::{Session, Ticket};
use crate::protocol::{Effect, Liveness, Micros, Step, Table, Wake};
use crate::random::Dice;
use crate::store::store_clock::StoreClock;

/// The server of a simulation. Clones are the same one.
///
/// ```
/// use soloist::{Client, testing::{World, simulate}};
///
/// simulate(7, |_| async {
///     let world = World::new(7);
///     let (one, two) = (world.session(), world.session());
///     let client = Client::builder().store(one.clone())?;
///     let other = Client::builder().store(two)?;
///     let lease = client.lock("report:42").await?;
///     world.lose_data();
///     assert!(other.try_lock("report:42").await?.is_some());
///     lease.lost().await; // its next renewal finds out
///     Ok::<_, soloist::Error>(())
/// })?;
/// # Ok::<_, soloist::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct World(pub(super) Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct State {
    table: Table,
    clock: StoreClock,
    pub(super) seats: BTreeMap<Session, Seat>,
    pub(super) subscribers: Vec<(Session, mpsc::UnboundedSender<Event>)>,
    pub(super) dice: Dice,
    pub(super) weather: Weather,
    pub(super) planted: Option<Planted>,
    /// Whether leases end with their session, as on the local store.
    pub(super) bound: bool,
    /// Nobody reaches it.
    pub(super) down: bool,
    /// Changes when it starts again: what was on its way does not arrive.
    pub(super) life: u64,
    /// The scripts that it knows.
    scripts: BTreeSet<&'static str>,
    counts: BTreeMap<&'static str, u64>,
    /// Tickets that were still listened for when their session was closed.
    pub(super) forgotten: u64,
}

/// What a server that ran a verb says.
pub(super) enum Ran<T> {
    Answer(T, Micros),
    /// It does not know the script, and nobody sends it.
    NoScript,
}

struct Alive<'a>(&'a BTreeMap<Session, Seat>, bool);

impl Liveness for Alive<'_> {
    fn waiter_gone(&self, session: Session) -> bool {
        self.0.get(&session).is_none_or(|seat| !seat.heard)
    }
    fn holder_gone(&self, session: Session) -> bool {
        self.1 && !self.0.contains_key(&session)
    }
}

impl World {
    /// An empty server on this thread's clock, with calm weather. To be made under
    /// [`VirtualTime`](crate::testing::VirtualTime).
    pub fn new(seed: u64) -> Self {
        World(Arc::new(Mutex::new(State {
            table: Table::default(),
            clock: StoreClock::real(),
            seats: BTreeMap::new(),
            subscribers: Vec::new(),
            dice: Dice::new(seed),
            weather: Weather::default(),
            planted: None,
            bound: false,
            down: false,
            life: 0,
            scripts: BTreeSet::new(),
            counts: BTreeMap::new(),
            forgotten: 0,
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // The machine does not panic, so a poisoned mutex still guards a whole table.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session: what a process has. See [`World`] for an example.
    pub fn session(&self) -> Arc<SimulatedStore> {
        Arc::new(SimulatedStore::new(self.clone()))
    }

    /// Has leases end with their session, as on the local store, or not, as on Redis.
    pub fn leases_end_with_sessions(&self, bound: bool) {
        self.state().bound = bound;
    }

    /// Builds a fault in.
    pub fn plant(&self, planted: Planted) {
        self.state().planted = Some(planted);
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Takes the server away, or has it back. Then all who were there look again, each after some time.
    pub fn set_down(&self, down: bool) {
        let sessions: Vec<Session> = {
            let mut state = self.state();
            state.count("down", down);
            state.down = down;
            state.life += u64::from(down);
            for seat in state.seats.values_mut() {
                seat.heard = false;
            }
            state.seats.keys().copied().collect()
        };
        if !down {
            sessions.into_iter().for_each(|session| self.comes_back(session));
        }
    }

    /// It loses all its data, as a server without persistence that starts again. Answers its largest token.
    pub fn lose_data(&self) -> u64 {
        let mut state = self.state();
        state.count("data lost", true);
        let last = std::mem::take(&mut state.table).last.0;
        if state.planted == Some(Planted::BareCounter) {
            // The machine takes the larger of counter and clock: a clock that begins again is a counter.
            let now = i64::try_from(state.clock.now()).unwrap_or(i64::MAX);
            state.clock.step(1 - now);
        }
        last
    }

    /// It forgets its scripts.
    pub fn flush_scripts(&self) {
        let mut state = self.state();
        state.count("scripts flushed", true);
        state.scripts.clear();
    }

    /// Steps its clock, by so many microseconds.
    pub fn step_clock(&self, by: i64) {
        let mut state = self.state();
        state.count("clock stepped", true);
        state.clock.step(by);
    }

    /// How often each kind of fault has happened.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// What there is: keys held, requests in line, tickets that were listened for by nobody, sessions.
    pub fn left(&self) -> [u64; 4] {
        let state = self.state();
        let keys = state.table.keys.values();
        let held = keys.clone().filter(|key| !key.holders.is_empty()).count();
        let waiting: usize = keys.map(|key| key.queue.len()).sum();
        [held as u64, waiting as u64, state.forgotten, state.seats.len() as u64]
    }

    /// A session that was cut off is heard again, and looks at what it missed.
    pub(super) fn comes_back(&self, session: Session) {
        let (world, pause) = (self.clone(), self.state().dice.between(10_000, 800_000));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(pause)).await;
            let hub = {
                let mut state = world.state();
                let down = state.down;
                state.seats.get_mut(&session).filter(|seat| !down && !seat.cut).map(|seat| {
                    seat.heard = true;
                    Arc::clone(&seat.hub)
                })
            };
            if let Some(hub) = hub {
                hub.look_all(true);
            }
        });
    }

    /// Sends what a step wants to be told.
    fn deliver(&self, session: Session, ticket: Ticket, wake: Wake) {
        let (way, lost) = {
            let mut state = self.state();
            let State { weather, dice, .. } = &mut *state;
            let (way, lost) = (weather.way(dice), dice.chance(weather.wake_up_lost));
            // A leader that publishes blindly does not hear either that it was replaced.
            let blind = state.planted == Some(Planted::BlindPublish) && matches!(wake, Wake::Lost(..));
            let lost = lost || blind;
            state.count("wake-ups lost", lost);
            (way, lost)
        };
        let world = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(way).await;
            let gate = world.state().seats.get(&session).map(|seat| Arc::clone(&seat.gate));
            let Some(gate) = gate else { return };
            gate.passed().await;
            let hub = {
                let state = world.state();
                let seat = state.seats.get(&session).filter(|seat| !lost && !seat.cut && !state.down);
                seat.map(|seat| Arc::clone(&seat.hub))
            };
            match hub {
                Some(hub) => hub.tell(ticket, wake),
                // A loss that is not told is noticed with the connection: nothing else tells a lease without
                // an end of it.
                None if matches!(wake, Wake::Lost(..)) => world.comes_back(session),
                None => {}
            }
        });
    }

    /// Runs a verb.
    pub(super) fn run<T>(
        &self,
        verb: &'static str,
        run: impl FnOnce(&mut Table, &mut Step<'_>) -> T,
    ) -> Ran<T> {
        let mut state = self.state();
        let now = state.clock.now();
        if state.scripts.insert(verb) && state.planted == Some(Planted::NoFallback) && state.life_flushed() {
            state.scripts.remove(verb);
            return Ran::NoScript;
        }
        let State { table, seats, bound, .. } = &mut *state;
        let alive = Alive(seats, *bound);
        let mut step = Step::new(now, &alive);
        let answer = run(table, &mut step);
        let effects = step.effects;
        let mut wakes = Vec::new();
        for effect in effects {
            match effect {
                Effect::Wake(session, ticket, wake) => wakes.push((session, ticket, wake)),
                Effect::Event(event) => state.subscribers.retain(|(_, s)| s.send(event.clone()).is_ok()),
            }
        }
        drop(state);
        wakes.into_iter().for_each(|(session, ticket, wake)| self.deliver(session, ticket, wake));
        Ran::Answer(answer, now)
    }
}

impl State {
    pub(super) fn count(&mut self, kind: &'static str, happened: bool) {
        if happened {
            *self.counts.entry(kind).or_default() += 1;
        }
    }

    /// Whether the scripts were ever flushed: at first everybody has sent them.
    fn life_flushed(&self) -> bool {
        self.counts.contains_key("scripts flushed")
    }
}
