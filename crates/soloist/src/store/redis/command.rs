//! One request, as the bytes that a server reads.

use std::cell::Cell;
use std::ops::Range;

/// Room for what most requests say, so that it does not grow bit by bit.
const USUAL: usize = 480;
/// Room beyond this is not kept for the next request.
const MOST_KEPT: usize = 4 << 10;

thread_local! {
    /// The room of the last request of this thread: it is sent, and with that done with, before the next is made.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A request: its words, the verb first.
#[derive(Clone, Debug)]
pub(super) struct Cmd {
    words: usize,
    /// Each with its length before it.
    bytes: Vec<u8>,
}

/// What can be a word of a request.
pub(super) trait Word {
    fn put(self, cmd: &mut Cmd);
}

impl Cmd {
    /// A request that so far says only this.
    pub(super) fn new(verb: &str) -> Self {
        // A thread that ends has no room any more.
        let mut cmd = Cmd { words: 0, bytes: ROOM.try_with(Cell::take).unwrap_or_default() };
        cmd.bytes.reserve(USUAL);
        cmd.arg(verb);
        cmd
    }

    /// Adds a word.
    pub(super) fn arg(&mut self, word: impl Word) -> &mut Self {
        word.put(self);
        self
    }

    fn put(&mut self, word: &[u8]) {
        self.words += 1;
        head(&mut self.bytes, b'$', word.len());
        self.bytes.extend_from_slice(word);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Appends the whole request.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        head(out, b'*', self.words);
        out.extend_from_slice(&self.bytes);
    }

    /// The same script with one more key behind its others: `EVALSHA hash count key …`.
    pub(super) fn with_key(&self, key: &str) -> Cmd {
        let mut ends = self.ends();
        let [head, count] = [ends.nth(1), ends.next()].map(Option::unwrap_or_default);
        let keys: usize = self.word(head).iter().fold(0, |keys, digit| keys * 10 + usize::from(digit - b'0'));
        let behind = if keys == 0 { count } else { ends.nth(keys - 1).unwrap_or(count) };
        let mut cmd = Cmd { words: self.words, bytes: Vec::with_capacity(self.bytes.len() + key.len() + 16) };
        cmd.bytes.extend_from_slice(&self.bytes[..head]);
        cmd.words -= 1;
        cmd.arg(keys + 1);
        cmd.bytes.extend_from_slice(&self.bytes[count..behind]);
        cmd.arg(key);
        cmd.bytes.extend_from_slice(&self.bytes[behind..]);
        cmd
    }

    /// Where each word ends.
    fn ends(&self) -> impl Iterator<Item = usize> {
        let mut at = 0;
        std::iter::from_fn(move || {
            at = self.text(at)?.end + 2;
            Some(at)
        })
    }

    /// The word that begins here, with its length.
    fn word(&self, at: usize) -> &[u8] {
        self.text(at).map_or(&[], |text| &self.bytes[text])
    }

    /// Where its text stands.
    fn text(&self, at: usize) -> Option<Range<usize>> {
        let rest = self.bytes.get(at..)?;
        let from = rest.iter().position(|byte| *byte == b'\n')? + 1;
        let digits = rest[..from].iter().filter(|byte| byte.is_ascii_digit());
        let len = digits.fold(0, |len, digit| len * 10 + usize::from(digit - b'0'));
        Some(at + from..at + from + len)
    }

    /// The same, for a connection of the client library.
    pub(super) fn for_library(&self) -> redis::Cmd {
        let (mut cmd, mut at) = (redis::Cmd::new(), 0);
        for end in self.ends() {
            cmd.arg(self.word(at));
            at = end;
        }
        cmd
    }
}

impl Drop for Cmd {
    fn drop(&mut self) {
        if self.bytes.capacity() <= MOST_KEPT {
            let mut room = std::mem::take(&mut self.bytes);
            room.clear();
            let _ = ROOM.try_with(|kept| kept.set(room));
        }
    }
}

/// What stands before a word, or before all of them.
fn head(out: &mut Vec<u8>, kind: u8, count: usize) {
    // Nearly all are short.
    match count {
        0..10 => out.extend_from_slice(&[kind, b'0' + count as u8, b'\r', b'\n']),
        10..100 => {
            let (ten, one) = (count as u8 / 10, count as u8 % 10);
            out.extend_from_slice(&[kind, b'0' + ten, b'0' + one, b'\r', b'\n']);
        }
        _ => {
            out.push(kind);
            out.extend_from_slice(decimal(count as u64, &mut [0; DIGITS]));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// So many digits have the largest numbers, with a sign.
const DIGITS: usize = 21;

/// A number in digits, at the end of this room.
fn decimal(mut number: u64, room: &mut [u8; DIGITS]) -> &[u8] {
    let digit = |number: u64| b'0' + number as u8;
    let mut at = DIGITS;
    // Two at a time: most numbers here are times, of 16 digits.
    while number >= 10 {
        let two = number % 100;
        number /= 100;
        at -= 2;
        (room[at], room[at + 1]) = (digit(two / 10), digit(two % 10));
    }
    // What is left is a digit, or nothing after an even number of them.
    if number > 0 || at == DIGITS {
        at -= 1;
        room[at] = digit(number);
    }
    &room[at..]
}

impl Word for &str {
    fn put(self, cmd: &mut Cmd) {
        cmd.put(self.as_bytes());
    }
}

impl Word for &[u8] {
    fn put(self, cmd: &mut Cmd) {
        cmd.put(self);
    }
}

impl Word for i64 {
    fn put(self, cmd: &mut Cmd) {
        let mut room = [0; DIGITS];
        let len = decimal(self.unsigned_abs(), &mut room).len();
        let mut from = DIGITS - len;
        if self < 0 {
            from -= 1;
            room[from] = b'-';
        }
        cmd.put(&room[from..]);
    }
}

impl Word for i32 {
    fn put(self, cmd: &mut Cmd) {
        i64::from(self).put(cmd);
    }
}

impl Word for u64 {
    fn put(self, cmd: &mut Cmd) {
        cmd.put(decimal(self, &mut [0; DIGITS]));
    }
}

macro_rules! words {
    ($($borrowed:ty),* as slices; $($number:ty),* as numbers) => {
        $(impl Word for $borrowed {
            fn put(self, cmd: &mut Cmd) {
                cmd.put(self.as_ref());
            }
        })*
        $(impl Word for $number {
            fn put(self, cmd: &mut Cmd) {
                (self as u64).put(cmd);
            }
        })*
    };
}
words!(&String, &Vec<u8>, Vec<u8>, String as slices; u8, u32, usize as numbers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_the_library_writes_it() {
        let mut long = "x".repeat(1000).into_bytes();
        long.extend_from_slice(b"\r\n$3\r\n\0\xff");
        let (mut ours, mut theirs) = (Cmd::new("EVALSHA"), redis::cmd("EVALSHA"));
        ours.arg("").arg(&long).arg(0).arg(usize::MAX).arg(u64::MAX).arg(i64::MIN).arg(-1).arg(&b"k"[..]);
        theirs.arg("").arg(&long).arg(0).arg(usize::MAX).arg(u64::MAX).arg(i64::MIN).arg(-1).arg(b"k");
        let mut out = b"before".to_vec();
        ours.write(&mut out);
        assert_eq!(out, [b"before".to_vec(), theirs.get_packed_command()].concat());
        assert_eq!(ours.for_library().get_packed_command(), theirs.get_packed_command());
    }

    #[test]
    fn one_more_key_stands_behind_the_others() {
        for keys in [0, 1, 9, 12] {
            let script = |more: Option<&str>| {
                let mut cmd = Cmd::new("EVALSHA");
                cmd.arg("hash\r\n").arg(keys + usize::from(more.is_some()));
                for key in (0..keys).map(|key| format!("key\r\n{key}")) {
                    cmd.arg(key);
                }
                if let Some(more) = more {
                    cmd.arg(more);
                }
                cmd.arg("").arg(3);
                cmd
            };
            let (mut with, mut expected) = (Vec::new(), Vec::new());
            script(None).with_key("one more").write(&mut with);
            script(Some("one more")).write(&mut expected);
            assert_eq!(String::from_utf8_lossy(&with), String::from_utf8_lossy(&expected));
        }
    }
}
