//! The doors to what this store reads; see `testing::parse`.

use super::boot::{self, BootName};
use super::delta::Delta;
use super::events::{Gaps, Numbered};
use super::fifo::{Heard, Reader};
use super::peers::{Ending, Message};
use super::record::{self, Begun, End, RECORD};
use super::slot::{HEADER, Head, Read};
use crate::event::{Event, EventKind};
use crate::name::{FencingToken, Holder, Key, Session, Ticket};
use crate::protocol::{
    Body, Grant, Liveness, Mode, OutcomeKind, Publication, Renewal, Request, Step, Table, Ttl, Want, Who,
};
use crate::store::Told;

/// Sessions with an even number live.
struct Even;

impl Liveness for Even {
    fn waiter_gone(&self, session: Session) -> bool {
        session.as_u128() % 2 == 1
    }
    fn holder_gone(&self, session: Session) -> bool {
        session.as_u128() % 2 == 1
    }
}

fn request(ticket: u128, want: Want, mode: Mode) -> Option<Request> {
    Some(Request {
        key: Key::new("k").ok()?,
        ticket: Ticket::from_u128(ticket),
        holder: Holder::new("h").ok()?,
        note: None,
        want,
        mode,
        ttl: Ttl::Micros(30_000_000),
        bound: true,
        seen: None,
        max_waiting: None,
        tokens: 1,
    })
}

/// Tables as they may stand in a file.
pub(crate) fn tables() -> Vec<Table> {
    let (mut tables, mut table) = (vec![Table::default()], Table::default());
    for ticket in [2, 4, 6] {
        let Some(request) = request(ticket, Want::Flight, Mode::Line) else { continue };
        table.acquire(&request, Session::from_u128(ticket), &mut Step::new(1, &Even));
        tables.push(table.clone());
    }
    for (id, body) in
        [(2, Body::Inline("[1]".into())), (4, Body::Aside { id: Ticket::from_u128(9), size: 7 })]
    {
        let Ok(key) = Key::new("k") else { continue };
        let publication = Publication {
            key,
            ticket: Ticket::from_u128(id),
            kind: OutcomeKind::Value,
            body,
            keep: 60_000_000,
        };
        table.publish(&publication, &mut Step::new(2, &Even));
        tables.push(table.clone());
    }
    tables
}

fn encoded(table: &Table) -> Vec<u8> {
    postcard::to_stdvec(table).unwrap_or_default()
}

fn sealed(table: &[u8], seq: u64) -> Vec<u8> {
    [&Head::new(table, seq, (3, 2), 4096).bytes()[..], table].concat()
}

/// Whether this is a head, and behind it its whole table.
fn is_whole(bytes: &[u8]) -> Option<Head> {
    match Head::read(bytes) {
        Read::Head(head) if head.fits(bytes.get(HEADER..)?) => Some(head),
        _ => None,
    }
}

/// A slot as it may be found after a crash, or a record. What was changed is refused, never guessed.
pub(crate) fn slot(bytes: &[u8]) {
    if let Some(head) = is_whole(bytes) {
        let table = &bytes[HEADER..];
        let again = Head::new(table, head.seq, (head.events, head.listeners), head.room);
        assert_eq!([&again.bytes()[..], table].concat(), bytes, "what fits is what was sealed");
    }
    // And of a good one, what this input says is changed.
    let good = sealed(&tables().last().map(encoded).unwrap_or_default(), 7);
    let torn = damaged(&good, bytes);
    assert_eq!(is_whole(&torn).is_some(), torn == good, "damage is seen");
    let end = End { at: 64, seq: 6, sum: 9 };
    let mut good = [&[0; RECORD][..], b"what a step has changed"].concat();
    record::seal(&mut good, &end);
    for torn in [bytes, &damaged(&good, bytes)] {
        let begun = Begun::read(torn, &end).and_then(|begun| Some((begun, begun.size(torn.len() as u64)?)));
        let whole = begun.and_then(|(begun, size)| begun.whole(torn.get(..size)?, &end));
        assert_eq!(whole.is_some(), torn == good, "damage is seen");
    }
}

/// Some bytes of it changed, and some cut off, as this input says.
fn damaged(good: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut torn = good.to_vec();
    for change in bytes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % torn.len();
        torn[at] = change[2];
    }
    let cut = bytes.first().map_or(torn.len(), |cut| torn.len() - usize::from(*cut) % 3);
    torn.truncate(cut);
    torn
}

pub(crate) fn slot_seeds() -> Vec<Vec<u8>> {
    (1..).zip(&tables()).map(|(seq, table)| sealed(&encoded(table), seq)).collect()
}

/// A table whose checksum is right, whoever wrote it: every verb answers.
pub(crate) fn table(bytes: &[u8]) {
    // The change of a step may be of no table that this is.
    for mut table in tables() {
        let _ = postcard::from_bytes::<Delta<'_>>(bytes).map(|delta| delta.apply(&mut table));
    }
    let Ok(mut table) = postcard::from_bytes::<Table>(bytes) else { return };
    assert_eq!(postcard::from_bytes::<Table>(&encoded(&table)).as_ref(), Ok(&table));
    // Tokens are below 2^53.
    table.last = FencingToken(table.last.0 >> 11);
    let now =
        table.keys.values().filter_map(|state| state.holders.first()).map(|held| held.holding.since).max();
    // So is the time.
    let now = now.unwrap_or(1) >> 11;
    let keys: Vec<Key> = table.keys.keys().cloned().collect();
    for key in &keys {
        let tickets: Vec<Ticket> = table
            .keys
            .get(key)
            .into_iter()
            .flat_map(|state| state.queue.iter().map(|waiter| waiter.ticket))
            .collect();
        let held = table.keys.get(key).and_then(|state| state.holders.first()).map(|held| held.ticket);
        let step = || Step::new(now, &Even);
        table.inspect(key, &step());
        table.result(key, &step());
        for (ticket, mode) in
            tickets.iter().copied().zip([Mode::Try, Mode::Line, Mode::Force].into_iter().cycle())
        {
            if let Some(request) = request(ticket.as_u128(), Want::Flight, mode) {
                table.acquire(&Request { key: key.clone(), ..request }, Session::from_u128(2), &mut step());
            }
            super::line::Line::of(table.keys.get(key)).changed(table.keys.get(key), &[], |_| false);
        }
        if let Some(ticket) = held {
            let who = Who::Ticket(ticket);
            let renewal = Renewal {
                key: key.clone(),
                who: who.clone(),
                ttl: Ttl::Forever,
                detach: true,
                at_least: None,
            };
            table.renew(&renewal, &mut step());
            table.release(key, &who, Session::from_u128(2), &mut step());
        }
        table.touch(key, &mut step());
        for ticket in tickets {
            table.leave(key, ticket, &mut step());
        }
        table.forget(key, &mut step());
    }
    table.list("", &Step::new(now, &Even));
}

pub(crate) fn table_seeds() -> Vec<Vec<u8>> {
    tables().iter().map(encoded).collect()
}

fn record(message: &impl serde::Serialize) -> Vec<u8> {
    let body = postcard::to_stdvec(message).unwrap_or_default();
    [&(body.len() as u16).to_le_bytes()[..], &body].concat()
}

/// Reads the bytes in pieces, as a FIFO gives them. Whatever was written into it before, records that come after it
/// was empty are read.
fn heard<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Vec<Heard<T>> {
    let mut reader = Reader::<T>::sized(1 << 16);
    let piece = bytes.first().map_or(1, |byte| usize::from(*byte) + 1);
    for chunk in bytes.chunks(piece) {
        reader.take(chunk);
    }
    reader.emptied();
    reader.take(&record(&7_u8));
    let (heard, whole) = reader.all();
    assert!(whole, "it hears again after what was no record");
    heard
}

pub(crate) fn wake_ups(bytes: &[u8]) {
    for heard in heard::<Message>(bytes) {
        if let Heard::Record(message) = heard {
            let body = postcard::to_stdvec(&message).unwrap_or_default();
            assert_eq!(postcard::from_bytes::<Message>(&body), Ok(message.clone()));
            if let Message::Lost(_, _, ending) = message {
                let loss: crate::error::Loss = ending.clone().into();
                assert_eq!(Ending::from(loss), ending);
            }
        }
    }
}

pub(crate) fn wake_up_seeds() -> Vec<Vec<u8>> {
    let ticket = Ticket::from_u128(7);
    let mut messages = vec![Message::Look(ticket), Message::Lost(ticket, FencingToken(7), Ending::Gone)];
    let grant = Grant { token: FencingToken(7), tokens: 1, from: 5, ttl: Ttl::Micros(3_000_000) };
    messages.push(Message::Granted(ticket, grant));
    messages.extend(Holder::new("h").map(|by| Message::Lost(ticket, FencingToken(7), Ending::TakenOver(by))));
    let mut seeds: Vec<Vec<u8>> = messages.iter().map(record).collect();
    seeds.extend([seeds.concat(), vec![0xff, 0xff, 7], vec![0; 64]]);
    seeds
}

/// Events as another process may tell them, and what a subscriber makes of their numbers.
pub(crate) fn events(bytes: &[u8]) {
    let (mut gaps, mut told) = (Gaps::default(), 0);
    for heard in heard::<Numbered>(bytes) {
        if let Heard::Record(numbered) = heard {
            match gaps.told(numbered) {
                Told::Missed => assert!(gaps.behind_a_gap().is_some(), "the event behind a gap is told, too"),
                Told::Event(_) => told += 1,
                Told::ClockStepped { .. } => unreachable!("only a Redis tells that"),
            }
        }
    }
    assert!(told <= bytes.len());
}

pub(crate) fn event_seeds() -> Vec<Vec<u8>> {
    let (Ok(key), Ok(holder)) = (Key::new("k"), Holder::new("h")) else { return Vec::new() };
    let event = |number| {
        let event = Event::new(key.clone(), EventKind::Expired, holder.clone(), FencingToken(7), 8);
        record(&Numbered { shard: 1, number, event })
    };
    vec![event(1), [event(1), event(2)].concat(), [event(u64::MAX), event(0), event(9)].concat()]
}

/// Names of files and folders, and the clock's one line.
pub(crate) fn folder(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(plain) = boot::plain(text) {
        assert!(
            plain.len() <= 64 && plain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "{plain:?}"
        );
        assert_eq!(boot::plain(&plain).as_deref(), Some(&*plain));
    }
    if let Ok(name) = BootName::current() {
        assert!(!name.is_past(&name.folder()), "this boot is not past");
        if name.is_past(text) {
            assert_eq!(text.len(), name.folder().len());
        }
    }
    if let Ok(id) = text.parse::<Ticket>() {
        assert_eq!(id.to_string(), text, "a file of a result has one name");
    }
    assert!(super::folder::clock_of(text).is_none_or(|base| base < 1 << 53), "tokens have room to grow");
}

pub(crate) fn folder_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        ["0", "1700000000000000\n", "18446744073709551616", ".new-7", "00000000000000000000000000000007"]
            .map(Into::into)
            .into();
    seeds.extend(BootName::current().map(|name| name.folder().into_bytes()));
    seeds
}
