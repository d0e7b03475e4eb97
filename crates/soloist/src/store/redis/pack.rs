//! What is stored and sent, byte by byte; `lua/prelude.lua` says how it is laid out.

use bytes::Bytes;

use crate::error::Loss;
use crate::event::{Event, EventKind};
use crate::name::{FencingToken, Holder, Key, Note, Session, Ticket};
use crate::protocol::{
    Body, Grant, Holding, MOST_TOKENS, Micros, Outcome, OutcomeKind, Request, ResultInfo, Ttl, WaiterInfo,
    Wake, Want, Who,
};
use crate::store::hub::LastPlace;

/// The longest time that the scripts count with: 2^52 microseconds, 142 years. Exact as a double.
const LONGEST: Micros = 1 << 52;

/// A time that scripts can count with.
pub(super) fn bounded(us: Micros) -> Micros {
    us.min(LONGEST)
}

/// A ttl as scripts read it: -1 is for ever.
pub(super) fn ttl_number(ttl: Ttl) -> i64 {
    match ttl {
        Ttl::Micros(us) => i64::try_from(bounded(us)).unwrap_or(-1),
        Ttl::Forever => -1,
    }
}

/// A number as scripts read it: exact as a double.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(bounded(count)).unwrap_or(-1)
}

/// Where a request stands in line, as scripts read it: -1 is somewhere.
pub(super) fn place(place: LastPlace) -> i64 {
    match place {
        LastPlace::Somewhere => -1,
        LastPlace::At(place) => count(place),
    }
}

/// Numbers are whole and below this: exact as doubles.
const EXACT: f64 = (1_u64 << 53) as f64;

/// A time or a token; `None` is a number that no script writes.
fn micros(number: f64) -> Option<Micros> {
    ((0.0..EXACT).contains(&number) && number.fract() == 0.0).then_some(number as Micros)
}

/// How many tokens a grant has; `None` is a number that no script writes.
pub(super) fn tokens(number: u64) -> Option<u8> {
    u8::try_from(number).ok().filter(|tokens| (1..=MOST_TOKENS).contains(tokens))
}

fn want_of(byte: u8) -> Option<Want> {
    match byte {
        0 => Some(Want::Lock),
        1 => Some(Want::Flight),
        _ => None,
    }
}

fn kind_of(byte: u8) -> Option<OutcomeKind> {
    match byte {
        0 => Some(OutcomeKind::Value),
        1 => Some(OutcomeKind::Error),
        _ => None,
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Names are at most 1024 bytes long.
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A waiter: the same bytes for the same request, so that the server finds it in the line.
pub(super) fn waiter(request: &Request, session: Session) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(&request.ticket.as_u128().to_be_bytes());
    out.extend_from_slice(&session.as_u128().to_be_bytes());
    out.push(u8::from(request.want == Want::Flight));
    // At most 128 tokens: 7 bits.
    out.push(u8::from(request.bound) | (request.tokens.clamp(1, MOST_TOKENS) - 1) << 1);
    out.extend_from_slice(&(ttl_number(request.ttl) as f64).to_be_bytes());
    put_text(&mut out, request.holder.as_str());
    put_text(&mut out, request.note.as_ref().map_or("", Note::as_str));
    out
}

/// Which lease is meant.
pub(super) fn who(who: &Who) -> Vec<u8> {
    match who {
        Who::Ticket(ticket) => [b"T".as_slice(), &ticket.as_u128().to_be_bytes()].concat(),
        Who::Holder(holder) => [b"H", holder.as_str().as_bytes()].concat(),
        Who::Any => b"A".to_vec(),
    }
}

/// Reads packed bytes from the front. `None` is bytes that are not ours.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }
    fn id(&mut self) -> Option<u128> {
        Some(u128::from_be_bytes(self.take(16)?.try_into().ok()?))
    }
    fn number(&mut self) -> Option<f64> {
        Some(f64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }
    fn micros(&mut self) -> Option<Micros> {
        micros(self.number()?)
    }
    /// A time, or -1: never.
    fn micros_or_never(&mut self) -> Option<Option<Micros>> {
        let number = self.number()?;
        if number == -1.0 { Some(None) } else { micros(number).map(Some) }
    }
    fn ttl(&mut self) -> Option<Ttl> {
        Some(self.micros_or_never()?.map_or(Ttl::Forever, Ttl::Micros))
    }
    fn want(&mut self) -> Option<Want> {
        want_of(self.byte()?)
    }
    /// Nothing may follow.
    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
    fn token(&mut self) -> Option<FencingToken> {
        self.micros().map(FencingToken)
    }
    fn text(&mut self) -> Option<&'a str> {
        let len = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        std::str::from_utf8(self.take(len.into())?).ok()
    }
    fn holder(&mut self) -> Option<Holder> {
        Holder::new(self.text()?).ok()
    }
    fn note(&mut self) -> Option<Option<Note>> {
        Some(match self.text()? {
            "" => None,
            text => Some(Note::new(text).ok()?),
        })
    }
    fn tickets(&mut self) -> Option<Vec<Ticket>> {
        let count = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        (0..count).map(|_| self.id().map(Ticket::from_u128)).collect()
    }
}

/// What everybody may know of a stored lease.
pub(super) fn holding(lease: &[u8]) -> Option<Holding> {
    let mut lease = Reader(lease);
    lease.take(32)?;
    let want = lease.want()?;
    lease.take(2)?;
    let (token, since, deadline) = (lease.token()?, lease.micros()?, lease.micros_or_never()?);
    let (holder, note) = (lease.holder()?, lease.note()?);
    lease.end()?;
    Some(Holding { holder, token, since, deadline, note, want })
}

/// What everybody may know of a stored waiter.
pub(super) fn waiter_info(waiter: &[u8]) -> Option<WaiterInfo> {
    let mut waiter = Reader(waiter);
    waiter.take(32)?;
    let want = waiter.want()?;
    waiter.take(1)?;
    waiter.ttl()?;
    let (holder, note) = (waiter.holder()?, waiter.note()?);
    waiter.end()?;
    Some(WaiterInfo { holder, note, want })
}

/// A session's id as it stands in an answer; empty is none.
pub(super) fn session(bytes: &[u8]) -> Option<Option<Session>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let mut reader = Reader(bytes);
    let id = reader.id()?;
    reader.end()?;
    Some(Some(Session::from_u128(id)))
}

/// The head of a stored result, and where its body begins.
fn result_head(result: &[u8]) -> Option<(ResultInfo, usize)> {
    let mut head = Reader(result);
    head.take(16)?;
    let kind = kind_of(head.byte()?)?;
    let (token, at, until) = (head.token()?, head.micros()?, head.micros()?);
    let leader = head.holder()?;
    let body_at = result.len() - head.0.len();
    Some((ResultInfo { leader, token, at, until, kind, size: 0 }, body_at))
}

/// What everybody may know of a stored result of `len` bytes, of which this is the head.
pub(super) fn result_info(head: &[u8], len: u64) -> Option<ResultInfo> {
    let (info, body_at) = result_head(head)?;
    Some(ResultInfo { size: len.checked_sub(body_at as u64)?, ..info })
}

/// A stored result.
pub(super) fn outcome(result: Vec<u8>) -> Option<Outcome> {
    let (ResultInfo { leader, token, at, until, kind, .. }, body_at) = result_head(&result)?;
    let body = Body::Inline(Bytes::from(result).slice(body_at..));
    Some(Outcome { token, leader, at, until, kind, body })
}

/// A message from the server.
#[derive(Debug)]
pub(super) enum Message {
    Wake(Vec<Ticket>, Wake),
    Event(Event),
}

/// Reads a message. `None` is one that this version does not know.
pub(super) fn message(payload: &[u8]) -> Option<Message> {
    let mut reader = Reader(payload);
    Some(match reader.byte()? {
        b'G' => {
            let ticket = Ticket::from_u128(reader.id()?);
            let (token, from, ttl) = (reader.token()?, reader.micros()?, reader.ttl()?);
            let tokens = if reader.0.is_empty() { 1 } else { tokens(reader.byte()?.into())? };
            reader.end()?;
            Message::Wake(vec![ticket], Wake::Granted(Grant { token, tokens, from, ttl }))
        }
        b'D' => {
            let tickets = reader.tickets()?;
            Message::Wake(tickets, Wake::Done(outcome(reader.0.to_vec())?))
        }
        b'K' => {
            let tickets = reader.tickets()?;
            reader.end()?;
            Message::Wake(tickets, Wake::Look)
        }
        b'L' => {
            let (ticket, token) = (Ticket::from_u128(reader.id()?), reader.token()?);
            let loss = match reader.byte()? {
                0 => Loss::Released,
                1 => Loss::TakenOver { by: reader.holder()? },
                _ => return None,
            };
            reader.end()?;
            Message::Wake(vec![ticket], Wake::Lost(token, loss))
        }
        b'E' => Message::Event(event(&mut reader)?),
        _ => return None,
    })
}

fn event(reader: &mut Reader<'_>) -> Option<Event> {
    let (kind, token, at) = (reader.byte()?, reader.token()?, reader.micros()?);
    let (key, holder, from) = (Key::stored(reader.text()?).ok()?, reader.holder()?, reader.text()?);
    reader.end()?;
    let kind = match kind {
        0 => EventKind::Locked,
        1 => EventKind::Released,
        2 => EventKind::Expired,
        3 => EventKind::TakenOver { from: Holder::new(from).ok()? },
        4 => EventKind::Broken,
        5 => EventKind::Published,
        6 => EventKind::Failed,
        7 => EventKind::Forgotten,
        _ => return None,
    };
    Some(Event::new(key, kind, holder, token, at))
}
