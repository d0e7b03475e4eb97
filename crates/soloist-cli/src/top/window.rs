//! How often something happened to each key lately: a window that moves with time, in a few parts.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use soloist::Key;

/// So many parts has a window: what leaves it leaves in so many steps.
const PARTS: u64 = 10;
/// Nothing is said of a shorter time: the first grant of all would be a thousand a second.
const SHORTEST: Duration = Duration::from_secs(1);

/// Counts by key over the last time.
#[derive(Debug)]
pub(crate) struct Window {
    began: Instant,
    part: Duration,
    /// Those in which something happened, oldest first.
    parts: VecDeque<Part>,
}

#[derive(Debug, Default)]
struct Part {
    number: u64,
    counts: HashMap<Key, u64>,
    gap: bool,
}

/// What stands in a window.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) by_key: HashMap<Key, u64>,
    pub(crate) all: u64,
    /// Over so long.
    pub(crate) span: Duration,
    /// Something may have happened that nobody told: these are the least numbers.
    pub(crate) gap: bool,
}

impl Window {
    /// A window as long as this, of what happens from now on.
    pub(crate) fn new(length: Duration, now: Instant) -> Self {
        Window { began: now, part: length / PARTS as u32, parts: VecDeque::new() }
    }

    pub(crate) fn count(&mut self, key: &Key, now: Instant) {
        let counts = &mut self.part(now).counts;
        // A key that is there already is not copied: some happen ten thousand times a second.
        match counts.get_mut(key) {
            Some(count) => *count += 1,
            None => drop(counts.insert(key.clone(), 1)),
        }
    }

    /// Something was not told here.
    pub(crate) fn gap(&mut self, now: Instant) {
        self.part(now).gap = true;
    }

    pub(crate) fn counts(&mut self, now: Instant) -> Counts {
        let number = self.forget(now);
        let first = number.saturating_sub(PARTS - 1);
        let since = self.part * u32::try_from(first).unwrap_or(u32::MAX);
        let span = now.saturating_duration_since(self.began).saturating_sub(since).max(SHORTEST);
        let mut counts = Counts { span, ..Counts::default() };
        for part in &self.parts {
            counts.gap |= part.gap;
            for (key, count) in &part.counts {
                counts.all += count;
                match counts.by_key.get_mut(key) {
                    Some(sum) => *sum += count,
                    None => drop(counts.by_key.insert(key.clone(), *count)),
                }
            }
        }
        counts
    }

    /// The part of this moment.
    fn part(&mut self, now: Instant) -> &mut Part {
        let number = self.forget(now);
        if self.parts.back().is_none_or(|part| part.number != number) {
            self.parts.push_back(Part { number, ..Part::default() });
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    /// Forgets what is too long ago; the number of this moment's part.
    fn forget(&mut self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_micros();
        let number = u64::try_from(since / self.part.as_micros().max(1)).unwrap_or(u64::MAX);
        while self.parts.front().is_some_and(|part| part.number + PARTS <= number) {
            self.parts.pop_front();
        }
        number
    }
}

impl Counts {
    /// How many of these were so many a second.
    pub(crate) fn a_second(&self, count: u64) -> f64 {
        count as f64 / self.span.max(SHORTEST).as_secs_f64()
    }

    pub(crate) fn of(&self, key: &Key) -> u64 {
        self.by_key.get(key).copied().unwrap_or(0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(name).unwrap()
    }

    fn at(began: Instant, millis: u64) -> Instant {
        began + Duration::from_millis(millis)
    }

    #[test]
    fn a_rate_is_over_the_time_that_was_watched_at_first_and_then_over_the_window() {
        let began = Instant::now();
        let mut window = Window::new(Duration::from_secs(10), began);
        for tenth in 0..40 {
            window.count(&key("a"), at(began, tenth * 100));
        }
        window.count(&key("b"), at(began, 3999));
        let counts = window.counts(at(began, 4000));
        assert_eq!((counts.of(&key("a")), counts.of(&key("b")), counts.all), (40, 1, 41));
        assert_eq!(counts.a_second(counts.of(&key("a"))), 10.0);
        // Nothing happens any more: the rate falls until all of it has left.
        let rates: Vec<u64> = (4..16).map(|second| window.counts(at(began, second * 1000)).all).collect();
        assert_eq!(rates, [41, 41, 41, 41, 41, 41, 31, 21, 11, 0, 0, 0]);
        let counts = window.counts(at(began, 9000));
        assert!(counts.span <= Duration::from_secs(10), "{counts:?}");
        assert!(window.parts.is_empty());
    }

    #[test]
    fn the_very_first_grant_is_one_a_second() {
        let began = Instant::now();
        let mut window = Window::new(Duration::from_secs(10), began);
        window.count(&key("a"), began);
        assert_eq!(window.counts(at(began, 3)).a_second(1), 1.0);
    }

    #[test]
    fn a_gap_is_told_for_as_long_as_it_is_in_the_window() {
        let began = Instant::now();
        let mut window = Window::new(Duration::from_secs(10), began);
        assert!(!window.counts(at(began, 1000)).gap);
        window.gap(at(began, 1500));
        assert!(window.counts(at(began, 1500)).gap && window.counts(at(began, 10_900)).gap);
        assert!(!window.counts(at(began, 11_000)).gap);
    }

    #[test]
    fn a_clock_that_is_far_ahead_or_behind_is_survived() {
        let began = Instant::now();
        let mut window = Window::new(Duration::from_secs(10), at(began, 60_000));
        window.count(&key("a"), began);
        assert_eq!(window.counts(began).all, 1);
        assert_eq!(window.counts(at(began, 1 << 40)).all, 0);
    }
}
