//! What is known of the server's clock, from its answers: until when a request is wanted there, and whether that
//! clock was set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use super::scripts::ScriptClock;
use crate::clock::Moment;
use crate::observe;
use crate::protocol::Micros;
use crate::store::Told;
use crate::store::hub::Hub;

/// How fast two clocks may drift apart that nobody sets, in parts of a million: a clock that is slewed runs so
/// much too fast or too slow at the most.
const DRIFT: i64 = 500;
/// A clock that is elsewhere by more than this was set, in microseconds. Less than that costs a lease no more than
/// a slow answer may, and what was read while the machine was busy is not taken for it.
const STEP: i64 = 500_000;
/// How long a reading serves for what is asked without one: a step of the clock is noticed within that time.
const SERVES: Duration = Duration::from_secs(1);

/// The clock of the server that answers a store.
pub(super) struct ServerClock {
    store: Arc<str>,
    hub: Arc<Hub>,
    /// Weak: the streams of events end with the listener, not with this.
    events: broadcast::WeakSender<Told>,
    known: Mutex<Option<Ahead>>,
    /// When it was connected to last: what was read before may be another server's.
    connected: AtomicU64,
    by: ScriptClock,
}

/// By how much the server's clock is ahead of the client's, in microseconds: at least, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    least: i64,
    most: i64,
    /// When that was read last.
    at: Moment,
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

impl Ahead {
    /// The server's clock showed `now` at some moment between these two.
    fn of(sent: Moment, heard: Moment, now: Micros) -> Self {
        let now = signed(now);
        Ahead {
            least: now.saturating_sub(signed(heard.micros())),
            most: now.saturating_sub(signed(sent.micros())),
            at: heard,
        }
    }

    /// What follows from this for a later moment.
    fn later(self, at: Moment) -> Self {
        let drift = signed(at.micros()).saturating_sub(signed(self.at.micros())).max(0) / (1_000_000 / DRIFT);
        Ahead { least: self.least.saturating_sub(drift), most: self.most.saturating_add(drift), at }
    }

    /// What is known after another reading; and by how much the clock was set, if it was.
    fn and(self, new: Ahead) -> (Self, Option<i64>) {
        let old = self.later(new.at);
        let (least, most) = (old.least.max(new.least), old.most.min(new.most));
        if least <= most {
            return (Ahead { least, most, ..new }, None);
        }
        // The two do not agree. Its middle is the best guess of each.
        let set = (least - most > STEP).then(|| (new.least + new.most) / 2 - (self.least + self.most) / 2);
        (new, set)
    }
}

impl ServerClock {
    /// Nothing is known yet. Who waits, who holds and who watches is told when the clock was set.
    pub(super) fn new(
        store: Arc<str>,
        hub: Arc<Hub>,
        events: &broadcast::Sender<Told>,
        by: ScriptClock,
    ) -> Self {
        Self::of(store, hub, events.downgrade(), by)
    }

    /// The same, for one node of several.
    pub(super) fn of(
        store: Arc<str>,
        hub: Arc<Hub>,
        events: broadcast::WeakSender<Told>,
        by: ScriptClock,
    ) -> Self {
        ServerClock { store, hub, events, known: Mutex::default(), connected: AtomicU64::new(0), by }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Ahead>> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is what the server itself says that counts.
    pub(super) fn is_servers(&self) -> bool {
        self.by == ScriptClock::Servers
    }

    /// A server is connected to, which may be another one than before.
    pub(super) fn connected(&self) {
        self.connected.store(Moment::now().micros(), Ordering::Release);
    }

    /// Takes a reading in: the server's clock showed `now` while it answered what was sent at `sent`.
    pub(super) fn read(&self, sent: Moment, now: Micros) {
        if self.by == ScriptClock::Driven {
            return;
        }
        let new = Ahead::of(sent, Moment::now(), now);
        let set = {
            let mut known = self.known();
            let (both, set) = known.map_or((new, None), |old| old.and(new));
            *known = Some(both);
            set
        };
        if let Some(us) = set {
            observe::clock_stepped(&self.store, us as f64 / 1e6);
            // Leases end early or late now: whoever holds or waits asks what is so.
            self.hub.look_all(true);
            if let Some(events) = self.events.upgrade() {
                // An error means that nobody watches.
                let _ = events.send(Told::ClockStepped { by_ms: us / 1000 });
            }
        }
    }

    /// The time on the server's clock that is not past before this moment has come here, and is past at any later
    /// one. `None` where nothing is known of that clock.
    pub(super) fn at(&self, moment: Moment) -> Option<Micros> {
        let known = (*self.known())?;
        u64::try_from(signed(moment.micros()).saturating_add(known.least)).ok()
    }

    /// About what the server's clock shows when it carries out what is sent at this moment, and what it shows at that moment
    /// at the most, from a reading of the last second. `None` where there is none, and on a clock that a test sets.
    pub(super) fn lately(&self, sent: Moment) -> Option<(Micros, Micros)> {
        let known = (*self.known()).filter(|known| self.is_servers() && sent.since(known.at) < SERVES)?;
        if known.at.micros() < self.connected.load(Ordering::Acquire) {
            return None;
        }
        let shows = |ahead: i64| u64::try_from(signed(sent.micros()).saturating_add(ahead)).ok();
        // A reading's most is too much by the way there, which is what the next request takes, too.
        Some((shows(known.most)?, shows(known.later(sent).most)?))
    }

    /// How much later than this the server may carry a request out that is bounded by it: its clock may have
    /// drifted since it was read last.
    pub(super) fn margin() -> Duration {
        Duration::from_secs(1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const START: Micros = 1_700_000_000_000_000;

    fn at(ms: u64) -> Moment {
        // A client that has been up for an hour.
        Moment::now().after(Duration::from_secs(3600) + Duration::from_millis(ms))
    }

    /// A reading at `ms` that took `took`, of a clock that is `off` away from ours.
    fn reading(base: Moment, ms: u64, took: u64, off: i64) -> Ahead {
        let sent = base.after(Duration::from_millis(ms));
        let heard = sent.after(Duration::from_millis(took));
        Ahead::of(sent, heard, (START as i64 + (ms + took / 2) as i64 * 1000 + off) as u64)
    }

    #[test]
    fn answers_that_take_long_are_no_step_and_sharpen_nothing() {
        let base = at(0);
        let mut known = reading(base, 0, 2, 0);
        for (ms, took) in [(10, 1900), (2000, 1), (2001, 10_000), (13_000, 3)] {
            let before = known;
            let (both, set) = known.and(reading(base, ms, took, 0));
            assert_eq!(set, None, "at {ms} ms");
            assert!(both.most - both.least <= (before.most - before.least) + 15_000, "{both:?}");
            known = both;
        }
    }

    #[test]
    fn a_step_is_told_once_with_its_size_and_a_drift_is_none() {
        let base = at(0);
        for by in [20_000_000, -20_000_000, 600_000, -600_000] {
            let known = reading(base, 0, 2, 0);
            let (known, set) = known.and(reading(base, 1000, 4, by));
            let told = set.unwrap();
            assert!((told - by).abs() < 10_000, "{told} of {by}");
            assert_eq!(known.and(reading(base, 2000, 4, by)).1, None);
        }
        // Ten hours at 300 parts of a million, read at both ends only.
        let known = reading(base, 0, 2, 0);
        assert_eq!(known.and(reading(base, 36_000_000, 2, 10_800_000)).1, None);
        // A small step is followed, and not told.
        let (known, set) = known.and(reading(base, 1000, 2, 300_000));
        assert_eq!(set, None);
        assert!((known.least - reading(base, 1000, 2, 300_000).least).abs() < 10_000);
    }

    #[test]
    fn the_bound_of_a_request_is_never_past_the_moment_that_it_stands_for() {
        let base = at(0);
        let known = reading(base, 0, 40, 0);
        // The server's true clock at that moment, in microseconds ahead of ours.
        let truth = START as i64 - base.micros() as i64;
        assert!(known.least <= truth && truth <= known.most);
        assert!(truth - known.least <= 40_000, "and no more early than the reading took");
    }
}
