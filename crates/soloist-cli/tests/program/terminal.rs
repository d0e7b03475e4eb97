//! A terminal of a test's own, with the program at it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::place::{LIMIT, Place, wait_for};

pub const ENTERED: &str = "\u{1b}[?1049h";
pub const LEFT: &str = "\u{1b}[?1049l";
pub const CURSOR: &str = "\u{1b}[?25h";

/// The program at a terminal; killed if the test does not wait for it.
pub struct AtTerminal {
    child: Child,
    master: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl AtTerminal {
    pub fn start(place: &Place, args: &[&str], size: (u16, u16)) -> Self {
        Self::of(place.command(args), size, true)
    }

    /// With the terminal at stdout and stderr, and at stdin if it is to be typed at.
    pub fn of(mut command: Command, size: (u16, u16), stdin: bool) -> Self {
        let (master, slave) = open(size);
        let end = |of: &OwnedFd| Stdio::from(of.try_clone().unwrap());
        command.stdin(if stdin { end(&slave) } else { Stdio::null() });
        command.stdout(end(&slave)).stderr(end(&slave)).env("TERM", "xterm-256color");
        // SAFETY: both are async-signal-safe, and the closure does nothing else.
        unsafe {
            command.pre_exec(move || {
                libc::setsid();
                // A session of its own, whose terminal this is; without stdin it has none.
                if stdin {
                    libc::ioctl(0, libc::TIOCSCTTY, 0);
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop((command, slave));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (to, mut from) = (seen.clone(), master.try_clone().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when the last one at the terminal is gone.
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                to.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        AtTerminal { child, master, seen }
    }

    /// All that was ever written there.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// What is on the screen now.
    pub fn screen(&self) -> String {
        drawn(&self.seen())
    }

    pub fn wait_to_see(&self, text: &str) {
        let began = Instant::now();
        while !self.screen().contains(text) {
            assert!(began.elapsed() < LIMIT, "no {text:?} on\n{}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn wait_to_see_no(&self, text: &str) {
        wait_for(&format!("no {text:?} on the screen"), || !self.screen().contains(text));
    }

    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn resize(&self, (columns, rows): (u16, u16)) {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Whether what is typed is shown, and handed over by the line: as a shell wants it.
    pub fn is_as_a_shell_wants_it(&self) -> bool {
        tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    pub fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("its end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nobody else whom a test starts meanwhile has it open, too.
fn open((columns, rows): (u16, u16)) -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave =
        rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    tcsetwinsize(&slave, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (master.into(), slave)
}

/// What a terminal makes of what was written to it: as much of its language as the program speaks.
fn drawn(written: &str) -> String {
    let mut rows: Vec<Vec<char>> = Vec::new();
    let (mut row, mut column) = (0, 0);
    let mut rest = written.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                let text = rest.as_str();
                let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
                let (numbers, behind) = text.split_at(end);
                rest = behind.get(1..).unwrap_or_default().chars();
                let numbers = numbers.trim_start_matches('[').split(';');
                let mut numbers = numbers.map(|number| number.parse().unwrap_or(1_usize).saturating_sub(1));
                match behind.get(..1) {
                    Some("H") => (row, column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
                    Some("J") => rows.clear(),
                    _ => {}
                }
            }
            '\r' => column = 0,
            '\n' => row += 1,
            c => {
                rows.resize_with(rows.len().max(row + 1), Vec::new);
                let line = &mut rows[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>() + "\n").collect()
}
