//! The full screen of `soloist top`, while it lasts: what is typed, what is told, and when it is drawn.

use std::future::pending;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Opened;
use super::face::{Face, Wish};
use super::keys::{Keys, Pressed};
use super::news::{Latest, News};
use super::picture::Picture;
use super::screen::Screen;
use super::source::{Came, Source};
use super::state::State;
use super::view::{self, Trouble, View};
use crate::args::TopArgs;
use crate::failure::{Failure, Outcome};
use crate::signals::{Signals, code, ends};
use crate::talk;
use crate::units::{human, utc_now};

/// Events alone have it drawn so often at most: a person reads no faster, and a terminal may be far away.
const CALM: Duration = Duration::from_millis(200);
/// Without anything new it is drawn so often, for the time that is shown.
const TICK: Duration = Duration::from_secs(1);
/// A list may take so long before it is said that what is on the screen is old.
const PATIENCE: Duration = Duration::from_secs(3);

/// The screen and what it shows.
struct Live<'a> {
    store: &'a str,
    args: &'a TopArgs,
    source: Source,
    state: State,
    face: Face,
    picture: Picture,
    /// The latest events; they stand still while it is paused.
    news: Latest,
    /// When the list was there, by the clock of this machine, and by one that is never set.
    listed: (u64, Instant),
    /// What came in place of a list.
    failed: Option<String>,
    lists: u64,
}

pub(super) async fn live(opened: Opened, store: &str, args: &TopArgs, signals: &mut Signals) -> Outcome {
    // A terminal is stopped and goes on by its shell's doing.
    signals.add(Signal::CONT)?;
    let Opened { source, state, first } = opened;
    let mut live = Live {
        store,
        args,
        source,
        state,
        face: Face::new(args.sort),
        picture: Picture::default(),
        news: Latest::default(),
        listed: (utc_now(), Instant::now()),
        failed: None,
        lists: 0,
    };
    live.list(Ok(first));
    let mut screen = Screen::open()?;
    live.run(&mut screen, signals).await
}

impl Live<'_> {
    /// Until it is ended.
    async fn run(&mut self, screen: &mut Screen, signals: &mut Signals) -> Outcome {
        let mut keys = Keys::read().ok();
        loop {
            self.draw(screen)?;
            let drawn = Instant::now();
            let mut wait = TICK;
            loop {
                tokio::select! {
                    biased;
                    signal = signals.next() => match signal {
                        signal if ends(signal) => return Err(Failure::silent(code(signal))),
                        Signal::CONT => screen.again()?,
                        _ => {}
                    },
                    pressed = next(&mut keys) => match pressed {
                        None => keys = None,
                        Some(pressed) => if let Some(code) = self.press(pressed, screen)? {
                            return Ok(code);
                        },
                    },
                    came = self.source.next() => match came? {
                        Came::List(list) => {
                            self.list(list.map_err(|error| error.to_string()));
                            if self.args.times.is_some_and(|times| self.lists >= times) {
                                return self.failed.take().map_or(Ok(0), |error| Err(Failure::own(error)));
                            }
                        }
                        Came::Details(info) => self.face.know(info.map_err(|error| error.to_string())),
                        Came::Told(all) => {
                            let now = Instant::now();
                            all.into_iter().for_each(|told| self.state.tell(told, now));
                            // Drawn with others, soon.
                            wait = CALM;
                            if drawn.elapsed() < wait {
                                continue;
                            }
                        }
                    },
                    () = tokio::time::sleep(wait.saturating_sub(drawn.elapsed())) => {}
                }
                break;
            }
        }
    }

    /// Does what a key says; the code with which it ends, if that is it.
    fn press(&mut self, pressed: Pressed, screen: &mut Screen) -> Outcome<Option<u8>> {
        match self.face.press(pressed, &mut self.picture) {
            Wish::Nothing => {}
            Wish::Details(key) => self.source.ask_details(key),
            Wish::Pause(paused) => self.source.pause(paused),
            Wish::Redraw => screen.forget()?,
            Wish::Stop => screen.stop()?,
            Wish::End { interrupted: false } => return Ok(Some(0)),
            Wish::End { interrupted: true } => return Err(Failure::silent(code(Signal::INT))),
        }
        Ok(None)
    }

    /// A list is there, or why there is none.
    fn list(&mut self, list: Result<Vec<soloist::KeyInfo>, String>) {
        self.lists += 1;
        match list {
            Err(error) => self.failed = Some(error),
            Ok(listed) => {
                self.failed = None;
                self.listed = (utc_now(), Instant::now());
                self.picture = self.state.picture(listed, Instant::now());
                self.face.arrange(&mut self.picture);
                if let Some(key) = self.face.details() {
                    self.source.ask_details(key.clone());
                }
            }
        }
    }

    /// What is wrong, from the first list on that did not come.
    fn trouble(&self) -> Option<Trouble> {
        let what = match (&self.failed, self.source.owed()) {
            (Some(error), _) => error.clone(),
            // Whether it is away or has very many keys is not known yet.
            (None, Some(owed)) if owed > PATIENCE => {
                format!("the list that was asked for {} ago is not there yet", human(owed))
            }
            _ => return None,
        };
        let (since, then) = self.listed;
        Some(Trouble { what, since, lasts: then.elapsed() })
    }

    fn draw(&mut self, screen: &mut Screen) -> Outcome<()> {
        talk::kept().into_iter().for_each(|said| self.state.latest.push(News::Said(said)));
        if !self.face.paused {
            self.news = self.state.latest.clone();
        }
        let view = View {
            store: self.store,
            interval: self.args.interval,
            at: self.listed.0,
            picture: &self.picture,
            news: &self.news,
            trouble: self.trouble(),
        };
        let face = &mut self.face;
        screen.draw(|frame| view::draw(frame, face, &view))
    }
}

/// What is typed next; never, where nothing can be typed.
async fn next(keys: &mut Option<Keys>) -> Option<Pressed> {
    match keys {
        Some(keys) => keys.next().await,
        None => pending().await,
    }
}
