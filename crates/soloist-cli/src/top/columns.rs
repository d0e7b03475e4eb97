//! The list of keys as columns that fit a width, however narrow.

use super::picture::{Row, Totals};
use super::text::{cut, width};
use crate::look;

const COUNT: usize = 10;
/// Between two columns.
const GAP: usize = 2;
const KEY: usize = 0;
const HOLDER: usize = 1;
const NOTE: usize = 9;
/// Which columns stay where not all have room: the later ones go first.
const KEPT: [usize; COUNT] = [KEY, 6, HOLDER, 5, 3, 4, 2, 7, 8, NOTE];
/// Numbers stand at the right.
const RIGHT: [usize; 6] = [2, 3, 4, 5, 6, 7];
/// Less of a name than this tells nobody which it is.
const LEAST_KEY: usize = 16;
const LEAST_HOLDER: usize = 10;
const LEAST_NOTE: usize = 8;
/// Who gets the room that is left, and up to which width: one long name does not take it all.
const GROWTH: [(usize, usize); 6] =
    [(KEY, 48), (HOLDER, 32), (NOTE, 32), (KEY, usize::MAX), (HOLDER, usize::MAX), (NOTE, usize::MAX)];

/// The head, and then the rows, each as wide as there is room.
pub(crate) fn lines(rows: &[Row], totals: &Totals, room: usize) -> Vec<String> {
    let mut cells = vec![head()];
    cells.extend(rows.iter().map(|row| cells_of(row, totals.at_least)));
    let widths = widths(&cells, room);
    cells.iter().map(|cells| line(cells, &widths, room)).collect()
}

fn head() -> [String; COUNT] {
    let [key, holder, token, held, left, waiting, result, note] = look::HEAD;
    [key, holder, token, held, left, waiting, "GRANTS/S", "LOST", result, note].map(String::from)
}

/// What `ls` says of the key, and what has happened to it.
fn cells_of(row: &Row, at_least: bool) -> [String; COUNT] {
    let mut said = look::row(&row.info).into_iter();
    let mut next = || said.next().unwrap_or_default();
    let [key, holder, token, held, left, waiting, result, note] = std::array::from_fn(|_| next());
    [
        key,
        holder,
        token,
        held,
        left,
        waiting,
        rate(row.grants_per_s, at_least),
        least(row.lost, at_least),
        result,
        note,
    ]
}

/// A rate with as many digits as it has meaning.
pub(crate) fn rate(rate: f64, at_least: bool) -> String {
    let sign = if at_least { ">=" } else { "" };
    match rate {
        rate if rate <= 0.0 => format!("{sign}0"),
        rate if rate < 10.0 => format!("{sign}{rate:.1}"),
        rate => format!("{sign}{rate:.0}"),
    }
}

/// A count; of what was not heard completely it is the least one.
pub(crate) fn least(count: u64, at_least: bool) -> String {
    let sign = if at_least { ">=" } else { "" };
    format!("{sign}{count}")
}

/// How wide each column is; 0 leaves it out.
fn widths(cells: &[[String; COUNT]], room: usize) -> [usize; COUNT] {
    let full: [usize; COUNT] =
        std::array::from_fn(|at| cells.iter().map(|cells| width(&cells[at])).max().unwrap_or(0));
    let mut widths = full;
    widths[KEY] = full[KEY].min(LEAST_KEY);
    widths[HOLDER] = full[HOLDER].min(LEAST_HOLDER);
    widths[NOTE] = full[NOTE].min(LEAST_NOTE);
    for &column in KEPT.iter().rev() {
        if used(&widths) <= room {
            break;
        }
        widths[column] = 0;
    }
    // Alone and still too wide.
    if used(&widths) == 0 {
        widths[KEY] = full[KEY].min(LEAST_KEY).min(room);
    }
    for (column, most) in GROWTH {
        if widths[column] > 0 {
            let wanted = full[column].min(most).saturating_sub(widths[column]);
            widths[column] += wanted.min(room.saturating_sub(used(&widths)));
        }
    }
    widths
}

fn used(widths: &[usize; COUNT]) -> usize {
    let shown = widths.iter().filter(|&&width| width > 0);
    shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
}

fn line(cells: &[String; COUNT], widths: &[usize; COUNT], room: usize) -> String {
    let mut line = String::new();
    for (at, cell) in cells.iter().enumerate().filter(|(at, _)| widths[*at] > 0) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let cell = cut(cell, widths[at]);
        let blank = " ".repeat(widths[at].saturating_sub(width(&cell)));
        let [before, after] = if RIGHT.contains(&at) { [blank.as_str(), ""] } else { ["", blank.as_str()] };
        line.extend([before, &cell, after]);
    }
    let blank = room.saturating_sub(width(&line));
    line.push_str(&" ".repeat(blank));
    line
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use soloist::{EventKind, Note};

    use super::super::state::State;
    use super::super::state::tests::{event, held};
    use super::*;

    fn rows() -> (Vec<Row>, Totals) {
        let now = Instant::now();
        let mut state = State::new("*", now);
        state.tell(event("report:42", EventKind::Locked), now);
        let mut noted = held("nightly", "host:1", 5, 3);
        noted.holding.as_mut().unwrap().note = Some(Note::new("why\nso\u{1b}[2J").unwrap());
        let long = held(&"long".repeat(100), &"x".repeat(200), 5, 0);
        let picture = state.picture(vec![noted, long], now);
        (picture.rows, picture.totals)
    }

    #[test]
    fn all_columns_are_there_where_there_is_room() {
        let (rows, totals) = rows();
        let lines = lines(&rows[..1], &totals, 120);
        assert_eq!(
            lines[0].trim_end(),
            "KEY      HOLDER  TOKEN  HELD  LEFT  WAITING  GRANTS/S  LOST  RESULT  NOTE"
        );
        assert_eq!(
            lines[1].trim_end(),
            "nightly  host:1      7   5 s  30 s        3         0     0  -       why\\nso\\u{1b}[2J"
        );
    }

    #[test]
    fn columns_leave_one_by_one_and_the_key_last() {
        let (rows, totals) = rows();
        let mut before = usize::MAX;
        for room in (0..200).rev() {
            let lines = lines(&rows, &totals, room);
            assert!(lines.iter().all(|line| width(line) == room), "{room}: {lines:?}");
            let shown = lines[0].split_whitespace().count();
            assert!(shown <= before, "{room}: {lines:?}");
            before = shown;
        }
        let lines = lines(&rows, &totals, 40);
        assert_eq!(lines[0].trim_end(), "KEY                 HOLDER      GRANTS/S");
        assert_eq!(lines[2].trim_end(), "longlonglonglongl\u{2026}  xxxxxxxxx\u{2026}         0");
    }

    #[test]
    fn what_was_missed_is_said_of_each_number() {
        assert_eq!(
            [rate(0.0, false), rate(0.04, false), rate(9.94, false), rate(123.4, false)],
            ["0", "0.0", "9.9", "123"]
        );
        assert_eq!([rate(0.0, true), rate(12.0, true), least(3, true)], [">=0", ">=12", ">=3"]);
        assert_eq!(least(3, false), "3");
    }
}
