//! What happened last, as the pane of `soloist top` shows it.

use std::collections::VecDeque;

use soloist::{Event, EventKind};

use crate::look;
use crate::out::plain;

/// So many are kept, more than any screen shows.
const MOST: usize = 100;
/// So many lines of the pane are for what matters, however much else happens: a loss is not to be missed among hundreds
/// of grants.
const KEPT: usize = 2;

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Event(Event),
    Missed,
    ClockStepped {
        by_ms: i64,
    },
    /// What the library has to say, on a plain line.
    Said(String),
}

/// The latest of them, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latest {
    next: u64,
    all: VecDeque<(u64, News)>,
    /// The latest ones that matter.
    bad: VecDeque<(u64, News)>,
}

impl News {
    /// Whether somebody ought to see it.
    pub(crate) fn is_bad(&self) -> bool {
        match self {
            News::Event(event) => {
                matches!(event.kind, EventKind::Expired | EventKind::TakenOver { .. } | EventKind::Broken)
            }
            News::Missed | News::ClockStepped { .. } | News::Said(_) => true,
        }
    }

    /// A line, as `watch` prints it.
    pub(crate) fn text(&self) -> String {
        match self {
            News::Event(event) => look::event_text(event),
            News::Missed => look::MISSED.into(),
            News::ClockStepped { by_ms } => look::clock_stepped_text(*by_ms),
            News::Said(said) => plain(said),
        }
    }
}

impl Latest {
    pub(crate) fn push(&mut self, news: News) {
        // A gap that lasts is one line, not all of them.
        if news == News::Missed && self.all.back().is_some_and(|(_, last)| *last == News::Missed) {
            return;
        }
        let number = self.next;
        self.next += 1;
        if news.is_bad() {
            self.bad.push_back((number, news.clone()));
            self.bad.drain(..self.bad.len().saturating_sub(KEPT));
        }
        self.all.push_back((number, news));
        self.all.drain(..self.all.len().saturating_sub(MOST));
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The latest of all, and the latest that matter, on so many lines; oldest first.
    pub(crate) fn pane(&self, lines: usize) -> Vec<&News> {
        let mut chosen: Vec<&(u64, News)> = self.bad.iter().rev().take(lines / 2).collect();
        for news in self.all.iter().rev() {
            if chosen.len() == lines {
                break;
            }
            if chosen.iter().all(|chosen| chosen.0 != news.0) {
                chosen.push(news);
            }
        }
        chosen.sort_unstable_by_key(|(number, _)| *number);
        chosen.into_iter().map(|(_, news)| news).collect()
    }
}

#[cfg(test)]
mod tests {
    use soloist::Told;

    use super::super::state::tests::event;
    use super::*;

    fn happened(key: &str, kind: EventKind) -> News {
        match event(key, kind) {
            Told::Event(event) => News::Event(event),
            told => panic!("{told:?}"),
        }
    }

    /// The keys, or words, of a pane.
    fn shown(latest: &Latest, lines: usize) -> Vec<String> {
        let name = |news: &&News| match news {
            News::Event(event) => event.key.to_string(),
            news => news.text().split(':').next().unwrap_or_default().to_owned(),
        };
        latest.pane(lines).iter().map(name).collect()
    }

    #[test]
    fn a_loss_stays_however_much_else_happens() {
        let mut latest = Latest::default();
        for key in ["lost-0", "lost-1", "lost-2"] {
            latest.push(happened(key, EventKind::Expired));
        }
        for number in 0..MOST * 2 {
            latest.push(happened(&format!("k{number}"), EventKind::Locked));
        }
        assert_eq!(latest.len(), MOST);
        assert_eq!(shown(&latest, 5), ["lost-1", "lost-2", "k197", "k198", "k199"]);
        assert_eq!(shown(&latest, 2), ["lost-2", "k199"]);
        assert_eq!(shown(&latest, 1), ["k199"]);
        assert!(shown(&latest, 0).is_empty());
    }

    #[test]
    fn what_happened_is_shown_once_and_in_order() {
        let mut latest = Latest::default();
        latest.push(happened("a", EventKind::Locked));
        latest.push(happened("a", EventKind::Expired));
        latest.push(News::Missed);
        latest.push(News::Missed);
        latest.push(happened("b", EventKind::Locked));
        assert_eq!(shown(&latest, 9), ["a", "a", "missed", "b"]);
        latest.push(News::Said("soloist: warning\u{1b}[2J".into()));
        assert_eq!(shown(&latest, 2), ["b", "soloist"]);
        assert!(latest.pane(1)[0].text().ends_with("\\u{1b}[2J"));
    }
}
