//! The old system's key on the server: taken, kept and given back, each in one step.

use bytes::Bytes;
use redis::Value;

use super::Old;
use crate::error::Result;
use crate::name::{FencingToken, Key};
use crate::protocol::{Body, Grant, Micros, Mode, OutcomeKind, Publication, Request, Ttl};
use crate::store::redis::command::Cmd;
use crate::store::redis::keys;
use crate::store::redis::link::Link;
use crate::store::redis::scripts::Verb;

/// What stands at the old system's key.
pub(super) enum There {
    /// Our mark.
    Ours,
    /// One of theirs.
    Theirs(String),
    /// The result of a flight of theirs.
    Result { json: Bytes, keep: Micros },
}

/// The scripts, and whose keys they are for.
#[derive(Debug)]
pub(super) struct Marker {
    pub(super) old: Old,
    take: Verb,
    keep: Verb,
    drop: Verb,
    forget: Verb,
}

impl Marker {
    pub(super) fn new(old: Old) -> Self {
        Marker {
            old,
            take: Verb::alone(include_str!("take.lua")),
            keep: Verb::alone(include_str!("keep.lua")),
            drop: Verb::alone(include_str!("drop.lua")),
            forget: Verb::alone(include_str!("forget.lua")),
        }
    }

    fn names(&self, key: &Key, cmd: &mut Cmd) {
        let note = format!("soloist:1:{{{:02x}}}:b:{key}", keys::shard(key));
        cmd.arg(self.old.key(key.as_str())).arg(note);
    }

    fn set(&self) -> &'static str {
        if self.old.set().is_empty() { "-" } else { self.old.set() }
    }

    /// Takes the key, if it is free or ours.
    pub(super) async fn take(&self, link: &Link, request: &Request, grant: &Grant) -> Result<There> {
        let mark = self.old.mark(request.holder.as_str(), grant.token.0);
        let build = |cmd: &mut Cmd, _| {
            self.names(&request.key, cmd.arg(3));
            cmd.arg(self.set()).arg(u8::from(self.old.counts_seconds())).arg(&mark);
            // A hand-over's ttl is short until it is confirmed; so is the mark's.
            cmd.arg(millis(grant.ttl)).arg(grant.token.0).arg(request.ticket.to_string());
            cmd.arg(u8::from(request.mode == Mode::Force)).arg(request.key.as_str());
        };
        let there = match link.call(&self.take, &build).await?.value {
            Value::BulkString(bytes) => bytes,
            _ => Vec::new(),
        };
        Ok(match &self.old {
            _ if there.is_empty() => There::Ours,
            Old::ProcessLocker { .. } if there != b"WAIT" => {
                let keep = self.left(link, &request.key).await?;
                There::Result { json: there.into(), keep }
            }
            _ => There::Theirs(String::from_utf8_lossy(&there).into_owned()),
        })
    }

    /// How long their result is still kept.
    async fn left(&self, link: &Link, key: &Key) -> Result<Micros> {
        let mut cmd = Cmd::new("PTTL");
        cmd.arg(self.old.key(key.as_str()));
        Ok(match link.command(&cmd).await? {
            Value::Int(ms) => u64::try_from(ms).unwrap_or(0).saturating_mul(1000),
            _ => 0,
        })
    }

    /// Renews our mark, if there is one; `false` when an old process has written over it.
    pub(super) async fn keep(&self, link: &Link, key: &Key, ttl: Ttl, token: FencingToken) -> Result<bool> {
        let build = |cmd: &mut Cmd, _| {
            self.names(key, cmd.arg(2));
            cmd.arg(u8::from(self.old.counts_seconds())).arg(millis(ttl)).arg(token.0);
        };
        Ok(link.call(&self.keep, &build).await?.value != Value::Int(0))
    }

    /// Gives the key back, if the lease of this token or ticket has marked it; with the flight's result, if
    /// there is one for them.
    pub(super) async fn give_back(
        &self,
        link: &Link,
        key: &Key,
        whose: String,
        told: Option<&Publication>,
    ) -> Result<()> {
        let mut left = (Bytes::new(), 0, String::new(), Vec::new());
        if let (Old::ProcessLocker { prefix, channel }, Some(publication)) = (&self.old, told)
            && let (OutcomeKind::Value, Body::Inline(json)) = (publication.kind, &publication.body)
        {
            let name = serde_json::Value::from(key.as_str()).to_string();
            let message = [b"{\"key\":", name.as_bytes(), b",\"value\":", json, b"}"].concat();
            left = (json.clone(), publication.keep / 1000, format!("{prefix}:{channel}"), message);
        }
        let (result, keep, channel, message) = &left;
        let build = |cmd: &mut Cmd, _| {
            self.names(key, cmd.arg(3));
            cmd.arg(self.set()).arg(&whose).arg(key.as_str());
            cmd.arg(&result[..]).arg(*keep).arg(channel).arg(&message[..]);
        };
        link.call(&self.drop, &build).await.map(drop)
    }

    /// Drops their result, not their locks.
    pub(super) async fn forget(&self, link: &Link, key: &Key) -> Result<()> {
        let Old::ProcessLocker { .. } = self.old else { return Ok(()) };
        let build = |cmd: &mut Cmd, _| {
            cmd.arg(1).arg(self.old.key(key.as_str()));
        };
        link.call(&self.forget, &build).await.map(drop)
    }
}

fn millis(ttl: Ttl) -> i64 {
    match ttl {
        Ttl::Micros(us) => i64::try_from(us.div_ceil(1000)).unwrap_or(i64::MAX),
        Ttl::Forever => -1,
    }
}
