//! The lines at the top and the bottom of the screen of `soloist top`, and how things look there.

use ratatui::style::{Color, Modifier, Style};

use super::columns::{least, rate};
use super::face::{Face, Page};
use super::text::{cut, width};
use super::view::View;
use crate::out::plain;
use crate::units::{human, utc};

/// Which program and store; in which order, how often, and when.
pub(super) fn head(face: &Face, view: &View<'_>, room: u16) -> String {
    let room = usize::from(room);
    let paused = if face.paused { "PAUSED  " } else { "" };
    let every = human(view.interval);
    let right = format!("{paused}by {}  every {every}  {}", face.sort.word(), clock(view.at));
    let left = format!("soloist top  {}", plain(view.store));
    match room.checked_sub(width(&right) + 2) {
        Some(left_room) if left_room >= 11 => {
            let left = cut(&left, left_room);
            let blank = " ".repeat(room - width(&left) - width(&right));
            format!("{left}{blank}{right}")
        }
        _ => cut(&format!("{paused}{left}"), room),
    }
}

/// All keys together.
pub(super) fn totals(view: &View<'_>, room: u16) -> String {
    let totals = view.picture.totals;
    let missed = totals.gaps > 0;
    let mut parts = vec![
        format!("{} held", totals.held),
        format!("{} waiting", totals.waiting),
        format!("{} grants/s", rate(totals.grants_per_s, totals.at_least)),
        format!("{} expired", least(totals.expired, missed)),
        format!("{} taken over", least(totals.taken_over, missed)),
        format!("{} broken", least(totals.broken, missed)),
        format!("{} results", totals.results),
    ];
    if missed {
        parts.push("(>=: some events could not be heard)".into());
    }
    cut(&parts.join("  "), usize::from(room))
}

/// What can be pressed.
pub(super) fn footer(face: &Face) -> String {
    let pause = if face.paused { "p go on" } else { "p pause" };
    match face.page {
        Page::List => format!("q quit  \u{2191}\u{2193} select  Enter details  s sort  {pause}  ? help"),
        Page::Details { .. } => format!("Esc back  \u{2191}\u{2193} scroll  {pause}  q quit  ? help"),
        Page::Help => "Esc back  q quit".into(),
    }
}

/// The time of day, in UTC.
pub(super) fn clock(micros: u64) -> String {
    format!("{}Z", utc(micros).get(11..19).unwrap_or_default())
}

// Colour says nothing that words do not say, too: `NO_COLOR` takes it away.

pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

pub(super) fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

pub(super) fn red() -> Style {
    bold().fg(Color::Red)
}

pub(super) fn yellow() -> Style {
    Style::new().fg(Color::Yellow)
}
