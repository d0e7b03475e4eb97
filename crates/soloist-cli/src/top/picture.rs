//! What `soloist top` shows of the keys at one moment, and in which order.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

use serde_json::{Value, json};
use soloist::KeyInfo;

use crate::args::Sort;
use crate::look;

/// One key.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) info: KeyInfo,
    pub(crate) grants_per_s: f64,
    /// How often it was lost in the last minute: expired, taken over or broken.
    pub(crate) lost: u64,
}

/// All keys together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) held: u64,
    pub(crate) waiting: u64,
    pub(crate) results: u64,
    pub(crate) grants_per_s: f64,
    /// Since the beginning, as the next two.
    pub(crate) expired: u64,
    pub(crate) taken_over: u64,
    pub(crate) broken: u64,
    /// How often events were missed since the beginning: then these three are the least numbers.
    pub(crate) gaps: u64,
    /// Events were missed in the last minute: then the rates, and how often a key was lost, are the least numbers.
    pub(crate) at_least: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    pub(crate) rows: Vec<Row>,
    pub(crate) totals: Totals,
}

impl Sort {
    /// The next one, for a key that goes through them.
    pub(crate) fn next(self) -> Self {
        match self {
            Sort::Busiest => Sort::Key,
            Sort::Key => Sort::Held,
            Sort::Held => Sort::Waiting,
            Sort::Waiting => Sort::Busiest,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Sort::Busiest => "busiest",
            Sort::Key => "key",
            Sort::Held => "held",
            Sort::Waiting => "waiting",
        }
    }
}

impl Picture {
    /// What matters first; equal ones by their names, so that rows do not change places for nothing.
    pub(crate) fn sort(&mut self, by: Sort) {
        let name = |one: &Row, other: &Row| one.info.key.cmp(&other.info.key);
        let busy = |one: &Row, other: &Row| other.grants_per_s.total_cmp(&one.grants_per_s);
        let line = |row: &Row| Reverse(row.info.waiting);
        let held = |row: &Row| Reverse(held_for(&row.info));
        self.rows.sort_unstable_by(|one, other| {
            let order = match by {
                Sort::Key => Ordering::Equal,
                Sort::Busiest => busy(one, other).then_with(|| line(one).cmp(&line(other))),
                Sort::Held => held(one).cmp(&held(other)),
                Sort::Waiting => line(one).cmp(&line(other)).then_with(|| busy(one, other)),
            };
            order.then_with(|| name(one, other))
        });
    }

    /// As `--json` prints it; the field names are stable.
    pub(crate) fn object(&self) -> (Value, Vec<Value>) {
        let Totals { held, waiting, results, grants_per_s, expired, taken_over, broken, gaps, at_least } =
            self.totals;
        let totals = json!({
            "held": held,
            "waiting": waiting,
            "results": results,
            "grants_per_s": rounded(grants_per_s),
            "expired": expired,
            "taken_over": taken_over,
            "broken": broken,
            "missed": gaps,
            "at_least": at_least,
        });
        let key = |row: &Row| {
            let mut object = look::object(&row.info, false);
            object["grants_per_s"] = json!(rounded(row.grants_per_s));
            object["lost"] = json!(row.lost);
            object
        };
        (totals, self.rows.iter().map(key).collect())
    }
}

/// How long it has been held; a free one less than any that is held.
fn held_for(info: &KeyInfo) -> Option<Duration> {
    info.holding.as_ref().map(|now| look::since(info, now.since))
}

/// More digits would claim to know more.
fn rounded(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use soloist::EventKind;

    use super::super::state::State;
    use super::super::state::tests::{event, held};
    use super::*;

    fn picture() -> Picture {
        let now = Instant::now();
        let mut state = State::new("*", now);
        for _ in 0..5 {
            state.tell(event("busy", EventKind::Locked), now);
        }
        state.tell(event("line", EventKind::Locked), now);
        state.picture(vec![held("long", "x", 900, 0), held("line", "x", 5, 8), held("also", "x", 5, 0)], now)
    }

    #[test]
    fn each_order_has_what_matters_first() {
        for (sort, expected) in [
            (Sort::Busiest, ["busy", "line", "also", "long"]),
            (Sort::Key, ["also", "busy", "line", "long"]),
            (Sort::Held, ["long", "also", "line", "busy"]),
            (Sort::Waiting, ["line", "busy", "also", "long"]),
        ] {
            let mut picture = picture();
            picture.sort(sort);
            let keys: Vec<&str> = picture.rows.iter().map(|row| row.info.key.as_str()).collect();
            assert_eq!(keys, expected, "{sort:?}");
        }
    }

    #[test]
    fn one_key_press_after_the_other_goes_through_all_orders() {
        let mut seen = vec![Sort::Busiest];
        while seen.len() < 4 {
            seen.extend(seen.last().map(|sort| sort.next()));
        }
        assert_eq!(
            seen.iter().map(|sort| sort.word()).collect::<Vec<_>>(),
            ["busiest", "key", "held", "waiting"]
        );
        assert_eq!(Sort::Waiting.next(), Sort::Busiest);
    }

    #[test]
    fn json_has_the_fields_of_ls_and_the_rates() {
        let mut picture = picture();
        picture.sort(Sort::Busiest);
        let (totals, keys) = picture.object();
        assert_eq!(
            (&totals["held"], &totals["waiting"], &totals["at_least"]),
            (&json!(3), &json!(8), &json!(false))
        );
        assert_eq!(
            (&keys[0]["key"], &keys[0]["held"], &keys[0]["grants_per_s"]),
            (&json!("busy"), &json!(false), &json!(5.0))
        );
        assert_eq!(
            (&keys[1]["holder"], &keys[1]["waiting"], &keys[1]["lost"]),
            (&json!("x"), &json!(8), &json!(0))
        );
    }
}
