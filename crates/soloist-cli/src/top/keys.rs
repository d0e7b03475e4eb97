//! What is typed at a terminal: a thread that reads it, and ends with its owner.
//!
//! The reader of the crate crossterm would do, but that it reads on where a sequence is not whole yet, and for ever where
//! the terminal was hung up, on the thread of whoever asks.

use std::fs::File;
use std::io::{self, ErrorKind, PipeWriter, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::isatty;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What follows an escape in so long is one sequence with it; else it was the key itself. A slow line takes long.
const SEQUENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// The longest sequence that any terminal sends for a key, and more.
const LONGEST: usize = 32;

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressed {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    /// With ctrl, and this letter.
    Ctrl(char),
    Char(char),
}

/// The terminal's keyboard.
pub(crate) struct Keys {
    pressed: UnboundedReceiver<Pressed>,
    /// The reader's end of it is readable as soon as this is gone.
    _owner: PipeWriter,
}

impl Keys {
    /// Reads the terminal at stdin, or the one that this process belongs to when stdin is something else.
    pub(crate) fn read() -> io::Result<Self> {
        let stdin = io::stdin();
        let tty: OwnedFd = match isatty(&stdin) {
            true => stdin.as_fd().try_clone_to_owned()?,
            false => File::open("/dev/tty")?.into(),
        };
        let (gone, owner) = io::pipe()?;
        let (to, pressed) = unbounded_channel();
        thread::Builder::new().name("keys".into()).spawn(move || read(tty.into(), &gone, &to))?;
        Ok(Keys { pressed, _owner: owner })
    }

    /// The next key; `None` when nothing can be typed any more. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Pressed> {
        self.pressed.recv().await
    }
}

/// Until the owner is gone or the terminal is.
fn read(mut tty: File, owner: &impl AsFd, to: &UnboundedSender<Pressed>) {
    let mut decoder = Decoder::default();
    let mut bytes = [0; 256];
    loop {
        let mut both = [PollFd::new(&tty, PollFlags::IN), PollFd::new(owner, PollFlags::IN)];
        let patience = decoder.is_half().then_some(SEQUENCE);
        let ready = match poll(&mut both, patience.as_ref()) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(ready) => ready,
        };
        if !both[1].revents().is_empty() {
            return;
        }
        let pressed = match ready {
            0 => decoder.end().into_iter().collect(),
            _ => match tty.read(&mut bytes) {
                Ok(0) => return,
                Ok(count) => decoder.decode(&bytes[..count]),
                // The second: somebody else has read it first.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
                    continue;
                }
                Err(_) => return,
            },
        };
        for key in pressed {
            if to.send(key).is_err() {
                return;
            }
        }
    }
}

/// Bytes in, keys out.
#[derive(Debug, Default)]
struct Decoder {
    /// A sequence that is not whole yet, with the escape that begins it.
    half: Vec<u8>,
}

impl Decoder {
    fn is_half(&self) -> bool {
        !self.half.is_empty()
    }

    /// Nothing follows: an escape alone was the key.
    fn end(&mut self) -> Option<Pressed> {
        let half = std::mem::take(&mut self.half);
        (half == [0x1b]).then_some(Pressed::Escape)
    }

    fn decode(&mut self, bytes: &[u8]) -> Vec<Pressed> {
        bytes.iter().filter_map(|byte| self.byte(*byte)).collect()
    }

    fn byte(&mut self, byte: u8) -> Option<Pressed> {
        match (self.half.as_slice(), byte) {
            ([], 0x1b) => {
                self.half.push(byte);
                None
            }
            ([], b'\r' | b'\n') => Some(Pressed::Enter),
            ([], 0x01..=0x1a) => Some(Pressed::Ctrl(char::from(byte - 1 + b'a'))),
            ([], b' '..=b'~') => Some(Pressed::Char(char::from(byte))),
            // Nothing here is done by a letter beyond ASCII.
            ([], _) => None,
            // Pressed twice, or held down.
            ([0x1b], 0x1b) => Some(Pressed::Escape),
            ([0x1b], b'[' | b'O') | ([0x1b, b'[', ..], b' '..=b'?') => {
                self.half.push(byte);
                if self.half.len() > LONGEST {
                    self.half.clear();
                }
                None
            }
            (half, _) => {
                let key = sequence(half, byte);
                self.half.clear();
                key
            }
        }
    }
}

/// The key of a whole sequence; with alt, ctrl or shift it is the same key. One that is unknown, or a letter with alt, is none.
fn sequence(half: &[u8], last: u8) -> Option<Pressed> {
    let numbers = half.get(2..).unwrap_or_default();
    let first = numbers.split(|byte| *byte == b';').next().unwrap_or_default();
    match (half.len(), last) {
        (1, _) => None,
        (_, b'A') => Some(Pressed::Up),
        (_, b'B') => Some(Pressed::Down),
        (_, b'H') => Some(Pressed::Home),
        (_, b'F') => Some(Pressed::End),
        // The keypad's.
        (_, b'M') if half == b"\x1bO" => Some(Pressed::Enter),
        (_, b'~') => match first {
            b"1" | b"7" => Some(Pressed::Home),
            b"4" | b"8" => Some(Pressed::End),
            b"5" => Some(Pressed::PageUp),
            b"6" => Some(Pressed::PageDown),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_terminals_send() {
        use Pressed::*;
        for (bytes, keys) in [
            (&b"q\x03 ?"[..], &[Char('q'), Ctrl('c'), Char(' '), Char('?')][..]),
            (b"\r\n", &[Enter, Enter]),
            (b"\x1b[A\x1b[B\x1bOA\x1bOB", &[Up, Down, Up, Down]),
            (
                b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1bOH\x1bOF\x1b[1~\x1b[4~",
                &[PageUp, PageDown, Home, End, Home, End, Home, End],
            ),
            (b"\x1b[1;5A\x1b[5;2~", &[Up, PageUp]),
            // Nobody presses these: a letter with alt, a mouse, F5, letters beyond ASCII.
            (b"\x1bq\x1b[<0;3;4M\x1b[15~\xc3\xbc", &[]),
            (b"\x1b\x1b\x1b[A", &[Escape, Escape, Up]),
        ] {
            let mut whole = Decoder::default();
            let one_by_one = &mut Decoder::default();
            if !bytes.starts_with(b"\x1b\x1b") {
                assert_eq!(whole.decode(bytes), keys, "{bytes:?}");
                assert_eq!(bytes.iter().filter_map(|byte| one_by_one.byte(*byte)).collect::<Vec<_>>(), keys);
                assert!(!whole.is_half());
            }
        }
    }

    #[test]
    fn an_escape_that_nothing_follows_is_the_key() {
        let mut decoder = Decoder::default();
        assert!(decoder.decode(b"\x1b").is_empty() && decoder.is_half());
        assert_eq!(decoder.end(), Some(Pressed::Escape));
        assert!(!decoder.is_half());
        // Half of a sequence is no key, and hides none that follows.
        decoder.decode(b"\x1b[5");
        assert_eq!(decoder.end(), None);
        assert_eq!(decoder.decode(b"q"), [Pressed::Char('q')]);
        // Held down.
        assert_eq!(decoder.decode(b"\x1b\x1b"), [Pressed::Escape]);
        assert_eq!(decoder.end(), Some(Pressed::Escape));
    }

    #[test]
    fn a_sequence_without_an_end_is_given_up() {
        let mut decoder = Decoder::default();
        decoder.decode(b"\x1b[");
        decoder.decode(&[b'1'; 1000]);
        assert!(decoder.half.len() <= LONGEST);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut decoder = Decoder::default();
            decoder.decode(&bytes);
            assert!(decoder.half.len() <= LONGEST);
            decoder.end();
            assert!(!decoder.is_half());
        }
    }
}
