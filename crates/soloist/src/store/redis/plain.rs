//! The plain way to a key that nobody holds, waits for or watches: two commands in one write, and no script.
//!
//! `SET lease … NX PXAT deadline` takes the key, and `ZADD fence XX GT CH token t` has the shard's counter take the token that
//! the client proposes, which is the time on the server's clock. Both have to succeed; whatever else they answer, the
//! script is asked with the same ticket, and makes of what stands there by then what it would have made of the key.
//!
//! * *Tokens grow*: `GT` takes only what is larger than all that the shard has given. A counter that was lost is not
//!   there (`XX`). Whether the token of a plain lease counted is known to who got both answers only; so a script
//!   that finds such a lease as the asker's own gives it another one (flag 8).
//! * *Nobody barges*: where somebody waits there is a lease, since whoever joins the line makes the lease outlive its deadline
//!   by a minute, as all leases of scripts do. From then on its release looks at the line, too (flag 4).
//! * *Nothing goes untold*: whoever begins to watch has the counters renamed, so that no plain acquire counts.
//! * *No redirection is followed*: a node of a cluster that has the shard no more, or from which it moves, refuses.
//! * *Late, it harms nobody*: such a lease ends at the latest when a request that is sent now is settled
//!   ([`Store::settles`]), counted from before sending on the server's clock, however late it is carried out. Its first
//!   renewal lifts that to its own ttl, as for a lease that was handed over.

use std::sync::atomic::{AtomicU8, Ordering};

use super::command::Cmd;
use super::keys::{self, KeyNames};
use super::server_clock::ServerClock;
use super::way::Way;
use super::{RedisStore, answer, pack};
use crate::clock::Moment;
use crate::name::{FencingToken, Key};
use crate::protocol::{Answer, Grant, Micros, Mode, Request, Ttl, Want};
use crate::store::{Reply, Store};

/// How often in a row a key has to be found free before that is expected of it again.
const COOLS: u8 = 8;
/// So many keys are told apart.
const KEYS: usize = 1024;

/// Which keys were busy lately: those are asked for by script at once, which knows what to do then.
pub(super) struct Busy([AtomicU8; KEYS]);

impl Busy {
    pub(super) fn new() -> Self {
        Busy([const { AtomicU8::new(0) }; KEYS])
    }

    fn of(&self, key: &Key) -> &AtomicU8 {
        &self.0[keys::hash(key) as usize % KEYS]
    }

    /// Takes in what the script said of a key. What others write at the same time may be lost: it is a guess.
    pub(super) fn heard(&self, key: &Key, answer: &Answer) {
        let was = self.of(key);
        let is = match answer {
            Answer::Granted(_) => was.load(Ordering::Relaxed).saturating_sub(1),
            _ => COOLS,
        };
        was.store(is, Ordering::Relaxed);
    }
}

impl RedisStore {
    /// Asks for a key that is probably free. `None`: the script has to be asked, whatever came of this.
    pub(super) async fn acquire_plainly(&self, request: &Request) -> Option<Reply> {
        let (ttl, shard) = (self.plain_ttl(request)?, self.shard(&request.key));
        // Invariant: the clock is that of the server which is asked.
        let (both, grant, sent, answers);
        match &self.way {
            Way::One(link) => {
                (both, grant, sent) = self.plain_wish(link.clock(), request, (ttl, shard))?;
                answers = link.ask_two(both).await?;
            }
            Way::Cluster(routes) => {
                // Invariant: whoever holds hears of a loss. The first request for a shard waits for that, by script.
                let node = routes.open(shard).filter(|_| self.ears.is_heard(shard))?;
                (both, grant, sent) = self.plain_wish(node.clock(), request, (ttl, shard))?;
                answers = Box::pin(routes.ask_two(node, both)).await?;
            }
        }
        match answer::plain(&answers) {
            Some(true) => {
                let now = grant.from;
                Some(Reply::new(Answer::Granted(grant), sent, now))
            }
            Some(false) => {
                self.busy.of(&request.key).store(COOLS, Ordering::Relaxed);
                None
            }
            None => None,
        }
    }

    /// The ttl of a request that may be asked plainly.
    fn plain_ttl(&self, request: &Request) -> Option<Micros> {
        // What has no end keeps none from the start, should its holder end before it is renewed.
        let Ttl::Micros(ttl) = pack::granted(request.ttl) else { return None };
        let simple = request.want == Want::Lock && request.mode != Mode::Force && request.tokens <= 1;
        let busy = || self.busy.of(&request.key).load(Ordering::Relaxed) > 0;
        if !simple || !self.options.plain || self.options.boot_guard.is_some() || busy() {
            return None;
        }
        if self.hub.place(request.ticket).is_some() {
            return None; // it stands in line already
        }
        Some(ttl)
    }

    /// A plain acquire: the two commands, what is granted if both succeed, and when it is sent.
    fn plain_wish(
        &self,
        clock: &ServerClock,
        request: &Request,
        (ttl, shard): (Micros, u8),
    ) -> Option<([Cmd; 2], Grant, Moment)> {
        let sent = Moment::now();
        let (token, at_most) = clock.lately(sent)?;
        let settled = u64::try_from(self.settles().as_micros()).unwrap_or(Micros::MAX);
        let life = ttl.min(settled);
        // Invariant: the server ends it no earlier than its holder believes, who counts from before sending.
        let deadline = at_most + life;
        let names = KeyNames::of(&request.key, shard);
        let mut take = Cmd::new("SET");
        take.arg(names.lease()).arg(pack::plain_lease(request, self.session, token, (at_most, deadline)));
        // A slot that moves takes along what is left of a life in whole milliseconds, so up to one less.
        let spare = u64::from(self.way.is_cluster());
        take.arg("NX").arg("PXAT").arg(deadline.div_ceil(1000) + spare);
        let mut count = Cmd::new("ZADD");
        count.arg(names.fence()).arg("XX").arg("GT").arg("CH").arg(token).arg("t");
        // What the server's clock showed then at the most is when the lease begins.
        let grant = Grant { token: FencingToken(token), tokens: 1, from: at_most, ttl: Ttl::Micros(life) };
        Some(([take, count], grant, sent))
    }
}
