//! What a server says, read as it comes: the bytes of replies, as values of the client library.
//!
//! Invariant: nothing is set aside for what was only announced. A list that says it has a million parts, or a text
//! that says it is long, costs memory as its bytes arrive.

use redis::{PushKind, Value, VerbatimFormat, parse_redis_value};

/// How deep lists may lie in lists. No reply to what we ask is deeper than five.
const DEEPEST: usize = 32;
/// The longest line: an error, a status, a number.
const LONGEST_LINE: usize = 64 << 10;
/// The longest text: as long as a server's own may be.
const LONGEST_TEXT: usize = 512 << 20;

/// What is no reply of a Redis server, in words.
pub(super) type Nonsense = String;

/// Reads replies one after the other.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The lists that are not complete, the outermost first.
    open: Vec<Open>,
}

/// A list of which some parts are still to come.
#[derive(Debug)]
struct Open {
    kind: Kind,
    len: usize,
    parts: Vec<Value>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Array,
    Map,
    Set,
    Push,
}

/// What begins at the front of some bytes.
enum Item {
    Whole(Value),
    List(Kind, usize),
}

impl Replies {
    /// The next reply, and how many bytes of these were read. Those are read: they may not be given again, also
    /// where there is no whole reply yet.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<(Option<Value>, usize), Nonsense> {
        let mut read = 0;
        while let Some((item, len)) = item(&bytes[read..])? {
            read += len;
            let mut whole = match item {
                Item::Whole(value) => value,
                Item::List(kind, 0) => kind.of(Vec::new()),
                Item::List(..) if self.open.len() >= DEEPEST => {
                    return Err(format!("lists deeper than {DEEPEST}"));
                }
                Item::List(kind, len) => {
                    // As much as may well come; what is announced beyond that has to arrive first.
                    self.open.push(Open { kind, len, parts: Vec::with_capacity(len.min(16)) });
                    continue;
                }
            };
            loop {
                let Some(open) = self.open.last_mut() else { return Ok((Some(whole), read)) };
                open.parts.push(whole);
                if open.parts.len() < open.len {
                    break;
                }
                let Some(full) = self.open.pop() else { break };
                whole = full.kind.of(full.parts);
            }
        }
        Ok((None, read))
    }
}

impl Kind {
    fn of(self, parts: Vec<Value>) -> Value {
        match self {
            Kind::Array => Value::Array(parts),
            Kind::Set => Value::Set(parts),
            Kind::Map => {
                let mut parts = parts.into_iter();
                let mut pairs = Vec::with_capacity(parts.len() / 2);
                while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                    pairs.push((name, value));
                }
                Value::Map(pairs)
            }
            Kind::Push => {
                let mut parts = parts.into_iter();
                Value::Push { kind: push_kind(parts.next()), data: parts.collect() }
            }
        }
    }
}

/// What a push is about.
fn push_kind(word: Option<Value>) -> PushKind {
    match word {
        Some(Value::BulkString(word)) => match &word[..] {
            b"message" => PushKind::Message,
            b"subscribe" => PushKind::Subscribe,
            b"unsubscribe" => PushKind::Unsubscribe,
            _ => PushKind::Other(String::from_utf8_lossy(&word).into_owned()),
        },
        _ => PushKind::Other(String::new()),
    }
}

/// What begins at the front of these bytes, and its length; `None` if it is not all there yet.
fn item(bytes: &[u8]) -> Result<Option<(Item, usize)>, Nonsense> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let none = || {
        let seen = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]);
        format!("it begins with {seen:?}")
    };
    let short = short_number(rest);
    let end = match short {
        Some((_, end)) => end,
        // What is no reply need not have lines.
        None if !b"+-:$*_#,(!=%~>".contains(&first) => return Err(none()),
        None => match line_end(rest)? {
            Some(end) => end,
            None => return Ok(None),
        },
    };
    let (line, after) = (&rest[..end], end + 3);
    let number = || short.map_or_else(|| number(line), |(number, _)| Ok(number));
    let length = || length(number()?);
    let whole = |value| Ok(Some((Item::Whole(value), after)));
    let list = |kind, len| Ok(Some((Item::List(kind, len), after)));
    match first {
        b':' => whole(Value::Int(number()?)),
        b'$' | b'!' | b'=' => {
            let len = match length()? {
                Some(len) => len,
                None if first == b'$' => return whole(Value::Nil),
                None => return Err("a text of nothing".into()),
            };
            if len > LONGEST_TEXT {
                return Err(format!("a text of {len} bytes"));
            }
            let Some(text) = bytes.get(after..after + len + 2) else { return Ok(None) };
            let (text, end) = text.split_at(len);
            if end != b"\r\n" {
                return Err("a text that is longer than it says".into());
            }
            Ok(Some((Item::Whole(of_text(first, text)?), after + len + 2)))
        }
        b'*' => match length()? {
            Some(len) => list(Kind::Array, len),
            None => whole(Value::Nil),
        },
        b'%' => list(Kind::Map, length()?.unwrap_or_default().saturating_mul(2)),
        b'~' => list(Kind::Set, length()?.unwrap_or_default()),
        b'>' => list(Kind::Push, length()?.unwrap_or_default()),
        b'+' if line == b"OK" => whole(Value::Okay),
        b'+' => whole(Value::SimpleString(text(line)?.to_owned())),
        b'_' if line.is_empty() => whole(Value::Nil),
        b'#' if matches!(line, b"t" | b"f") => whole(Value::Boolean(line == b"t")),
        b'_' | b'#' => Err("neither yes nor no nor nothing".into()),
        b',' => {
            let number = text(line)?.parse().map_err(|_| "a number that is none".to_owned())?;
            whole(Value::Double(number))
        }
        b'(' => whole(Value::BigNumber(line.to_vec())),
        // The library alone makes its errors.
        b'-' => whole(error(line)?),
        _ => Err(none()),
    }
}

/// A text that told its length.
fn of_text(kind: u8, said: &[u8]) -> Result<Value, Nonsense> {
    match kind {
        b'!' => error(said),
        b'=' => {
            let told = String::from_utf8_lossy(said);
            let (format, text) = told.split_once(':').unwrap_or(("txt", &told));
            let format = match format {
                "txt" => VerbatimFormat::Text,
                other => VerbatimFormat::Unknown(other.to_owned()),
            };
            Ok(Value::VerbatimString { format, text: text.to_owned() })
        }
        _ => Ok(Value::BulkString(said.to_vec())),
    }
}

/// Where a line ends, before its end's two bytes.
fn line_end(bytes: &[u8]) -> Result<Option<usize>, Nonsense> {
    let seen = &bytes[..bytes.len().min(LONGEST_LINE)];
    let mut from = 0;
    while let Some(at) = seen[from..].iter().position(|byte| *byte == b'\r') {
        match bytes.get(from + at + 1) {
            Some(b'\n') => return Ok(Some(from + at)),
            Some(_) => from += at + 1,
            None => return Ok(None),
        }
    }
    if seen.len() == LONGEST_LINE { Err("a line without an end".into()) } else { Ok(None) }
}

fn text(line: &[u8]) -> Result<&str, Nonsense> {
    std::str::from_utf8(line).map_err(|_| "a line that is no text".into())
}

/// A line of some digits and nothing else, as most are, and where it ends: found in one pass.
fn short_number(rest: &[u8]) -> Option<(i64, usize)> {
    let mut number = 0;
    for (at, byte) in rest.iter().enumerate().take(19) {
        match byte {
            b'0'..=b'9' if at < 18 => number = number * 10 + i64::from(byte - b'0'),
            b'\r' if at > 0 && rest.get(at + 1) == Some(&b'\n') => return Some((number, at)),
            _ => return None,
        }
    }
    None
}

fn number(line: &[u8]) -> Result<i64, Nonsense> {
    text(line)?.parse().map_err(|_| "a number that is none".into())
}

/// A length; `None` is that of nothing.
fn length(number: i64) -> Result<Option<usize>, Nonsense> {
    match number {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| format!("a length of {len}")),
    }
}

fn error(said: &[u8]) -> Result<Value, Nonsense> {
    // One line of it: what it says is for people.
    let line = said.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    parse_redis_value(format!("-{line}\r\n").as_bytes()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All replies in these bytes, given so many at a time.
    fn all(bytes: &[u8], step: usize) -> Result<Vec<Value>, Nonsense> {
        let (mut replies, mut found, mut kept) = (Replies::default(), Vec::new(), Vec::new());
        for some in bytes.chunks(step) {
            kept.extend_from_slice(some);
            loop {
                let (reply, read) = replies.next(&kept)?;
                kept.drain(..read);
                match reply {
                    Some(reply) => found.push(reply),
                    None => break,
                }
            }
        }
        assert!(kept.is_empty() && replies.open.is_empty(), "{kept:?} is left");
        Ok(found)
    }

    const SAID: [&[u8]; 12] = [
        b"+OK\r\n",
        b"+PONG\r\n",
        b":0\r\n",
        b":-12\r\n",
        b":1763600000000000\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$4\r\na\r\nb\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*3\r\n:1\r\n*2\r\n$1\r\nx\r\n*0\r\n+y\r\n",
        b"-NOSCRIPT No matching script\r\n",
    ];

    #[test]
    fn replies_are_read_as_the_library_reads_them_however_they_are_cut() {
        let (whole, expected): (Vec<u8>, Vec<Value>) =
            (SAID.concat(), SAID.iter().map(|said| parse_redis_value(said).unwrap()).collect());
        for step in 1..whole.len() {
            assert_eq!(all(&whole, step).unwrap(), expected, "{step} at a time");
        }
    }

    #[test]
    fn a_push_is_no_reply_and_a_map_is_read() {
        let push = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n%1\r\n+a\r\n:1\r\n_\r\n#t\r\n,1.5\r\n=6\r\ntxt:hi\r\n";
        let read = all(push, 5).unwrap();
        let text = |text: &[u8]| Value::BulkString(text.to_vec());
        assert_eq!(read[0], Value::Push { kind: PushKind::Message, data: vec![text(b"c"), text(b"hi")] });
        assert_eq!(read[1], Value::Map(vec![(Value::SimpleString("a".into()), Value::Int(1))]));
        assert_eq!(read[2..5], [Value::Nil, Value::Boolean(true), Value::Double(1.5)]);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let deep = b"*1\r\n".repeat(DEEPEST + 1);
        let endless = [b"+".as_slice(), &b"x".repeat(LONGEST_LINE)].concat();
        for bad in [
            b"HTTP/1.1 400 Bad Request\r\n".as_slice(),
            b"$3\r\nabcd\r\n",
            b":x\r\n",
            b":1x\r\n",
            b"*-2\r\n",
            b"x12\r\n",
            b"$99999999999\r\n",
            &deep,
            &endless,
        ] {
            assert!(all(bad, 7).is_err(), "{:?}", String::from_utf8_lossy(&bad[..bad.len().min(20)]));
        }
    }

    #[test]
    fn what_is_announced_costs_nothing_before_it_comes() {
        let mut replies = Replies::default();
        assert_eq!(replies.next(b"*9223372036854775807\r\n*9223372036854775807\r\n:1\r\n"), Ok((None, 48)));
        assert!(replies.open.iter().all(|open| open.parts.capacity() <= 16));
    }
}
