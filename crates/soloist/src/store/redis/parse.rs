//! The doors to what a server says; see `testing::parse`.

use redis::Value;

use super::keys::KeyNames;
use super::pack::{self, Message};
use super::reply::Replies;
use super::{address, answer, greeting, keys, trouble};
use crate::clock::Moment;
use crate::name::{Holder, Key, Note, Session, Ticket};
use crate::protocol::{Answer, Grant, Mode, Request, Ttl, Wake, Want};
use crate::store::{PASSWORD, Reply, waiting, with_password};

/// The host list, login and options of a URL. No error of it has the password.
pub(crate) fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // These name files, which are read: of those on this machine nothing is known.
    let reads_files = |url: &str| ["ca", "cert", "key", "%"].iter().any(|name| url.contains(name));
    let urls = with_password(text);
    for url in urls.iter().map(String::as_str).chain([text]).filter(|url| !reads_files(url)) {
        drop(address::boot_guard(url));
        let said = match address::clients(url) {
            Ok(clients) => {
                assert!(!clients.is_empty());
                clients.iter().map(|client| address::name(client.get_connection_info())).collect::<String>()
            }
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!said.contains(PASSWORD) || !urls.iter().any(|own| own == url), "{url}: {said}");
    }
}

fn asked(number: u8) -> Option<(Request, Session)> {
    let request = Request {
        key: Key::new("k").ok()?,
        ticket: Ticket::from_u128(number.into()),
        holder: Holder::new("h".repeat(usize::from(number) + 1)).ok()?,
        note: Note::new("n".repeat(usize::from(number))).ok(),
        want: if number.is_multiple_of(2) { Want::Lock } else { Want::Flight },
        mode: Mode::Line,
        ttl: if number.is_multiple_of(3) { Ttl::Forever } else { Ttl::Micros(u64::from(number) * 1_000_000) },
        bound: number.is_multiple_of(5),
        seen: None,
        max_waiting: Some(u64::from(number)),
        tokens: number,
    };
    Some((request, Session::from_u128(8)))
}

fn number(number: u64) -> Vec<u8> {
    number.to_be_bytes()[1..].to_vec()
}

/// A request once it holds the key.
fn lease(request: &Request, session: Session, deadline: u64) -> Vec<u8> {
    let (whose, rest) = (pack::whose(request.ticket, session), pack::rest(request));
    [&number(deadline)[..], &whose, &number(7), &number(8), &rest].concat()
}

fn result() -> Vec<u8> {
    let head = [&[0; 17][..], &number(7), &number(8), &number(9), &[0, 1], b"h"].concat();
    [&head[..], b"[1,2]"].concat()
}

/// Where a lease's or a waiter's note begins, given where its holder does.
fn note_at(bytes: &[u8], at: usize) -> usize {
    at + 2 + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

/// A stored record is read as what it is, or refused: cut short before its note it is none.
pub(crate) fn stored(bytes: &[u8]) {
    if let Some(held) = pack::holding(bytes) {
        assert!(held.deadline.is_none_or(|deadline| deadline < 1 << 53) && held.token.0 < 1 << 53);
        assert!(pack::holding(&bytes[..note_at(bytes, 47) - 1]).is_none(), "cut short");
        assert!(pack::holding(&[bytes, b"\xff"].concat()).is_none(), "with what is no text behind it");
    }
    if pack::waiter_info(bytes).is_some() {
        assert!(pack::waiter_info(&bytes[..note_at(bytes, 33) - 1]).is_none(), "cut short");
        assert!(pack::waiter_info(&[bytes, b"\xff"].concat()).is_none(), "with what is no text behind it");
    }
    if let Some(info) = pack::result_info(bytes, bytes.len() as u64) {
        let outcome = pack::outcome(bytes.to_vec());
        assert!(
            outcome.is_some_and(|outcome| outcome.body.size() == info.size && outcome.token == info.token)
        );
    }
    pack::queued(bytes);
    pack::rotated(bytes);
    // What is written is read back.
    if let Some((request, session)) = bytes.first().and_then(|number| asked(*number)) {
        let info = pack::waiter_info(&pack::waiter(&request, session));
        assert!(
            info.is_some_and(
                |i| (&i.holder, &i.note, i.want) == (&request.holder, &request.note, request.want)
            )
        );
        let held = pack::holding(&lease(&request, session, pack::NEVER));
        assert!(held.is_some_and(|h| (&h.holder, h.deadline, h.token.0) == (&request.holder, None, 7)));
        let plain = pack::holding(&pack::plain_lease(&request, session, 7, (8, 9)));
        assert!(plain.is_some_and(|h| (&h.holder, &h.note, h.since, h.deadline, h.token.0)
            == (&request.holder, &request.note, 8, Some(9), 7)));
    }
}

pub(crate) fn stored_seeds() -> Vec<Vec<u8>> {
    let all = |(request, session): (Request, Session)| {
        let lease = |deadline| lease(&request, session, deadline);
        let plain = pack::plain_lease(&request, session, 7, (8, 9));
        [lease(9), lease(pack::NEVER), plain, pack::waiter(&request, session)]
    };
    let mut seeds: Vec<Vec<u8>> = [0, 1, 6].into_iter().filter_map(asked).flat_map(all).collect();
    seeds.push(result());
    seeds
}

/// What the server says to those who listen.
pub(crate) fn message(bytes: &[u8]) {
    match pack::message(bytes) {
        Some(Message::Wake(tickets, wake)) => {
            assert!(tickets.len() * 16 <= bytes.len(), "as many as there are bytes for");
            if let Wake::Granted(grant) = wake {
                dated(&grant);
            }
        }
        Some(Message::Events(events)) => assert!(events.iter().all(|event| event.at < 1 << 53)),
        None => {}
    }
}

/// A grant is dated, whatever its numbers are.
fn dated(grant: &Grant) {
    let reply = Reply::new(Answer::Granted(*grant), Moment::now(), grant.from);
    assert!(reply.began(grant) <= Moment::now(), "it did not begin later than now");
    let _ = grant.ttl.duration().map(|ttl| reply.began(grant).after(ttl));
}

pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    let ticket = [7; 16];
    let one = |kind: &[u8], rest: &[u8]| [kind, &ticket, rest].concat();
    let event = |kind: u8, from: &[u8]| {
        let name = b"soloist:1:{00}:l:k";
        let of = [&number(7)[..], &number(8), &[0, 1, 0, 1], b"h"].concat();
        [b"E", &[kind][..], &number(8), &[0, name.len() as u8], name, from, &of].concat()
    };
    let granted = |(request, session): (Request, Session)| [b"G", &lease(&request, session, 9)[..]].concat();
    vec![
        asked(1).map(granted).unwrap_or_default(),
        one(b"L", &[&[8; 8][..], &number(7), &[0]].concat()),
        one(b"L", &[&[8; 8][..], &number(7), &[1, 0, 1, b'h']].concat()),
        one(b"K\0\0\0\x01", &[]),
        one(b"D\0\0\0\x01", &result()),
        b"K\xff\xff\xff\xff".to_vec(),
        event(0, &[]),
        [&b"B\0\0\0"[..], &[event(1, &[]).len() as u8], &event(1, &[]), &event(0, &[])].concat(),
        event(3, &[0, 1, b'h']),
    ]
}

/// Any answer that a server can give: a tree of lists, numbers and texts, as the bytes say.
pub(super) fn tree(bytes: &mut &[u8], depth: usize) -> Value {
    let mut take = |len: usize| {
        let (front, rest) = bytes.split_at(len.min(bytes.len()));
        *bytes = rest;
        front
    };
    let kind = take(1).first().copied().unwrap_or_default();
    match kind % 8 {
        0 if depth > 0 => {
            let len = take(1).first().copied().unwrap_or_default() % 12;
            Value::Array((0..len).map(|_| tree(bytes, depth - 1)).collect())
        }
        1 => Value::Int(take(1).first().copied().unwrap_or_default().cast_signed().into()),
        2 => {
            let mut number = [0; 8];
            for (to, from) in number.iter_mut().zip(take(8)) {
                *to = *from;
            }
            Value::Int(i64::from_le_bytes(number))
        }
        3 => Value::SimpleString(String::from_utf8_lossy(take(6)).into_owned()),
        4 => Value::Nil,
        5 => Value::Double(0.5),
        _ => {
            let len = take(1).first().copied().unwrap_or_default();
            Value::BulkString(take(len.into()).to_vec())
        }
    }
}

/// The bytes of a tree.
pub(super) fn of_tree(value: &Value) -> Vec<u8> {
    match value {
        Value::Array(list) => {
            let head = vec![0, list.len() as u8];
            list.iter().fold(head, |all, value| [all, of_tree(value)].concat())
        }
        Value::Int(number) => [&[2][..], &number.to_le_bytes()].concat(),
        Value::BulkString(bytes) => [&[7, bytes.len() as u8][..], bytes].concat(),
        _ => vec![4],
    }
}

/// What scripts answer, whichever of them was asked.
pub(crate) fn answer(mut bytes: &[u8]) {
    let value = tree(&mut bytes, 4);
    if let Some((answer, now)) = answer::acquired(value.clone(), Ttl::Micros(7)) {
        match &answer {
            Answer::Granted(grant) => dated(grant),
            Answer::Queued(queued) => {
                let looks = [Want::Lock, Want::Flight].map(|want| waiting::next_look(queued, want, now));
                assert!(looks.iter().all(|look| !look.is_zero()), "not in a tight loop");
            }
            Answer::Busy(_) | Answer::Full { .. } | Answer::Done(_) => {}
        }
    }
    let Ok(key) = Key::new("k") else { return };
    for count in 0..3 {
        let renewed = answer::renewed(value.clone(), std::iter::repeat_n(Ttl::Forever, count));
        assert!(renewed.is_none_or(|(renewed, _)| renewed.len() == count), "an answer for each question");
        let keys = vec![key.clone(); count];
        let looks = answer::looks(value.clone(), &keys);
        assert!(looks.is_none_or(|(looks, _)| looks.len() == count), "an answer for each question");
    }
    let _ = answer::plain(&value);
    drop((answer::left(value.clone()), answer::released(value.clone()), answer::published(value.clone())));
    drop((answer::result(value.clone()), answer::scanned(value)));
}

pub(crate) fn answer_seeds() -> Vec<Vec<u8>> {
    let text = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
    let list = |values: &[Value]| Value::Array(values.to_vec());
    let number = Value::Int;
    let Some((request, session)) = asked(1) else { return Vec::new() };
    let held = text(&lease(&request, session, 9));
    let queued = [b"Q", &self::number(8)[..], &[0, 0, 0, 1], &lease(&request, session, 9)].concat();
    let look =
        list(&[held.clone(), list(&[text(&pack::waiter(&request, session))]), text(&result()), number(60)]);
    let answers = [
        list(&[number(1), number(8), number(7), number(9), number(2)]),
        number(8),
        text(&queued),
        list(&[number(3), number(8), held.clone()]),
        list(&[number(4), number(8), text(&result())]),
        list(&[number(8), held.clone(), list(std::slice::from_ref(&held))]),
        held,
        list(&[number(8), look.clone(), look]),
        list(&[text(b"17"), list(&[text(b"soloist:1:{00}:l:k")])]),
        text(&result()),
        number(2),
    ];
    answers.iter().map(of_tree).collect()
}

/// The bytes of replies: the same however they are cut, and what the client library reads in them.
pub(crate) fn reply(bytes: &[u8]) {
    let (mut at_once, mut bit_by_bit) = (Replies::default(), Replies::default());
    let (mut from, mut seen) = (0, 0);
    while let Ok((Some(reply), read)) = at_once.next(&bytes[from..]) {
        let end = from + read;
        let mut cut = Ok((None, 0));
        while seen < end && matches!(cut, Ok((None, _))) {
            seen += 1;
            cut = bit_by_bit.next(&bytes[from..seen]);
            from += cut.as_ref().map_or(0, |(_, read)| *read);
        }
        assert_eq!((from, seen), (end, end), "no reply ends before it is whole, or after");
        if is_plain(&reply) {
            assert_eq!(redis::parse_redis_value(&bytes[end - read..end]).ok().as_ref(), Some(&reply));
        }
        assert_eq!(cut, Ok((Some(reply), cut.as_ref().map_or(0, |(_, read)| *read))));
    }
}

/// Whether all of it is as servers answer scripts.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Nil | Value::Int(_) | Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => true,
        Value::Array(parts) => parts.iter().all(is_plain),
        _ => false,
    }
}

pub(crate) fn reply_seeds() -> Vec<Vec<u8>> {
    [
        "*4\r\n:1\r\n:1763600000000000\r\n:1763600000000001\r\n:-1\r\n",
        "*2\r\n:1\r\n*2\r\n$3\r\nabc\r\n*-1\r\n+OK\r\n-NOSCRIPT none\r\n$-1\r\n",
        ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n:7\r\n",
        "%1\r\n$5\r\nproto\r\n:3\r\n_\r\n#t\r\n,1.5\r\n(12\r\n=6\r\ntxt:hi\r\n!5\r\nERR x\r\n~1\r\n+a\r\n",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into()
}

/// What a server says of itself.
pub(crate) fn greeting(mut bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    greeting::numbers(&text);
    let error = redis::RedisError::from((redis::ErrorKind::Extension, "ERR", text));
    drop(trouble::Trouble::of(&error));
    let value = tree(&mut bytes, 3);
    for name in ["version", "mode", "role"] {
        greeting::field(&value, name);
    }
}

pub(crate) fn greeting_seeds() -> Vec<Vec<u8>> {
    let words = ["server", "redis", "version", "7.0.15", "mode", "standalone", "role", "master"];
    let words = Value::Array(words.map(|word| Value::BulkString(word.into())).to_vec());
    vec![of_tree(&words), b"6.2".to_vec(), b"4294967296.0.0".to_vec(), b"-OOM command not allowed".to_vec()]
}

/// Names of keys, as a scan finds them.
pub(crate) fn names(bytes: &[u8]) {
    if let Some(key) = KeyNames::user_key(bytes) {
        assert!(bytes.ends_with(key.as_str().as_bytes()));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let pattern = keys::pattern(text);
    assert!(pattern.len() <= 2 * text.len() + 24);
    if let Ok(key) = Key::stored(text) {
        let names = KeyNames::of(&key, keys::shard(&key));
        for name in [names.lease(), names.queue(), names.result()] {
            assert_eq!(KeyNames::user_key(name.as_bytes()).as_ref(), Some(&key), "{name:?}");
        }
        assert!(KeyNames::user_key(names.fence().as_bytes()).is_none());
    }
}

pub(crate) fn name_seeds() -> Vec<Vec<u8>> {
    ["soloist:1:{00}:l:k", "soloist:1:{ff}:q:}:r:", "soloist:1:{00}:f", "*[x]?\\"].map(Into::into).into()
}
