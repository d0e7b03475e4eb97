//! Waiting until replicas have a lease.
//!
//! `WAIT` counts who has everything that its own connection wrote, and that connection can do nothing else meanwhile. So
//! it has connections of its own, and not that of the verbs. The grant itself may have been written by any connection,
//! as by that of whoever handed the key over; so the lease is written once more, as it is, before the `WAIT`. A
//! replica gets what its primary writes in one order, and this write comes after the grant: whoever has it has the grant.
//!
//! Invariant: that write is done only if the lease is still there. After a failover the server is another, and all
//! of its replicas may have everything but this lease.
//!
//! Invariant: what is counted is a write that has gone to a replica. What a server writes before it ever had one has no
//! place in what is sent to them (its offset is 0), and every one that is connected counts, also one that is still
//! loading the data. So the first count of a connection only says that there are replicas, and the lease is written
//! and waited for again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{RedisResult, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::command::Cmd;
use super::connection::Connection;
use super::options::RedisOptions;
use super::scripts::Verb;
use super::trouble::{Kind, No, Trouble};
use super::way::{Spot, Way};
use crate::error::{Error, Result};
use crate::name::Ticket;

/// So many may wait at the same time; the others wait until these are done.
const CONNECTIONS: usize = 8;

const RIGHT: &str = "replicas(n) needs one right more: ACL SETUSER name +wait";

/// The connections that wait for replicas. There are none until somebody wants them.
#[derive(Debug)]
pub(super) struct Replicas {
    mark: Verb,
    room: Semaphore,
    /// Those that wait for nothing now, and which connection of the verbs they were made beside.
    idle: Mutex<Vec<(Spot, Waiter)>>,
}

/// A connection that waits for replicas.
#[derive(Clone, Debug)]
struct Waiter {
    connection: Connection,
    /// Whether its server had replicas before the last write, so that a count is one of who has that write.
    sure: bool,
}

/// Whose lease is to be at how many replicas.
pub(super) struct Wanted<'a> {
    /// The lease's name at the server.
    pub(super) lease: &'a str,
    pub(super) ticket: Ticket,
    pub(super) replicas: u32,
}

/// Why there is no answer.
enum Failed {
    /// Asking again may help.
    Away(String),
    Never(No),
}

impl Replicas {
    pub(super) fn new() -> Self {
        let mark = Verb::alone(include_str!("lua/mark.lua"));
        Replicas { mark, room: Semaphore::new(CONNECTIONS), idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Spot, Waiter)>> {
        // Nothing panics while it is held, and it is whole at every step.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connections that nobody uses.
    pub(super) fn close(&self) {
        self.room.close();
        self.idle().clear();
    }

    /// How many replicas have a lease, waiting for them for a while; `None` if there is no such lease. Cancel safe:
    /// a connection that owes an answer is not used again.
    pub(super) async fn have(&self, way: &Way, shard: u8, wanted: &Wanted<'_>) -> Result<Option<u32>> {
        let _room = self.room.acquire().await.map_err(|_| Error::Closed)?;
        let give_up = Instant::now() + way.options().give_up;
        let mut backoff = Backoff::new();
        loop {
            let why = match self.ask(way, shard, wanted, give_up).await? {
                Ok(have) => return Ok(have),
                Err(Failed::Never(no)) => return Err(way.refused(no.why, no.hint)),
                Err(Failed::Away(why)) => why,
            };
            if Instant::now() >= give_up {
                return Err(way.unavailable(why));
            }
            backoff.pause().await;
        }
    }

    async fn ask(
        &self,
        way: &Way,
        shard: u8,
        wanted: &Wanted<'_>,
        give_up: Instant,
    ) -> Result<Result<Option<u32>, Failed>> {
        let spot = match way.spot(shard, give_up).await? {
            Ok(spot) => spot,
            Err(why) => return Ok(Err(Failed::Away(why))),
        };
        let idle = {
            let mut idle = self.idle();
            // Others are at a node that may not be the primary any more.
            idle.retain(|(made, _)| !made.is_before(&spot));
            let there = idle.iter().position(|(made, _)| *made == spot);
            there.map(|place| idle.swap_remove(place))
        };
        let mut waiter = match idle {
            Some((_, waiter)) => waiter,
            None => match way.dial(&spot).await {
                Ok(connection) => Waiter { connection, sure: false },
                Err(failed) => return Ok(Err(Failed::Away(failed.why()))),
            },
        };
        let have = self.count(way.options(), wanted, &mut waiter).await;
        // An old primary has replicas, too, for a while.
        if way.has_left(&spot) {
            return Ok(Err(Failed::Away("another node is the primary now".into())));
        }
        if have.is_ok() {
            self.idle().push((spot, waiter));
        }
        Ok(have)
    }

    async fn count(
        &self,
        options: &RedisOptions,
        wanted: &Wanted<'_>,
        waiter: &mut Waiter,
    ) -> Result<Option<u32>, Failed> {
        let end = Instant::now() + options.replicas_timeout;
        loop {
            let counted = self.count_once(options, wanted, &waiter.connection, end).await?;
            if waiter.sure || counted.is_none_or(|count| count == 0) {
                return Ok(counted);
            }
            waiter.sure = true;
        }
    }

    async fn count_once(
        &self,
        options: &RedisOptions,
        wanted: &Wanted<'_>,
        connection: &Connection,
        end: Instant,
    ) -> Result<Option<u32>, Failed> {
        let silent = |limit| Failed::Away(format!("no answer within {limit:?}"));
        let limit = options.response_timeout;
        let marked = timeout(limit, self.mark(wanted, connection, limit)).await;
        if marked.map_err(|_| silent(limit))?.map_err(|error| failed(&error))? != Value::Int(1) {
            return Ok(None);
        }
        let wait = end.saturating_duration_since(Instant::now());
        let mut cmd = Cmd::new("WAIT");
        // It takes whole milliseconds, and 0 is for ever.
        cmd.arg(wanted.replicas).arg(wait.as_millis().max(1).to_string());
        let counted = connection.ask(cmd, limit + wait).await.map_err(|error| failed(&error))?;
        match counted {
            Value::Int(count) => Ok(Some(u32::try_from(count).unwrap_or(0))),
            _ => Err(Failed::Away("its answer to WAIT makes no sense".into())),
        }
    }

    async fn mark(
        &self,
        wanted: &Wanted<'_>,
        connection: &Connection,
        limit: Duration,
    ) -> RedisResult<Value> {
        let build = |mut cmd: Cmd| {
            cmd.arg(1).arg(wanted.lease).arg(wanted.ticket.as_u128().to_be_bytes().as_slice());
            cmd
        };
        match connection.ask(build(self.mark.by_hash()), limit).await {
            Err(error) if Trouble::is_no_script(&error) => {
                connection.ask(build(self.mark.by_source()), limit).await
            }
            answer => answer,
        }
    }
}

fn failed(error: &redis::RedisError) -> Failed {
    match Trouble::of(error) {
        Trouble::No(no) if no.why.starts_with("NOPERM") => Failed::Never(No { hint: RIGHT, ..no }),
        // The slot is at another node of the cluster now, or will be soon.
        Trouble::No(no) if ["MOVED", "ASK"].iter().any(|word| no.why.starts_with(word)) => {
            Failed::Away(no.why)
        }
        Trouble::No(no) if no.kind == Kind::Never => Failed::Never(no),
        Trouble::No(No { why, .. }) | Trouble::Lost(why) => Failed::Away(why),
        _ => Failed::Away(error.to_string()),
    }
}
