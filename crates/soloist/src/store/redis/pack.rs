//! What is stored and sent, byte by byte; `lua/parts/key.lua` says how it is laid out.

use std::borrow::Cow;

use bytes::Bytes;

use super::keys::KeyNames;
use crate::error::Loss;
use crate::event::{Event, EventKind};
use crate::name::{FencingToken, Holder, Note, Session, Ticket};
use crate::protocol::{
    Body, Grant, Holding, MOST_TOKENS, Micros, Mode, Outcome, OutcomeKind, Renewal, Request, ResultInfo, Ttl,
    WaiterInfo, Wake, Want, Who,
};
use crate::store::hub::LastPlace;

/// The longest time that the scripts count with: 2^52 microseconds, 142 years. Exact as a double.
const LONGEST: Micros = 1 << 52;

/// What no time reaches: a deadline that never comes, a ttl for ever. Numbers below it are exact as doubles.
pub(super) const NEVER: u64 = 1 << 53;

/// A time or a number that scripts can count with.
pub(super) fn bounded(us: u64) -> u64 {
    us.min(LONGEST)
}

/// A ttl as scripts read it.
pub(super) fn ttl_number(ttl: Ttl) -> u64 {
    match ttl {
        Ttl::Micros(us) => bounded(us),
        Ttl::Forever => NEVER,
    }
}

/// A ttl as the scripts grant it.
pub(super) fn granted(ttl: Ttl) -> Ttl {
    match ttl {
        Ttl::Micros(us) => Ttl::Micros(bounded(us)),
        Ttl::Forever => Ttl::Forever,
    }
}

/// How long the server keeps a lease of this ttl, in milliseconds: a minute more, so that a later touch can tell that
/// it expired.
pub(super) fn life(ttl: Micros) -> u64 {
    bounded(ttl).div_ceil(1000) + 60_000
}

/// How long the server keeps the lease of a request that may be granted on the short way, if it never stood in line:
/// a lock with one token, as most are. Its ttl follows from that, so it has to be whole milliseconds.
pub(super) fn short(request: &Request) -> Option<u64> {
    let plain = request.want == Want::Lock && request.mode != Mode::Force && request.tokens <= 1;
    match request.ttl {
        Ttl::Micros(us) if plain && bounded(us).is_multiple_of(1000) => Some(life(us)),
        _ => None,
    }
}

/// A lease that is taken without a script, as scripts would write it.
pub(super) fn plain_lease(
    request: &Request,
    session: Session,
    token: Micros,
    (since, deadline): (Micros, Micros),
) -> Vec<u8> {
    let (holder, note) = (request.holder.as_str(), request.note.as_ref().map_or("", Note::as_str));
    let mut out = Vec::with_capacity(49 + holder.len() + note.len());
    out.extend_from_slice(&deadline.to_be_bytes()[1..]);
    out.extend_from_slice(&whose(request.ticket, session));
    out.extend_from_slice(&token.to_be_bytes()[1..]);
    out.extend_from_slice(&since.to_be_bytes()[1..]);
    out.extend_from_slice(&[PLAIN, 1]);
    put_text(&mut out, holder);
    out.extend_from_slice(note.as_bytes());
    out
}

/// A number of 7 bytes and nothing else.
pub(super) fn seven(bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader(bytes);
    let number = reader.micros()?;
    reader.end().map(|()| number)
}

/// What scripts need of a request for a key when it is not simply granted: mode, ttl, the longest line to join, where it may
/// stand there already (`None`: it never did), and the leader whose result it waits for.
pub(super) fn wish(request: &Request, place: Option<LastPlace>) -> [u8; 29] {
    let mode = match request.mode {
        Mode::Try => b'T',
        Mode::Line => b'L',
        Mode::Force => b'F',
    };
    let most = request.max_waiting.map_or(NEVER, bounded);
    let place = match place {
        None => 0,
        Some(LastPlace::Somewhere) => NEVER,
        Some(LastPlace::At(place)) => bounded(place),
    };
    let seen = request.seen.map_or(0, |token| bounded(token.0).saturating_add(1));
    let mut out = [mode; 29];
    let numbers = [ttl_number(request.ttl), most, place, seen];
    for (place, number) in out[1..].chunks_exact_mut(7).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes()[1..]);
    }
    out
}

/// A number as scripts read it.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(bounded(count)).unwrap_or(-1)
}

/// Where a session hears, as records and channels have it: half of its id. Nothing rests on its being the only one of
/// its kind: a message names the ticket that it is for.
pub(super) fn address(session: Session) -> [u8; 8] {
    let [address @ .., _, _, _, _, _, _, _, _] = session.as_u128().to_be_bytes();
    address
}

/// A ticket and where it hears.
pub(super) fn whose(ticket: Ticket, session: Session) -> [u8; 24] {
    let mut whose = [0; 24];
    whose[..16].copy_from_slice(&ticket.as_u128().to_be_bytes());
    whose[16..].copy_from_slice(&address(session));
    whose
}

/// Where a request stands in line, as scripts read it: -1 is somewhere.
pub(super) fn place(place: LastPlace) -> i64 {
    match place {
        LastPlace::Somewhere => -1,
        LastPlace::At(place) => count(place),
    }
}

/// How many tokens a grant has; `None` is a number that no script writes.
pub(super) fn tokens(number: u64) -> Option<u8> {
    u8::try_from(number).ok().filter(|tokens| (1..=MOST_TOKENS).contains(tokens))
}

/// The flags of a lease that was taken without a script: nobody stands in its line, and its token may not count.
const PLAIN: u8 = 4 | 8;

/// What a request wants, and of a flight whether it was forgotten under way; of a lock whether it was taken without a
/// script.
fn want_of(flags: u8) -> Option<Want> {
    match flags {
        1 | 3 => Some(Want::Flight),
        lock if lock & !PLAIN == 0 => Some(Want::Lock),
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

/// What a lease or a waiter has besides times, ticket and session: flags, tokens, holder and note. Whether it is bound to its
/// session is not kept: here nothing ends with one.
pub(super) fn rest(request: &Request) -> Vec<u8> {
    let (holder, note) = (request.holder.as_str(), request.note.as_ref().map_or("", Note::as_str));
    let mut out = Vec::with_capacity(4 + holder.len() + note.len());
    out.push(u8::from(request.want == Want::Flight));
    out.push(request.tokens.clamp(1, MOST_TOKENS));
    put_text(&mut out, holder);
    out.extend_from_slice(note.as_bytes());
    out
}

/// A request as it stands in line.
pub(super) fn waiter(request: &Request, session: Session) -> Vec<u8> {
    let ttl = ttl_number(request.ttl).to_be_bytes();
    [&ttl[1..], &whose(request.ticket, session), &rest(request)].concat()
}

/// Whose lease a release is about, and who asks; and which lease is meant. `again`: it may have been carried out
/// before, and only a ticket names one lease.
pub(super) fn meant(who: &Who, session: Session, again: bool) -> ([u8; 24], Cow<'static, [u8]>) {
    let nobodys = || whose(Ticket::from_u128(0), session);
    match who {
        Who::Ticket(ticket) => (whose(*ticket, session), Cow::Borrowed(b"T")),
        _ if again => (nobodys(), Cow::Borrowed(b"")),
        Who::Holder(holder) => (nobodys(), [b"H", holder.as_str().as_bytes()].concat().into()),
        Who::Any => (nobodys(), Cow::Borrowed(b"A")),
    }
}

/// Whose lease is to be renewed, and its ttl with the kind of that and the token to which it is raised.
pub(super) fn renewal(renewal: &Renewal) -> (Vec<u8>, String) {
    let ttl = ttl_number(renewal.ttl);
    let least = renewal.at_least.map_or_else(String::new, |token| format!("+{}", bounded(token.0)));
    match &renewal.who {
        Who::Ticket(ticket) => (ticket.as_u128().to_be_bytes().to_vec(), format!("{ttl}{least}")),
        Who::Holder(holder) => (holder.as_str().into(), format!("{ttl}H{least}")),
        Who::Any => (Vec::new(), format!("{ttl}A{least}")),
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
    fn number(&mut self) -> Option<u64> {
        Some(self.take(7)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
    /// A time or a token; `None` is a number that no script writes.
    fn micros(&mut self) -> Option<Micros> {
        self.number().filter(|number| *number < NEVER)
    }
    /// A time that may be never.
    fn micros_or_never(&mut self) -> Option<Option<Micros>> {
        let number = self.number()?;
        (number <= NEVER).then_some((number < NEVER).then_some(number))
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
    fn tokens(&mut self) -> Option<u8> {
        tokens(self.byte()?.into())
    }
    fn text(&mut self) -> Option<&'a str> {
        let len = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        std::str::from_utf8(self.take(len.into())?).ok()
    }
    fn holder(&mut self) -> Option<Holder> {
        Holder::new(self.text()?).ok()
    }
    /// All that is left.
    fn remainder(&mut self) -> Option<&'a str> {
        std::str::from_utf8(std::mem::take(&mut self.0)).ok()
    }
    fn note(&mut self) -> Option<Option<Note>> {
        Some(match self.remainder()? {
            "" => None,
            text => Some(Note::new(text).ok()?),
        })
    }
    fn tickets(&mut self) -> Option<Vec<Ticket>> {
        let count = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        (0..count).map(|_| self.id().map(Ticket::from_u128)).collect()
    }
}

/// A stored lease: its ticket, how many tokens it has, and what everybody may know.
fn lease(lease: &[u8]) -> Option<(Ticket, u8, Holding)> {
    let mut lease = Reader(lease);
    let (deadline, ticket) = (lease.micros_or_never()?, Ticket::from_u128(lease.id()?));
    lease.take(8)?;
    let (token, since, want) = (lease.token()?, lease.micros()?, lease.want()?);
    let (tokens, holder, note) = (lease.tokens()?, lease.holder()?, lease.note()?);
    Some((ticket, tokens, Holding { holder, token, since, deadline, note, want }))
}

/// What everybody may know of a stored lease.
pub(super) fn holding(stored: &[u8]) -> Option<Holding> {
    lease(stored).map(|(.., holding)| holding)
}

/// What everybody may know of a stored waiter.
pub(super) fn waiter_info(waiter: &[u8]) -> Option<WaiterInfo> {
    let mut waiter = Reader(waiter);
    waiter.micros_or_never()?;
    waiter.take(24)?;
    let (want, _tokens) = (waiter.want()?, waiter.tokens()?);
    let (holder, note) = (waiter.holder()?, waiter.note()?);
    Some(WaiterInfo { holder, note, want })
}

/// The answer that a request stands in line: the server's clock, its place, and who holds the key.
pub(super) fn queued(answer: &[u8]) -> Option<(Micros, u64, Holding)> {
    let mut answer = Reader(answer);
    let (b'Q', now) = (answer.byte()?, answer.micros()?) else { return None };
    let place = u32::from_be_bytes(answer.take(4)?.try_into().ok()?);
    Some((now, place.into(), holding(answer.0)?))
}

/// The answer that a lease has ended and its holder stands in line again: the token of that lease, and the answer to the
/// request.
pub(super) fn rotated(answer: &[u8]) -> Option<(FencingToken, (Micros, u64, Holding))> {
    let mut answer = Reader(answer);
    let (b'R', token) = (answer.byte()?, answer.token()?) else { return None };
    Some((token, queued(answer.0)?))
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
    /// In their order.
    Events(Vec<Event>),
}

/// Reads a message. `None` is one that this version does not know.
pub(super) fn message(payload: &[u8]) -> Option<Message> {
    let mut reader = Reader(payload);
    Some(match reader.byte()? {
        b'G' => {
            let (ticket, tokens, Holding { token, since, deadline, .. }) = lease(reader.0)?;
            let ttl = match deadline {
                Some(deadline) => Ttl::Micros(deadline.checked_sub(since)?),
                None => Ttl::Forever,
            };
            Message::Wake(vec![ticket], Wake::Granted(Grant { token, tokens, from: since, ttl }))
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
            let ticket = Ticket::from_u128(reader.id()?);
            reader.take(8)?;
            let token = reader.token()?;
            let loss = match reader.byte()? {
                0 => Loss::Released,
                1 => Loss::TakenOver { by: reader.holder()? },
                _ => return None,
            };
            reader.end()?;
            Message::Wake(vec![ticket], Wake::Lost(token, loss))
        }
        b'E' => Message::Events(vec![event(&mut reader)?]),
        b'B' => {
            let len = u32::from_be_bytes(reader.take(4)?.try_into().ok()?);
            let mut events = Vec::with_capacity(2);
            for told in [reader.take(len.try_into().ok()?)?, reader.0] {
                let mut told = Reader(told);
                told.byte().filter(|kind| *kind == b'E')?;
                events.push(event(&mut told)?);
            }
            Message::Events(events)
        }
        _ => return None,
    })
}

fn event(reader: &mut Reader<'_>) -> Option<Event> {
    let (kind, at) = (reader.byte()?, reader.micros()?);
    let key = KeyNames::user_key(reader.text()?.as_bytes())?;
    let kind = match kind {
        0 => EventKind::Locked,
        1 => EventKind::Released,
        2 => EventKind::Expired,
        3 => EventKind::TakenOver { from: reader.holder()? },
        4 => EventKind::Broken,
        5 => EventKind::Published,
        6 => EventKind::Failed,
        7 => EventKind::Forgotten,
        _ => return None,
    };
    let (token, _since, _want) = (reader.token()?, reader.micros()?, reader.want()?);
    let (_tokens, holder, _note) = (reader.tokens()?, reader.holder()?, reader.note()?);
    Some(Event::new(key, kind, holder, token, at))
}
