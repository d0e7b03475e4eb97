//! The screen of `soloist top`, drawn from what is known: as much of it as there is room for.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;

use super::bars::{bold, clock, dim, footer, head, red, totals, yellow};
use super::columns;
use super::face::{Face, Page};
use super::news::Latest;
use super::picture::Picture;
use super::text::cut;
use crate::out::plain;
use crate::units::human;
use crate::{help, look};

/// The pane of events, where there is room for keys besides.
const MOST_NEWS: usize = 6;
const ROOM_FOR_NEWS: u16 = 14;

/// What is wrong with the store, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) what: String,
    /// In microseconds since 1970, by the clock of this machine.
    pub(crate) since: u64,
    pub(crate) lasts: Duration,
}

/// All that is drawn.
pub(crate) struct View<'a> {
    /// Which store, without its secrets.
    pub(crate) store: &'a str,
    pub(crate) interval: Duration,
    /// When the list was there, in microseconds since 1970, by the clock of this machine.
    pub(crate) at: u64,
    pub(crate) picture: &'a Picture,
    pub(crate) news: &'a Latest,
    pub(crate) trouble: Option<Trouble>,
}

/// Hands out the lines of the screen from the top and the bottom.
struct Room {
    left: Rect,
}

impl Room {
    fn top(&mut self, lines: u16) -> Rect {
        let lines = lines.min(self.left.height);
        let top = Rect { height: lines, ..self.left };
        (self.left.y, self.left.height) = (self.left.y + lines, self.left.height - lines);
        top
    }

    fn bottom(&mut self, lines: u16) -> Rect {
        let lines = lines.min(self.left.height);
        self.left.height -= lines;
        Rect { y: self.left.y + self.left.height, height: lines, ..self.left }
    }
}

pub(crate) fn draw(frame: &mut Frame<'_>, face: &mut Face, view: &View<'_>) {
    let whole = frame.area();
    let mut room = Room { left: whole };
    if whole.height >= 4 {
        write(frame, room.top(1), [(head(face, view, whole.width), bold())]);
    }
    write(frame, room.top(1), [(totals(view, whole.width), Style::new())]);
    if let Some(trouble) = &view.trouble {
        let at = clock(trouble.since);
        let text = format!("out of date since {at}, for {}: {}", human(trouble.lasts), plain(&trouble.what));
        write(frame, room.top(1), [(text, red())]);
    } else if whole.height >= 8 {
        room.top(1);
    }
    if whole.height >= 6 {
        write(frame, room.bottom(1), [(footer(face), dim())]);
    }
    match &mut face.page {
        Page::List => list(frame, room, face, view),
        Page::Details { key, known, down } => {
            let text = match known {
                None => format!("{}\n  ...", plain(key.as_str())),
                Some(Ok(info)) => look::text(info),
                Some(Err(error)) => format!("{}\n  {}", plain(key.as_str()), plain(error)),
            };
            face.rows = usize::from(room.left.height).max(1);
            let lines: Vec<&str> = text.lines().collect();
            *down = (*down).min(lines.len().saturating_sub(face.rows));
            write(frame, room.left, lines.into_iter().skip(*down).map(|line| (line.into(), Style::new())));
        }
        Page::Help => {
            write(frame, room.left, help::LIVE_KEYS.lines().map(|line| (line.into(), Style::new())));
        }
    }
}

fn list(frame: &mut Frame<'_>, mut room: Room, face: &mut Face, view: &View<'_>) {
    let height = news_height(frame.area().height, view.news.len());
    if height > 0 {
        let pane = room.bottom(height);
        let latest = view.news.pane(usize::from(height) - 1).into_iter();
        let lines = latest.map(|news| (news.text(), if news.is_bad() { yellow() } else { Style::new() }));
        write(frame, pane, [("EVENTS".into(), bold())].into_iter().chain(lines));
    }
    let rows = &view.picture.rows;
    let head = u16::from(room.left.height >= 3);
    let mut shown = usize::from(room.left.height - head);
    let more = rows.len() > shown && shown >= 2;
    if more {
        let line = room.bottom(1);
        shown -= 1;
        write(frame, line, [(format!("and {} more", rows.len() - shown), dim())]);
    }
    face.scroll(shown, rows.len());
    let visible = &rows[face.first.min(rows.len())..rows.len().min(face.first + shown)];
    let lines = columns::lines(visible, &view.picture.totals, usize::from(room.left.width));
    let lines = lines.into_iter().enumerate().map(|(at, line)| match at {
        0 => (line, bold()),
        at if face.first + at == face.selected + 1 => (line, Style::new().add_modifier(Modifier::REVERSED)),
        _ => (line, Style::new()),
    });
    write(frame, room.left, lines.skip(1 - usize::from(head)));
    if rows.is_empty() && room.left.height > head {
        let below = Rect { y: room.left.y + head, height: 1, ..room.left };
        write(frame, below, [(look::NONE.into(), dim())]);
    }
}

/// The events' pane with its head, or nothing.
fn news_height(screen: u16, news: usize) -> u16 {
    let lines = news.min(MOST_NEWS).min(usize::from(screen) / 4);
    if screen < ROOM_FOR_NEWS || lines == 0 { 0 } else { lines as u16 + 1 }
}

/// Lines from the top of an area, as many as it has.
fn write(frame: &mut Frame<'_>, area: Rect, lines: impl IntoIterator<Item = (String, Style)>) {
    for (row, (text, style)) in (0..area.height).zip(lines) {
        let line = Rect { y: area.y + row, height: 1, ..area };
        frame.render_widget(Line::styled(cut(&text, usize::from(area.width)), style), line);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::style::Color;
    use soloist::{EventKind, Key, Told};

    use super::super::keys::Pressed;
    use super::super::state::State;
    use super::super::state::tests::{event, held};
    use super::*;
    use crate::args::Sort;

    /// A fleet: many keys, some with lines, some lost.
    fn fleet(keys: usize) -> (Picture, Latest) {
        let now = Instant::now();
        let mut state = State::new("*", now);
        let listed = (0..keys).map(|at| held(&format!("key-{at:03}"), "host:1", 5, at as u64 % 3)).collect();
        for _ in 0..30 {
            state.tell(event("key-001", EventKind::Locked), now);
        }
        state.tell(event("lost\u{1b}[2J", EventKind::Expired), now);
        let picture = state.picture(listed, now + Duration::from_secs(3));
        (picture, state.latest)
    }

    /// The screen, a line each.
    fn screen(size: (u16, u16), face: &mut Face, view: &View<'_>) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| draw(frame, face, view)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..size.1).map(|y| line(y).trim_end().to_owned()).collect()
    }

    fn view<'a>(picture: &'a Picture, news: &'a Latest) -> View<'a> {
        let interval = Duration::from_secs(1);
        View { store: "redis://cache:6379", interval, at: 1_000_000_000, picture, news, trouble: None }
    }

    #[test]
    fn a_usual_screen_has_everything() {
        let (mut picture, news) = fleet(40);
        let mut face = Face::new(Sort::Busiest);
        face.arrange(&mut picture);
        let shown = screen((100, 24), &mut face, &view(&picture, &news));
        assert!(shown[0].starts_with("soloist top  redis://cache:6379  "), "{shown:#?}");
        assert!(shown[0].ends_with("by busiest  every 1 s  00:16:40Z"), "{shown:#?}");
        assert_eq!(
            shown[1], "40 held  39 waiting  10 grants/s  1 expired  0 taken over  0 broken  0 results",
            "{shown:#?}"
        );
        assert!(shown[3].starts_with("KEY "), "{shown:#?}");
        assert!(shown[4].starts_with("key-001 ") && shown[4].contains(" 10 "), "{shown:#?}");
        assert!(shown.contains(&"and 30 more".to_owned()), "{shown:#?}");
        assert!(shown.iter().any(|line| line == "EVENTS"), "{shown:#?}");
        assert!(shown[22].contains("expired") && shown[22].contains("lost\\u{1b}[2J"), "{shown:#?}");
        assert!(shown[23].starts_with("q quit"), "{shown:#?}");
    }

    #[test]
    fn every_row_can_be_reached_and_the_selected_one_is_seen() {
        let (mut picture, news) = fleet(40);
        let mut face = Face::new(Sort::Key);
        face.arrange(&mut picture);
        for at in 0..41 {
            let mut terminal = Terminal::new(TestBackend::new(60, 12)).unwrap();
            terminal.draw(|frame| draw(frame, &mut face, &view(&picture, &news))).unwrap();
            let buffer = terminal.backend().buffer();
            let selected = |y: &u16| buffer[(0, *y)].modifier.contains(Modifier::REVERSED);
            let rows: Vec<u16> = (0..12).filter(selected).collect();
            assert_eq!(rows.len(), 1, "row {at}");
            let line: String = (0..60).map(|x| buffer[(x, rows[0])].symbol()).collect();
            assert!(line.starts_with(&picture.rows[at].info.key.to_string()[..4]), "row {at}: {line}");
            face.press(Pressed::Down, &mut picture);
        }
    }

    #[test]
    fn no_size_is_too_small() {
        let (mut picture, news) = fleet(40);
        let trouble = Trouble { what: "gone\u{1b}[31m".into(), since: 0, lasts: Duration::from_secs(61) };
        let known = held("key-001", "host:1", 5, 0);
        for page in [
            Page::List,
            Page::Help,
            Page::Details { key: known.key.clone(), known: Some(Ok(Box::new(known))), down: 900 },
            Page::Details { key: Key::new("k").unwrap(), known: None, down: 0 },
        ] {
            let mut face = Face::new(Sort::Busiest);
            face.arrange(&mut picture);
            face.page = page;
            for width in [0, 1, 2, 5, 20, 79, 80, 200] {
                for height in (0..16).chain([24, 60]) {
                    for trouble in [None, Some(trouble.clone())] {
                        let view = View { trouble, ..view(&picture, &news) };
                        screen((width, height), &mut face, &view);
                    }
                }
            }
        }
        // What fits is what matters: the key, and how many there are.
        let mut face = Face::new(Sort::Busiest);
        let shown = screen((20, 5), &mut face, &view(&picture, &news));
        assert!(
            shown[1].starts_with("40 held  39 waiting") || shown[1].starts_with("40 held  39 waiti"),
            "{shown:#?}"
        );
        assert!(shown[3].starts_with("key-001"), "{shown:#?}");
        assert_eq!(shown[4], "and 40 more", "{shown:#?}");
    }

    #[test]
    fn a_store_that_is_away_is_told_in_red_above_what_was_known_last() {
        let (mut picture, news) = fleet(2);
        let mut face = Face::new(Sort::Key);
        face.arrange(&mut picture);
        let trouble =
            Trouble { what: "gone\u{1b}[31m".into(), since: 1_000_000_000, lasts: Duration::from_secs(61) };
        let view = View { trouble: Some(trouble), ..view(&picture, &news) };
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, &mut face, &view)).unwrap();
        let buffer = terminal.backend().buffer();
        let line: String = (0..80).map(|x| buffer[(x, 2)].symbol()).collect();
        assert_eq!(line.trim_end(), "out of date since 00:16:40Z, for 1 min 1 s: gone\\u{1b}[31m");
        assert_eq!(buffer[(0, 2)].fg, Color::Red);
        assert!(screen((80, 24), &mut face, &view).iter().any(|line| line.starts_with("key-000")));
    }

    #[test]
    fn details_are_what_show_says_and_can_be_scrolled() {
        let (picture, news) = fleet(2);
        let known = held("key-001", "host:1", 5, 0);
        let mut face = Face::new(Sort::Key);
        face.page = Page::Details { key: known.key.clone(), known: Some(Ok(Box::new(known))), down: 0 };
        let shown = screen((80, 12), &mut face, &view(&picture, &news));
        assert!(shown[3].starts_with("key-001") && shown[4] == "  holder   host:1", "{shown:#?}");
        face.press(Pressed::End, &mut Picture::default());
        let shown = screen((80, 6), &mut face, &view(&picture, &news));
        assert!(shown[4].starts_with("  left     30 s"), "{shown:#?}");
        let Page::Details { known, .. } = &mut face.page else { panic!("another page") };
        *known = Some(Err("the store is away".into()));
        assert!(screen((80, 12), &mut face, &view(&picture, &news))[4].contains("the store is away"));
    }

    #[test]
    fn an_empty_store_says_so_and_missed_events_are_said_of_all_numbers() {
        let now = Instant::now();
        let mut state = State::new("*", now);
        state.tell(Told::Missed, now);
        let picture = state.picture(Vec::new(), now);
        let shown = screen((120, 24), &mut Face::new(Sort::Key), &view(&picture, &state.latest)).join("\n");
        for said in ["no key is held", ">=0 grants/s  >=0 expired", "(>=: some events could"] {
            assert!(shown.contains(said), "{said} in {shown}");
        }
    }

    #[test]
    fn the_help_page_fits_a_usual_screen() {
        let (picture, news) = fleet(2);
        let mut face = Face::new(Sort::Key);
        face.page = Page::Help;
        let shown = screen((80, 24), &mut face, &view(&picture, &news)).join("\n");
        let last = help::LIVE_KEYS.lines().last().unwrap().trim_end();
        assert!(shown.contains(last) && shown.contains("Esc back"), "{shown}");
        assert!(help::LIVE_KEYS.lines().all(|line| line.chars().count() <= 80));
    }
}
