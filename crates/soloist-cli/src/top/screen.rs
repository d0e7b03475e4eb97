//! The terminal as a full screen, which is given back in every way of ending.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write as _, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Position, Rect};
use ratatui::{Frame, Terminal};

use crate::failure::{Failure, Outcome};
use crate::{sys, talk};

/// What a large screen takes when all of it changes: one write, no flicker.
const BUFFER: usize = 64 << 10;

/// Whether the terminal is ours; it is given back once.
static OURS: AtomicBool = AtomicBool::new(false);

/// The terminal. Dropping it gives it back.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal at stdout, with what the library has to say kept off it.
    pub(crate) fn open() -> Outcome<Self> {
        static HOOK: Once = Once::new();
        // Before the message of a panic is printed, which would be lost with the screen.
        HOOK.call_once(|| {
            let told = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                give_back();
                told(panic);
            }));
        });
        take().map_err(failed)?;
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(BUFFER, stdout())));
        let mut screen = Screen { terminal: terminal.inspect_err(|_| give_back()).map_err(failed)? };
        screen.forget()?;
        Ok(screen)
    }

    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Outcome<()> {
        self.terminal.draw(draw).map(|_| ()).map_err(failed)
    }

    /// Forgets what is on the screen: somebody else may have written there.
    pub(crate) fn forget(&mut self) -> Outcome<()> {
        // Not `clear`: that asks the terminal where the cursor is, and not every one answers.
        let size = self.terminal.size().map_err(failed)?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size))).map_err(failed)
    }

    /// Stops this process, as ctrl-Z does, with the terminal given back meanwhile.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        give_back();
        sys::stop();
        self.again()
    }

    /// After a stop, the terminal is as the shell had it.
    pub(crate) fn again(&mut self) -> Outcome<()> {
        // The mode that is to be restored is the one that is there now.
        give_back();
        take().map_err(failed)?;
        self.forget()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    OURS.store(true, Ordering::SeqCst);
    // Without a terminal to type at it is to be seen all the same; a signal ends it.
    let _ = enable_raw_mode();
    talk::keep(io::stderr().is_terminal());
    execute!(stdout(), EnterAlternateScreen, Hide).inspect_err(|_| give_back())
}

fn give_back() {
    if OURS.swap(false, Ordering::SeqCst) {
        // What fails here fails because the terminal is gone: there is nothing to be restored.
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = stdout().flush();
        talk::keep(false);
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::own(format!("the terminal: {error}"))
}
