//! What whoever looks has chosen: the selected row, the order, the page; and what each key does.

use soloist::{Key, KeyInfo};

use super::keys::Pressed;
use super::picture::Picture;
use crate::args::Sort;

/// What is to be seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Page {
    #[default]
    List,
    /// A key, what is known of it as soon as that is there, and how far down it is read.
    Details {
        key: Key,
        known: Option<Result<Box<KeyInfo>, String>>,
        down: usize,
    },
    Help,
}

/// What has to be done about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Nothing,
    /// Everything about this key.
    Details(Key),
    /// Ask no more for now, or ask again.
    Pause(bool),
    Redraw,
    Stop,
    /// The end; by ctrl-C, or because it was asked for.
    End {
        interrupted: bool,
    },
}

/// The choices.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) sort: Sort,
    pub(crate) paused: bool,
    pub(crate) page: Page,
    /// Which row; it goes with its key.
    pub(crate) selected: usize,
    key: Option<Key>,
    /// The first row on the screen, and how many there are on it: known when it is drawn.
    pub(crate) first: usize,
    pub(crate) rows: usize,
}

impl Face {
    pub(crate) fn new(sort: Sort) -> Self {
        Face { sort, paused: false, page: Page::List, selected: 0, key: None, first: 0, rows: 1 }
    }

    /// Puts a picture in order. The selection stays on its key, wherever that is now; of one that is gone it stays where it was.
    pub(crate) fn arrange(&mut self, picture: &mut Picture) {
        picture.sort(self.sort);
        let found =
            self.key.as_ref().and_then(|key| picture.rows.iter().position(|row| row.info.key == *key));
        self.select(found.unwrap_or(self.selected), picture, found.is_some() || self.key.is_some());
    }

    /// Who has not chosen a row sees the first one selected, whichever that is.
    fn select(&mut self, row: usize, picture: &Picture, chosen: bool) {
        self.selected = row.min(picture.rows.len().saturating_sub(1));
        let key = picture.rows.get(self.selected).map(|row| row.info.key.clone());
        self.key = key.filter(|_| chosen);
    }

    /// The selected row has to be among so many on the screen.
    pub(crate) fn scroll(&mut self, rows: usize, all: usize) {
        self.rows = rows.max(1);
        let last = self.selected.saturating_sub(self.rows - 1);
        self.first =
            self.first.clamp(last.min(self.selected), self.selected).min(all.saturating_sub(self.rows));
    }

    pub(crate) fn press(&mut self, pressed: Pressed, picture: &mut Picture) -> Wish {
        match pressed {
            Pressed::Ctrl('c') => return Wish::End { interrupted: true },
            Pressed::Ctrl('z') => return Wish::Stop,
            Pressed::Ctrl('l') => return Wish::Redraw,
            Pressed::Char('q') => return Wish::End { interrupted: false },
            Pressed::Char('p' | ' ') => {
                self.paused = !self.paused;
                return Wish::Pause(self.paused);
            }
            _ => {}
        }
        match &mut self.page {
            Page::List => self.press_in_list(pressed, picture),
            Page::Help => {
                if matches!(pressed, Pressed::Escape | Pressed::Enter | Pressed::Char('?')) {
                    self.page = Page::List;
                }
                Wish::Nothing
            }
            Page::Details { down, .. } => {
                match pressed {
                    Pressed::Escape | Pressed::Enter => self.page = Page::List,
                    Pressed::Char('?') => self.page = Page::Help,
                    moved => *down = moves(moved, *down, self.rows, usize::MAX).unwrap_or(*down),
                }
                Wish::Nothing
            }
        }
    }

    fn press_in_list(&mut self, pressed: Pressed, picture: &mut Picture) -> Wish {
        match pressed {
            Pressed::Escape => return Wish::End { interrupted: false },
            Pressed::Char('?') => self.page = Page::Help,
            Pressed::Char('s') => {
                self.sort = self.sort.next();
                self.arrange(picture);
            }
            Pressed::Enter => {
                if let Some(row) = picture.rows.get(self.selected) {
                    let key = row.info.key.clone();
                    self.page = Page::Details { key: key.clone(), known: None, down: 0 };
                    return Wish::Details(key);
                }
            }
            moved => {
                let last = picture.rows.len().saturating_sub(1);
                if let Some(row) = moves(moved, self.selected, self.rows, last) {
                    self.select(row, picture, true);
                }
            }
        }
        Wish::Nothing
    }

    /// The key whose details are to be seen.
    pub(crate) fn details(&self) -> Option<&Key> {
        match &self.page {
            Page::Details { key, .. } => Some(key),
            _ => None,
        }
    }

    /// What is known of that key. An answer that came too late is about another one.
    pub(crate) fn know(&mut self, info: Result<KeyInfo, String>) {
        if let Page::Details { key, known, .. } = &mut self.page
            && info.as_ref().map_or(true, |info| info.key == *key)
        {
            *known = Some(info.map(Box::new));
        }
    }
}

/// Where a key leads from here, if it moves anything.
fn moves(pressed: Pressed, from: usize, page: usize, last: usize) -> Option<usize> {
    let page = page.saturating_sub(1).max(1);
    let to = match pressed {
        Pressed::Up | Pressed::Char('k') => from.saturating_sub(1),
        Pressed::Down | Pressed::Char('j') => from.saturating_add(1),
        Pressed::PageUp => from.saturating_sub(page),
        Pressed::PageDown => from.saturating_add(page),
        Pressed::Home => 0,
        Pressed::End => last,
        _ => return None,
    };
    Some(to.min(last))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::super::state::State;
    use super::super::state::tests::held;
    use super::*;

    /// Keys a, b, c, ... with so many waiting.
    fn picture(waiting: &[(&str, u64)]) -> Picture {
        let now = Instant::now();
        let listed = waiting.iter().map(|(key, waiting)| held(key, "x", 1, *waiting)).collect();
        State::new("*", now).picture(listed, now)
    }

    fn selected(face: &Face, picture: &Picture) -> String {
        picture.rows[face.selected].info.key.to_string()
    }

    #[test]
    fn the_selection_goes_with_its_key() {
        let mut face = Face::new(Sort::Waiting);
        let mut now = picture(&[("a", 3), ("b", 2), ("c", 1)]);
        face.arrange(&mut now);
        // Nothing was chosen: the first row is selected whichever it is.
        let mut now = picture(&[("a", 3), ("b", 9), ("c", 1)]);
        face.arrange(&mut now);
        assert_eq!(selected(&face, &now), "b");
        face.press(Pressed::Down, &mut now);
        assert_eq!(selected(&face, &now), "a");
        let mut now = picture(&[("a", 0), ("b", 9), ("c", 1)]);
        face.arrange(&mut now);
        assert_eq!((face.selected, selected(&face, &now)), (2, "a".into()));
        face.press(Pressed::Char('s'), &mut now);
        assert_eq!((face.sort, face.selected, selected(&face, &now)), (Sort::Busiest, 2, "a".into()));
        // It is gone.
        let mut now = picture(&[("b", 9)]);
        face.arrange(&mut now);
        assert_eq!(selected(&face, &now), "b");
        face.arrange(&mut picture(&[]));
        assert_eq!(face.selected, 0);
    }

    #[test]
    fn keys_move_within_what_is_there() {
        let mut face = Face::new(Sort::Key);
        let names: Vec<String> = (0..30).map(|number| format!("k{number:02}")).collect();
        let mut now = picture(&names.iter().map(|name| (name.as_str(), 0)).collect::<Vec<_>>());
        face.arrange(&mut now);
        face.scroll(10, 30);
        use Pressed::*;
        for (pressed, row, first) in [
            (Up, 0, 0),
            (PageDown, 9, 0),
            (Down, 10, 1),
            (PageDown, 19, 10),
            (Up, 18, 10),
            (PageUp, 9, 9),
            (End, 29, 20),
            (Down, 29, 20),
            (Home, 0, 0),
        ] {
            assert_eq!(face.press(pressed, &mut now), Wish::Nothing);
            face.scroll(10, 30);
            assert_eq!((face.selected, face.first), (row, first), "{pressed:?}");
        }
        // A window that has grown shows no void below the last row.
        face.press(End, &mut now);
        face.scroll(10, 30);
        assert_eq!(face.first, 20);
        face.scroll(25, 30);
        assert_eq!(face.first, 5);
        face.scroll(0, 30);
        assert_eq!(face.first, 29);
    }

    #[test]
    fn the_details_are_of_the_selected_key_and_lead_back() {
        let mut face = Face::new(Sort::Key);
        let mut now = picture(&[("a", 0), ("b", 0)]);
        face.arrange(&mut now);
        face.press(Pressed::Down, &mut now);
        let key = Key::new("b").unwrap();
        assert_eq!(face.press(Pressed::Enter, &mut now), Wish::Details(key.clone()));
        assert_eq!(face.details(), Some(&key));
        face.know(Ok(held("a", "late", 1, 0)));
        assert!(matches!(&face.page, Page::Details { known: None, .. }));
        face.know(Ok(held("b", "x", 1, 0)));
        assert!(matches!(&face.page, Page::Details { known: Some(Ok(_)), .. }));
        assert_eq!(face.press(Pressed::Escape, &mut now), Wish::Nothing);
        assert_eq!(face.page, Page::List);
        assert_eq!(face.press(Pressed::Escape, &mut now), Wish::End { interrupted: false });
        // Of nothing there are no details.
        assert_eq!(Face::new(Sort::Key).press(Pressed::Enter, &mut picture(&[])), Wish::Nothing);
    }

    #[test]
    fn what_ends_or_pauses_does_so_on_every_page() {
        let mut now = picture(&[("a", 0)]);
        for page in
            [Page::List, Page::Help, Page::Details { key: Key::new("a").unwrap(), known: None, down: 0 }]
        {
            let mut face = Face::new(Sort::Key);
            face.page = page;
            assert_eq!(face.press(Pressed::Char('q'), &mut now), Wish::End { interrupted: false });
            assert_eq!(face.press(Pressed::Ctrl('c'), &mut now), Wish::End { interrupted: true });
            assert_eq!(face.press(Pressed::Char(' '), &mut now), Wish::Pause(true));
            assert_eq!(face.press(Pressed::Char('p'), &mut now), Wish::Pause(false));
        }
    }
}
