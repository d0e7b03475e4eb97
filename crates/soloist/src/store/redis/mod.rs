//! One Redis or Valkey server (>= 6.2), or whichever of several is the primary. The state of a key stands there,
//! the machine runs there in Lua (`lua/*.lua`), on that server's clock. Two connections a store, however many
//! keys and waiters: one carries the verbs, one hears. A third renews, from when there is something to renew.

mod address;
mod answer;
mod backoff;
pub mod bridge;
mod command;
mod connection;
pub(crate) mod examine;
mod greeting;
mod keys;
mod link;
mod listen;
mod nodes;
mod open;
mod options;
mod pack;
#[cfg(feature = "testing")]
pub(crate) mod parse;
mod pipeline;
mod replicas;
mod reply;
mod scripts;
mod seat;
pub(crate) mod sentinel;
mod server_clock;
mod trouble;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use redis::Value;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use self::command::Cmd;
use self::keys::KeyNames;
use self::link::{Answered, Link};
use self::listen::Listener;
use self::replicas::{Replicas, Wanted};
use self::scripts::Scripts;
use self::server_clock::ServerClock;
use super::hub::{Hub, LastPlace};
use super::{EventStream, Notice, Reply, Results, Store, Told, waiting};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::name::{Key, Session, Ticket};
use crate::protocol::{
    Answer, Body, KeyInfo, Left, Mode, Outcome, OutcomeKind, Publication, Published, Released, Renewal,
    Renewed, Request, Who,
};

pub use self::options::RedisOptions;

/// Results up to this size travel in the message itself; for larger ones waiters ask.
const LARGEST_MESSAGE: usize = 64 << 10;
/// The place of a request that never stood in line.
const NEVER: i64 = 0;
/// The place of a request that may stand anywhere in line.
const SOMEWHERE: i64 = -1;
/// So many leases are renewed in one step of the server, about a millisecond.
const RENEWALS_A_CALL: usize = 200;
/// So many keys are looked at in one step of the server.
const LOOKS_A_CALL: usize = 200;

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
    link: Arc<Link>,
    /// What [`Store::aside`] uses.
    aside: Arc<Link>,
    listener: Arc<Listener>,
    scripts: Arc<Scripts>,
    replicas: Arc<Replicas>,
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
            link: Arc::clone(&self.aside),
            aside: Arc::clone(&self.aside),
            listener: Arc::clone(&self.listener),
            scripts: Arc::clone(&self.scripts),
            replicas: Arc::clone(&self.replicas),
            options: self.options.clone(),
            driven: self.driven,
        }
    }

    fn names(&self, key: &Key) -> KeyNames {
        KeyNames::of(key, if self.driven { 0 } else { keys::shard(key) })
    }

    /// The answer's meaning, or an error that says that it has none.
    fn read<T>(&self, answer: Option<T>) -> Result<T> {
        answer.ok_or_else(|| {
            let why = "its answer makes no sense to this version".into();
            self.link.refused(why, "does another version, or another program, use keys named soloist:1:…?")
        })
    }

    /// Gives a request up that may stand there in line.
    async fn leave_from(&self, key: &Key, ticket: Ticket, place: LastPlace) -> Result<Left> {
        let names = self.names(key);
        let build = |cmd: &mut Cmd, _| {
            three(cmd.arg(3), &names);
            cmd.arg(ticket.as_u128().to_be_bytes().as_slice()).arg(pack::place(place));
        };
        let answered = self.link.call(&self.scripts.leave, &build).await?;
        self.read(answer::left(answered.value))
    }

    /// Looks at keys, changing nothing.
    async fn look(&self, wanted: &[Key], waiters: bool) -> Result<Vec<KeyInfo>> {
        let names: Vec<KeyNames> = wanted.iter().map(|key| self.names(key)).collect();
        let build = |cmd: &mut Cmd, _| {
            cmd.arg(4 * names.len());
            for names in &names {
                four(cmd, names);
            }
            cmd.arg(u8::from(waiters));
        };
        let answered = self.link.call(&self.scripts.look, &build).await?;
        let (infos, now) = self.read(answer::looks(answered.value, wanted))?;
        self.link.clock().read(answered.sent, now);
        Ok(infos)
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
        let place = self.hub.place(request.ticket).map_or(NEVER, pack::place);
        if request.mode == Mode::Line {
            self.hub.listen(request.ticket, &request.key).ok_or(Error::Closed)?;
            self.listener.hears(self.options.give_up).await;
        }
        let names = self.names(&request.key);
        let waiter = pack::waiter(request, self.session);
        let mode = match request.mode {
            Mode::Try => "T",
            Mode::Line => "L",
            Mode::Force => "F",
        };
        let seen = request.seen.and_then(|token| i64::try_from(token.0).ok()).unwrap_or(-1);
        let most = request.max_waiting.map_or(-1, pack::count);
        let build = |cmd: &mut Cmd, again: bool| {
            let place = if place == NEVER && again { SOMEWHERE } else { place };
            four(cmd.arg(4), &names);
            cmd.arg(&waiter).arg(mode).arg(seen).arg(place).arg(most);
        };
        let Answered { value, sent, .. } = self.link.call_in_time(&self.scripts.acquire, &build).await?;
        if let Some(left) = answer::guarded(&value) {
            return Err(Error::Guarded { store: self.name.to_string(), left });
        }
        let (answer, now) = self.read(answer::acquired(value))?;
        self.link.clock().read(sent, now);
        match &answer {
            Answer::Queued(queued) => self.hub.stands_at(request.ticket, queued.place),
            // A try that finds the key busy may be that of a request which stands in line, and goes on to.
            Answer::Busy(_) => {}
            _ => drop(self.hub.forget(request.ticket)),
        }
        Ok(Reply::new(answer, sent, now))
    }

    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        waiting::wait(self, &self.hub, request, standing).await
    }

    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        let place = self.hub.forget(ticket);
        self.leave_from(key, ticket, place.unwrap_or(LastPlace::Somewhere)).await
    }

    fn settles(&self) -> Duration {
        self.options.response_timeout.saturating_add(ServerClock::margin())
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let mut all = Vec::with_capacity(renewals.len());
        for some in renewals.chunks(RENEWALS_A_CALL) {
            let names: Vec<KeyNames> = some.iter().map(|renewal| self.names(&renewal.key)).collect();
            let build = |cmd: &mut Cmd, _| {
                cmd.arg(3 * names.len());
                for names in &names {
                    three(cmd, names);
                }
                for renewal in some {
                    cmd.arg(pack::who(&renewal.who)).arg(pack::ttl_number(renewal.ttl));
                    cmd.arg(u8::from(renewal.detach));
                }
            };
            let answered = self.link.call_in_time(&self.scripts.renew, &build).await?;
            let (renewed, now) = self.read(answer::renewed(answered.value, some.len()))?;
            self.link.clock().read(answered.sent, now);
            all.extend(renewed);
        }
        Ok(all)
    }

    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        let names = self.names(key);
        let build = |cmd: &mut Cmd, again: bool| {
            three(cmd.arg(3), &names);
            cmd.arg(pack::who(who)).arg(self.session.as_u128().to_be_bytes().as_slice()).arg(u8::from(again));
        };
        let verb = &self.scripts.release;
        let Answered { value, unsure, .. } = match who {
            // Late, it ends that lease all the same, and no other.
            Who::Ticket(_) => self.link.call(verb, &build).await?,
            // It means whoever holds the key now, not who may hold it when it arrives.
            Who::Holder(_) | Who::Any => self.link.call_in_time(verb, &build).await?,
        };
        match (self.read(answer::released(value))?, unsure) {
            // The first try may have released it, or it had ended before.
            (Released::NotHeld(_), Some(why)) => {
                Err(Error::Unknown { verb: "release", key: key.clone(), why })
            }
            (released, _) => Ok(released),
        }
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
        let Answered { value, unsure, .. } =
            self.link.call_sized(&self.scripts.publish, body.len(), &build).await?;
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
        let answered =
            self.link.call_in_time(&self.scripts.forget, &|cmd, _| four(cmd.arg(4), &names)).await?;
        Ok(answered.value == Value::Int(1))
    }

    async fn touch(&self, key: &Key) -> Result<()> {
        let names = self.names(key);
        self.link.call(&self.scripts.touch, &|cmd, _| three(cmd.arg(3), &names)).await.map(drop)
    }

    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        let names = self.names(key);
        let answered = self.link.call(&self.scripts.result, &|cmd, _| four(cmd.arg(4), &names)).await?;
        self.read(answer::result(answered.value))
    }

    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        let info = self.look(std::slice::from_ref(key), true).await?.pop();
        self.read(info)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        let (mut found, mut cursor) = (BTreeSet::new(), 0);
        loop {
            let mut scan = Cmd::new("SCAN");
            scan.arg(cursor).arg("MATCH").arg(keys::pattern(prefix)).arg("COUNT").arg(1000);
            let (next, names) = self.read(answer::scanned(self.link.command(&scan).await?))?;
            let keys = names.iter().filter_map(|name| KeyNames::user_key(name));
            found.extend(keys.filter(|key| key.as_str().starts_with(prefix)));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let found: Vec<Key> = found.into_iter().collect();
        let mut infos = Vec::with_capacity(found.len());
        for some in found.chunks(LOOKS_A_CALL) {
            infos.extend(self.look(some, false).await?);
        }
        infos.retain(|info| info.holding.is_some() || info.waiting > 0 || info.result.is_some());
        Ok(infos)
    }

    async fn events(&self) -> Result<EventStream> {
        let events = self.listener.events(&self.name, self.options.give_up).await?;
        Ok(stream::unfold(events, |mut events| async {
            match events.recv().await {
                Ok(told) => Some((told, events)),
                Err(RecvError::Lagged(_)) => Some((Told::Missed, events)),
                Err(RecvError::Closed) => None,
            }
        })
        .boxed())
    }

    async fn results(&self) -> Result<Option<Box<dyn Results>>> {
        self.listener.results(&self.name, self.options.give_up).await.map(Some)
    }

    async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        match self.link.seat().is_closed() {
            true => Err(Error::Closed),
            false => examine::examine(self.link.seat().nodes(), ttl).await,
        }
    }

    fn aside(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(self.beside()))
    }

    fn longest_ttl(&self) -> Option<Duration> {
        self.options.boot_guard
    }

    fn has_replicas(&self) -> bool {
        true
    }

    async fn replicated(&self, key: &Key, ticket: Ticket, wanted: u32) -> Result<u32> {
        let names = self.names(key);
        let wanted = Wanted { lease: names.lease(), ticket, replicas: wanted };
        let have = self.replicas.have(self.link.seat(), &wanted).await?;
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
        self.link.close();
        self.aside.close();
        self.replicas.close();
        self.listener.end(self.options.response_timeout).await;
    }
}
