//! One Redis or Valkey server (>= 6.2), or whichever of several is the primary. The state of a key stands there,
//! the machine runs there in Lua (`lua/*.lua`), on that server's clock. Two connections a store, however many
//! keys and waiters: one carries the verbs, one hears. A third renews, from when there is something to renew.

mod address;
mod answer;
mod at;
mod audience;
mod backoff;
pub mod bridge;
pub(crate) mod cluster;
mod command;
mod connection;
pub(crate) mod examine;
mod fault;
mod greeting;

mod keys;
mod link;
mod listen;
mod many;
mod nodes;
mod open;
mod options;
mod pack;
#[cfg(feature = "testing")]
pub(crate) mod parse;
mod pipeline;
mod plain;
mod replicas;
mod reply;
mod rotate;
mod scripts;
mod seat;
pub(crate) mod sentinel;
mod server_clock;
mod subscriber;
mod trouble;
mod watched;
mod way;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;
use tokio::sync::broadcast;

use self::command::Cmd;
use self::keys::KeyNames;
use self::link::Answered;
use self::plain::Busy;
use self::replicas::{Replicas, Wanted};
use self::scripts::Scripts;
use self::server_clock::ServerClock;
use self::way::{Ears, Way};
use super::hub::{Hub, LastPlace};
use super::{EventStream, Notice, Reply, Results, Rotated, Store, waiting};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::name::{Key, Session, Ticket};
use crate::protocol::{
    Answer, Body, KeyInfo, Left, Mode, Outcome, OutcomeKind, Publication, Published, Released, Renewal,
    Renewed, Request, Want, Who,
};

pub use self::options::RedisOptions;

/// Results up to this size travel in the message itself; for larger ones waiters ask.
const LARGEST_MESSAGE: usize = 64 << 10;

/// A store on a Redis or Valkey server. Dropping it closes its connections.
///
/// It survives outages: it connects again without an end, and all waiters and leases then ask again. A verb is
/// asked again, with the same ticket, until [`RedisOptions::give_up`]; who stands in line waits on.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use soloist::Client;
/// use soloist::store::redis::{RedisOptions, RedisStore};
///
/// let options = RedisOptions::default().give_up(Duration::from_secs(30));
/// let store = RedisStore::connect_with("redis://127.0.0.1/2", options).await?;
/// let client = Client::builder().holder("worker-7").store(Arc::new(store))?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
pub struct RedisStore {
    name: Arc<str>,
    session: Session,
    hub: Arc<Hub>,
    way: Way,
    /// What [`Store::aside`] uses.
    aside: Way,
    ears: Ears,
    scripts: Arc<Scripts>,
    replicas: Arc<Replicas>,
    busy: Arc<Busy>,
    options: RedisOptions,
    /// Whether a test drives the clock; then all keys share one shard and its counter too.
    driven: bool,
}

impl fmt::Debug for RedisStore {
    // No secret appears in a message or log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("name", &self.name)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// How many tickets this store listens for: those that stand in line, and none that was dropped.
    #[cfg(feature = "testing")]
    pub fn listening(&self) -> usize {
        self.hub.listening()
    }

    /// The same session over the link aside.
    fn beside(&self) -> RedisStore {
        RedisStore {
            name: Arc::clone(&self.name),
            session: self.session,
            hub: Arc::clone(&self.hub),
            way: self.aside.clone(),
            aside: self.aside.clone(),
            ears: self.ears.clone(),
            scripts: Arc::clone(&self.scripts),
            replicas: Arc::clone(&self.replicas),
            busy: Arc::clone(&self.busy),
            options: self.options.clone(),
            driven: self.driven,
        }
    }

    fn shard(&self, key: &Key) -> u8 {
        if self.driven { 0 } else { keys::shard(key) }
    }

    fn names(&self, key: &Key) -> KeyNames {
        KeyNames::of(key, self.shard(key))
    }

    /// The answer's meaning, or an error that says that it has none.
    fn read<T>(&self, answer: Option<T>) -> Result<T> {
        self.way.meant(answer)
    }

    /// Gives a request up that may stand there in line.
    async fn leave_from(&self, key: &Key, ticket: Ticket, place: LastPlace) -> Result<Left> {
        let names = self.names(key);
        let build = |cmd: &mut Cmd, _| {
            three(cmd.arg(3), &names);
            cmd.arg(ticket.as_u128().to_be_bytes().as_slice()).arg(pack::place(place));
        };
        let answered = self.way.call(self.shard(key), &self.scripts.leave, &build).await?;
        self.read(answer::left(answered.value))
    }
}

/// The names that every verb needs.
fn three(cmd: &mut Cmd, names: &KeyNames) {
    cmd.arg(names.fence()).arg(names.lease()).arg(names.queue());
}

/// The names that verbs on results need.
fn four(cmd: &mut Cmd, names: &KeyNames) {
    three(cmd, names);
    cmd.arg(names.result());
}

#[async_trait]
impl Store for RedisStore {
    fn name(&self) -> &str {
        &self.name
    }

    async fn acquire(&self, request: &Request) -> Result<Reply> {
        if let Some(reply) = self.acquire_plainly(request).await {
            return Ok(reply);
        }
        let place = match request.mode {
            Mode::Line => self.hub.listen_on(request.ticket, &request.key).ok_or(Error::Closed)?,
            Mode::Try | Mode::Force => self.hub.place(request.ticket),
        };
        let shard = self.shard(&request.key);
        // Of a cluster, a shard is heard when the first request is for it: a holder is told of a loss, too.
        if request.mode == Mode::Line || self.way.is_cluster() {
            self.ears.hears(shard, self.options.give_up).await?;
        }
        let names = self.names(&request.key);
        let (whose, rest) = (pack::whose(request.ticket, self.session), pack::rest(request));
        let build = |cmd: &mut Cmd, again: bool| {
            let place = place.or(again.then_some(LastPlace::Somewhere));
            match request.want {
                Want::Lock => three(cmd.arg(3), &names),
                Want::Flight => four(cmd.arg(4), &names),
            }
            cmd.arg(&whose[..]).arg(&rest);
            match pack::short(request).filter(|_| place.is_none()) {
                Some(life) => cmd.arg(life),
                None => cmd.arg(""),
            };
            cmd.arg(&pack::wish(request, place)[..]);
        };
        let mut answered = self.way.call_in_time(shard, &self.scripts.acquire, &build).await?;
        if let Some(left) = answer::guarded(&answered.value) {
            return Err(Error::Guarded { store: self.name.to_string(), left });
        }
        let (answer, now) = self.read(answer::acquired(answered.take(), pack::granted(request.ttl)))?;
        self.way.read(&answered, now);
        self.busy.heard(&request.key, &answer);
        let sent = answered.sent;
        match &answer {
            Answer::Queued(queued) => self.hub.stands_at(request.ticket, queued.place),
            // A try that finds the key busy may be that of a request which stands in line, and goes on to.
            Answer::Busy(_) => {}
            _ => drop(self.hub.forget(request.ticket)),
        }
        Ok(Reply::new(answer, sent, now))
    }

    // As `async fn` it would keep the answer for as long as anybody waits.
    fn wait<'store, 'request, 'both>(
        &'store self,
        request: &'request Request,
        standing: Reply,
    ) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + 'both>>
    where
        'store: 'both,
        'request: 'both,
        Self: 'both,
    {
        Box::pin(waiting::wait(self, &self.hub, request, standing))
    }

    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        let place = self.hub.forget(ticket);
        self.leave_from(key, ticket, place.unwrap_or(LastPlace::Somewhere)).await
    }

    fn settles(&self) -> Duration {
        self.options.response_timeout.saturating_add(ServerClock::margin())
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        self.renew_all(renewals).await
    }

    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        let names = self.names(key);
        let build = |cmd: &mut Cmd, again: bool| {
            let (whose, which) = pack::meant(who, self.session, again);
            three(cmd.arg(3), &names);
            cmd.arg(&whose[..]).arg(&which[..]);
        };
        let verb = &self.scripts.release;
        let Answered { value, unsure, .. } = match who {
            // Late, it ends that lease all the same, and no other.
            Who::Ticket(_) => self.way.call(self.shard(key), verb, &build).await?,
            // It means whoever holds the key now, not who may hold it when it arrives.
            Who::Holder(_) | Who::Any => self.way.call_in_time(self.shard(key), verb, &build).await?,
        };
        match (self.read(answer::released(value))?, unsure) {
            // The first try may have released it, or it had ended before.
            (Released::NotHeld(_), Some(why)) => {
                Err(Error::Unknown { verb: "release", key: key.clone(), why })
            }
            (released, _) => Ok(released),
        }
    }

    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        self.rotate_at_once(held, request).await
    }

    async fn publish(&self, publication: &Publication) -> Result<Published> {
        let names = self.names(&publication.key);
        let Body::Inline(body) = &publication.body else {
            return self.read(None); // callers of a store never have another
        };
        let build = |cmd: &mut Cmd, _| {
            four(cmd.arg(4), &names);
            cmd.arg(publication.ticket.as_u128().to_be_bytes().as_slice());
            cmd.arg(u8::from(publication.kind == OutcomeKind::Error)).arg(pack::bounded(publication.keep));
            cmd.arg(&body[..]).arg(LARGEST_MESSAGE);
        };
        let Answered { value, unsure, .. } = self
            .way
            .call_sized(self.shard(&publication.key), &self.scripts.publish, body.len(), &build)
            .await?;
        match (self.read(answer::published(value))?, unsure) {
            // The first try may have been published, and the next leader's result have taken its place since.
            (Published::Refused(_), Some(why)) => {
                Err(Error::Unknown { verb: "publish", key: publication.key.clone(), why })
            }
            (published, _) => Ok(published),
        }
    }

    async fn forget(&self, key: &Key) -> Result<bool> {
        let names = self.names(key);
        let build = |cmd: &mut Cmd, _| four(cmd.arg(4), &names);
        let answered = self.way.call_in_time(self.shard(key), &self.scripts.forget, &build).await?;
        Ok(answered.value == Value::Int(1))
    }

    async fn touch(&self, key: &Key) -> Result<()> {
        let names = self.names(key);
        let build = |cmd: &mut Cmd, _| three(cmd.arg(3), &names);
        self.way.call(self.shard(key), &self.scripts.touch, &build).await.map(drop)
    }

    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        let names = self.names(key);
        let build = |cmd: &mut Cmd, _| four(cmd.arg(4), &names);
        let answered = self.way.look(self.shard(key), &self.scripts.result, &build).await?;
        self.read(answer::result(answered.value))
    }

    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        let info = self.look(std::slice::from_ref(key), true).await?.pop();
        self.read(info)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        self.list_all(prefix).await
    }

    async fn events(&self) -> Result<EventStream> {
        let events = self.ears.events(&self.name, self.options.give_up).await?;
        watched::watched(&self.way, &self.scripts, events).await
    }

    async fn results(&self) -> Result<Option<Box<dyn Results>>> {
        self.ears.results(&self.name, self.options.give_up).await
    }

    async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        self.way.examine(ttl).await
    }

    fn aside(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(self.beside()))
    }

    fn longest_ttl(&self) -> Option<Duration> {
        self.options.boot_guard
    }

    fn group(&self, key: &Key) -> u16 {
        if self.way.is_cluster() { u16::from(self.shard(key)) + 1 } else { 0 }
    }

    fn has_replicas(&self) -> bool {
        true
    }

    async fn replicated(&self, key: &Key, ticket: Ticket, wanted: u32) -> Result<u32> {
        let names = self.names(key);
        let wanted = Wanted { lease: names.lease(), ticket, replicas: wanted };
        let have = self.replicas.have(&self.way, self.shard(key), &wanted).await?;
        have.ok_or_else(|| Error::NotHeld { key: key.clone(), holder: None })
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.hub.notices()
    }

    async fn stop_waiting(&self) {
        // Who waits is told first, and then gives up its place, or the hand-over that crosses this: the server
        // would take it for the holder's until the hand-over's ttl. From the back, so that nobody moves before he is
        // looked for where he was seen.
        let mut standing = self.hub.close();
        standing.sort_by_key(|(.., place)| std::cmp::Reverse(pack::place(*place)));
        let left = standing
            .into_iter()
            .map(|(key, ticket, place)| async move { self.leave_from(&key, ticket, place).await });
        let left = futures_util::future::join_all(left);
        let _ = tokio::time::timeout(self.options.response_timeout, left).await;
    }

    async fn close(&self) {
        self.stop_waiting().await;
        self.way.close();
        self.aside.close();
        self.replicas.close();
        self.ears.end(self.options.response_timeout).await;
    }
}
