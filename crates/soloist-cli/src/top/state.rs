//! What `soloist top` knows: what it was told and what it was answered, and the picture that both make.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use soloist::{Event, EventKind, Glob, Key, KeyInfo, Told};

use super::news::{Latest, News};
use super::picture::{Picture, Row, Totals};
use super::window::Window;

/// Grants are counted over so long: a rate is calm, and still follows within seconds.
const GRANTS: Duration = Duration::from_secs(10);
/// Losses are rare, and to be seen by whoever looks away for a moment.
const LOSSES: Duration = Duration::from_secs(60);

/// All that is known of the keys that match the pattern.
#[derive(Debug)]
pub(crate) struct State {
    glob: Glob,
    grants: Window,
    losses: Window,
    totals: Totals,
    pub(crate) latest: Latest,
}

impl State {
    /// From now on, events are told.
    pub(crate) fn new(pattern: &str, now: Instant) -> Self {
        State {
            glob: Glob::new(pattern),
            grants: Window::new(GRANTS, now),
            losses: Window::new(LOSSES, now),
            totals: Totals::default(),
            latest: Latest::default(),
        }
    }

    pub(crate) fn tell(&mut self, told: Told, now: Instant) {
        match told {
            Told::Event(event) if !self.glob.matches(event.key.as_str()) => {}
            Told::Event(event) => {
                self.count(&event, now);
                self.latest.push(News::Event(event));
            }
            // Nothing is missed by it: it is told, too, what becomes of the leases.
            Told::ClockStepped { by_ms } => self.latest.push(News::ClockStepped { by_ms }),
            // What this version does not know yet may be a gap.
            _ => {
                self.grants.gap(now);
                self.losses.gap(now);
                self.totals.gaps += 1;
                self.latest.push(News::Missed);
            }
        }
    }

    fn count(&mut self, event: &Event, now: Instant) {
        match &event.kind {
            EventKind::Locked => self.grants.count(&event.key, now),
            EventKind::TakenOver { .. } => {
                self.grants.count(&event.key, now);
                self.losses.count(&event.key, now);
                self.totals.taken_over += 1;
            }
            EventKind::Expired => {
                self.losses.count(&event.key, now);
                self.totals.expired += 1;
            }
            EventKind::Broken => {
                self.losses.count(&event.key, now);
                self.totals.broken += 1;
            }
            _ => {}
        }
    }

    /// All keys that are listed, and those to which something happened lately though they are free just now: a key that
    /// is held for a moment a hundred times a second is seldom in a list.
    pub(crate) fn picture(&mut self, listed: Vec<KeyInfo>, now: Instant) -> Picture {
        let (grants, losses) = (self.grants.counts(now), self.losses.counts(now));
        let totals = Totals {
            held: listed.iter().filter(|info| info.holding.is_some()).count() as u64,
            waiting: listed.iter().map(|info| info.waiting).sum(),
            results: listed.iter().filter(|info| info.result.is_some()).count() as u64,
            grants_per_s: grants.a_second(grants.all),
            at_least: grants.gap || losses.gap,
            ..self.totals
        };
        let clock = listed.iter().map(|info| info.now).max().unwrap_or(0);
        let happened: HashSet<&Key> = grants.by_key.keys().chain(losses.by_key.keys()).collect();
        let known: HashSet<&Key> = listed.iter().map(|info| &info.key).collect();
        let free: Vec<KeyInfo> = happened.difference(&known).map(|key| free((*key).clone(), clock)).collect();
        let row = |info: KeyInfo| {
            let grants_per_s = grants.a_second(grants.of(&info.key));
            Row { grants_per_s, lost: losses.of(&info.key), info }
        };
        Picture { rows: listed.into_iter().chain(free).map(row).collect(), totals }
    }
}

/// A key of which the list says nothing.
fn free(key: Key, now: u64) -> KeyInfo {
    KeyInfo { key, now, holding: None, waiters: Vec::new(), waiting: 0, result: None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use soloist::{FencingToken, Holder, Holding, Want};

    use super::*;

    /// A key that is held since so many seconds before the store's clock, which is at 1000 s.
    pub(crate) fn held(key: &str, holder: &str, since: u64, waiting: u64) -> KeyInfo {
        let holding = Holding {
            holder: Holder::new(holder).unwrap(),
            token: FencingToken(7),
            since: (1000 - since) * 1_000_000,
            deadline: Some(1_030_000_000),
            note: None,
            want: Want::Lock,
        };
        KeyInfo { holding: Some(holding), waiting, ..free(Key::new(key).unwrap(), 1_000_000_000) }
    }

    pub(crate) fn event(key: &str, kind: EventKind) -> Told {
        let holder = Holder::new("worker").unwrap();
        Told::Event(Event::new(Key::new(key).unwrap(), kind, holder, FencingToken(7), 1_000_000_000))
    }

    fn row<'a>(picture: &'a Picture, key: &str) -> &'a Row {
        picture.rows.iter().find(|row| row.info.key.as_str() == key).unwrap()
    }

    #[test]
    fn events_and_the_list_make_one_picture() {
        let began = Instant::now();
        let mut state = State::new("*", began);
        let from = Holder::new("other").unwrap();
        for _ in 0..20 {
            state.tell(event("busy", EventKind::Locked), began);
            state.tell(event("busy", EventKind::Released), began);
        }
        state.tell(event("taken", EventKind::TakenOver { from }), began);
        state.tell(event("gone", EventKind::Expired), began);
        state.tell(event("gone", EventKind::Broken), began);
        let listed = vec![held("taken", "me", 5, 3), held("calm", "me", 9, 0)];
        let picture = state.picture(listed, began + Duration::from_secs(2));
        assert_eq!(picture.rows.len(), 4);
        assert_eq!((row(&picture, "busy").grants_per_s, row(&picture, "busy").lost), (10.0, 0));
        assert!(row(&picture, "busy").info.holding.is_none());
        assert_eq!((row(&picture, "taken").grants_per_s, row(&picture, "taken").lost), (0.5, 1));
        assert_eq!((row(&picture, "gone").grants_per_s, row(&picture, "gone").lost), (0.0, 2));
        assert_eq!((row(&picture, "calm").grants_per_s, row(&picture, "calm").lost), (0.0, 0));
        let Totals { held, waiting, results, grants_per_s, expired, taken_over, broken, gaps, at_least } =
            picture.totals;
        assert_eq!((held, waiting, results, grants_per_s), (2, 3, 0, 10.5));
        assert_eq!((expired, taken_over, broken, gaps, at_least), (1, 1, 1, 0, false));
        // What is neither listed nor lately heard of is left out, and the totals stay.
        let picture = state.picture(Vec::new(), began + Duration::from_secs(100));
        assert!(picture.rows.is_empty());
        assert_eq!((picture.totals.expired, picture.totals.grants_per_s), (1, 0.0));
    }

    #[test]
    fn what_was_missed_makes_the_numbers_the_least_ones() {
        let began = Instant::now();
        let mut state = State::new("*", began);
        state.tell(Told::Missed, began);
        state.tell(Told::Missed, began);
        let totals = state.picture(Vec::new(), began + Duration::from_secs(1)).totals;
        assert!(totals.at_least && totals.gaps == 2);
        assert_eq!(state.latest.len(), 1);
        assert!(state.picture(Vec::new(), began + Duration::from_secs(59)).totals.at_least);
        // All that is counted lately is whole again, but not what is counted since the beginning.
        let later = began + Duration::from_secs(66);
        let totals = state.picture(Vec::new(), later).totals;
        assert!(!totals.at_least && totals.gaps == 2);
        state.tell(Told::ClockStepped { by_ms: 7 }, later);
        assert_eq!(state.picture(Vec::new(), later).totals.gaps, 2);
    }

    #[test]
    fn other_keys_are_not_counted() {
        let began = Instant::now();
        let mut state = State::new("report:*", began);
        state.tell(event("article:1", EventKind::Expired), began);
        state.tell(event("report:1", EventKind::Expired), began);
        let picture = state.picture(Vec::new(), began);
        assert_eq!((picture.rows.len(), picture.totals.expired, state.latest.len()), (1, 1, 1));
    }
}
