//! What the scripts answer. `None` is an answer that is not of this protocol.

use std::time::Duration;

use redis::Value;

use super::pack;
use crate::name::{FencingToken, Key};
use crate::protocol::{
    Answer, Grant, Holding, KeyInfo, Left, Micros, Outcome, Published, Queued, Released, Renewed, Ttl,
};

/// The parts of an answer that is a list, from the front.
struct Parts(std::vec::IntoIter<Value>);

impl Parts {
    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Array(list) => Some(Parts(list.into_iter())),
            _ => None,
        }
    }
    fn number(&mut self) -> Option<i64> {
        match self.0.next()? {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }
    fn count(&mut self) -> Option<u64> {
        self.number().and_then(|number| number.try_into().ok())
    }
    fn bytes(&mut self) -> Option<Vec<u8>> {
        match self.0.next()? {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        }
    }
    fn list(&mut self) -> Option<Self> {
        Self::of(self.0.next()?)
    }
    fn token(&mut self) -> Option<FencingToken> {
        self.count().map(FencingToken)
    }
    fn holding(&mut self) -> Option<Holding> {
        pack::holding(&self.bytes()?)
    }
    /// Who holds the key; empty bytes are nobody.
    fn holder(&mut self) -> Option<Option<Holding>> {
        holder(&self.bytes()?)
    }
    fn ttl(&mut self) -> Option<Ttl> {
        Some(match self.count()? {
            pack::NEVER => Ttl::Forever,
            us => Ttl::Micros(us),
        })
    }
}

/// Who holds the key; empty bytes are nobody.
fn holder(lease: &[u8]) -> Option<Option<Holding>> {
    if lease.is_empty() { Some(None) } else { pack::holding(lease).map(Some) }
}

/// How long the boot guard still grants nothing, if that is the answer.
pub(super) fn guarded(value: &Value) -> Option<Duration> {
    match value {
        Value::Array(parts) => match parts[..] {
            [Value::Int(6), Value::Int(_), Value::Int(left)] => {
                left.try_into().ok().map(Duration::from_micros)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The answer to a request for a lease of this ttl, and the server's clock.
pub(super) fn acquired(value: Value, ttl: Ttl) -> Option<(Answer, Micros)> {
    let mut parts = match value {
        // Granted on the short way.
        Value::Int(now) => {
            let now = now.try_into().ok()?;
            return Some((
                Answer::Granted(Grant { token: FencingToken(now), tokens: 1, from: now, ttl }),
                now,
            ));
        }
        Value::BulkString(bytes) => {
            let (now, place, holding) = pack::queued(&bytes)?;
            // Nobody's end is watched here: nothing ends with a session.
            return Some((Answer::Queued(Queued { place, holding, ahead: None }), now));
        }
        value => Parts::of(value)?,
    };
    let (code, now) = (parts.number()?, parts.count()?);
    let answer = match code {
        1 => {
            let (token, ttl) = (parts.token()?, parts.ttl()?);
            Answer::Granted(Grant { token, tokens: pack::tokens(parts.count()?)?, from: now, ttl })
        }
        3 => Answer::Busy(parts.holding()?),
        4 => Answer::Done(pack::outcome(parts.bytes()?)?),
        5 => Answer::Full { holding: parts.holding()?, waiting: parts.count()? },
        _ => return None,
    };
    Some((answer, now))
}

/// What came of a plain acquire: whether the key is taken and its token counts, or somebody has it. `None`: neither.
pub(super) fn plain(value: &Value) -> Option<bool> {
    let Value::Array(both) = value else { return None };
    match both[..] {
        [Value::Okay, Value::Int(1)] => Some(true),
        [Value::Nil, _] => Some(false),
        _ => None,
    }
}

pub(super) fn left(value: Value) -> Option<Left> {
    match value {
        Value::Int(1) => Some(Left::Line),
        Value::Int(2) => Some(Left::Lease),
        Value::Int(3) => Some(Left::Absent),
        _ => None,
    }
}

/// What came of renewals for these ttls, and the server's clock.
pub(super) fn renewed(value: Value, ttls: impl Iterator<Item = Ttl>) -> Option<(Vec<Renewed>, Micros)> {
    let mut all = Parts::of(value)?;
    let now = all.count()?;
    let one = |ttl: Ttl| {
        Some(match all.0.next()? {
            Value::BulkString(token) => {
                Renewed::Renewed { token: FencingToken(pack::seven(&token)?), deadline: deadline(ttl, now) }
            }
            lost => Renewed::NotHeld(Parts::of(lost)?.holder()?),
        })
    };
    let renewed = ttls.map(one).collect::<Option<_>>()?;
    Some((renewed, now))
}

/// When the server ends a lease that has got this ttl now.
fn deadline(ttl: Ttl, now: Micros) -> Option<Micros> {
    let end = now.saturating_add(pack::ttl_number(ttl));
    (end < pack::NEVER).then_some(end)
}

pub(super) fn released(value: Value) -> Option<Released> {
    Some(match value {
        Value::Int(token) => Released::Released { token: FencingToken(token.try_into().ok()?) },
        Value::BulkString(token) if token.len() == 7 => {
            Released::Released { token: FencingToken(pack::seven(&token)?) }
        }
        Value::BulkString(lease) => Released::NotHeld(holder(&lease)?),
        _ => return None,
    })
}

/// What came of a rotation, if all of it was done: the token of the lease that ended, the server's clock, and the place in
/// line.
pub(super) fn rotated(value: &Value) -> Option<(FencingToken, Micros, Queued)> {
    let Value::BulkString(bytes) = value else { return None };
    let (token, (now, place, holding)) = pack::rotated(bytes)?;
    Some((token, now, Queued { place, holding, ahead: None }))
}

pub(super) fn published(value: Value) -> Option<Published> {
    let mut parts = Parts::of(value)?;
    Some(match parts.number()? {
        1 => Published::Published,
        2 => Published::Stale,
        3 => Published::Refused(parts.holder()?),
        _ => return None,
    })
}

pub(super) fn result(value: Value) -> Option<Option<Outcome>> {
    match value {
        Value::BulkString(bytes) if bytes.is_empty() => Some(None),
        Value::BulkString(bytes) => pack::outcome(bytes).map(Some),
        _ => None,
    }
}

/// What there is to tell of each of these keys, and the server's clock.
pub(super) fn looks(value: Value, keys: &[Key]) -> Option<(Vec<KeyInfo>, Micros)> {
    let mut parts = Parts::of(value)?;
    let now = parts.count()?;
    let infos = keys.iter().map(|key| look(parts.list()?, key, now)).collect::<Option<_>>()?;
    Some((infos, now))
}

fn look(mut parts: Parts, key: &Key, now: Micros) -> Option<KeyInfo> {
    let holding = parts.holder()?;
    let (waiters, waiting) = match parts.0.next()? {
        Value::Int(count) => (Vec::new(), count.try_into().ok()?),
        list => {
            let mut list = Parts::of(list)?;
            let waiters: Vec<_> =
                (0..list.0.len()).map(|_| pack::waiter_info(&list.bytes()?)).collect::<Option<_>>()?;
            let waiting = waiters.len() as u64;
            (waiters, waiting)
        }
    };
    let (head, len) = (parts.bytes()?, parts.count()?);
    let result = if head.is_empty() { None } else { Some(pack::result_info(&head, len)?) };
    Some(KeyInfo {
        key: key.clone(),
        now,
        // What has ended but was not touched since is not told.
        holding: holding.filter(|held| held.deadline.is_none_or(|deadline| deadline > now)),
        waiters,
        waiting,
        result: result.filter(|info| info.until > now),
    })
}

/// The next cursor of a scan, and what it found.
pub(super) fn scanned(value: Value) -> Option<(u64, Vec<Vec<u8>>)> {
    let mut parts = Parts::of(value)?;
    let cursor = String::from_utf8(parts.bytes()?).ok()?.parse().ok()?;
    let mut names = parts.list()?;
    let names = (0..names.0.len()).map(|_| names.bytes()).collect::<Option<_>>()?;
    Some((cursor, names))
}
