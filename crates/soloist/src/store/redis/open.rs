//! How a Redis store is opened.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::cluster::{Cluster, Hearing};
use super::command::Cmd;
use super::link::Link;
use super::listen::{EVENTS_KEPT, Listener};
use super::nodes::{Finder, Nodes};
use super::plain::Busy;
use super::replicas::Replicas;
use super::scripts::{ScriptClock, Scripts};
use super::sentinel::Sentinels;
use super::server_clock::ServerClock;
use super::way::{Ears, Way};
use super::{RedisOptions, RedisStore, address, examine, keys};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::name::{Key, Session};
use crate::protocol::Micros;
use crate::store::Told;
use crate::store::hub::Hub;
use crate::store::url::redact;

impl RedisStore {
    /// Connects to `redis://`, `rediss://` (TLS; `?ca=/path.pem` for a CA of your own, `&cert=`, `&key=` for
    /// a client certificate) or `redis+unix:///path?db=&user=&pass=`, in one try.
    ///
    /// Several hosts, as `redis://user:password@h1:6379,h2:6379,h3/0`, are one primary and its replicas: the
    /// store is at the first of them, in this order, that is a primary and takes writes, and asks them all again
    /// when that one fails or is deposed (looked at each [`RedisOptions::health_check`]). What the new primary
    /// did not get from the old one is lost, and told to its holder. Two that call themselves primary at the
    /// same time, as after a cut in the network, are both believed, each by the clients that are at it: have the
    /// old one refuse writes when it is cut off (`min-replicas-to-write 1`), and check the fencing token.
    ///
    /// `redis-sentinel://user:password@h1:26379,h2,h3/NAME/0` and `rediss-sentinel://` (TLS for all of them; `&sentinel_tls=off`
    /// for the servers only) name Sentinels, in place of servers, and what they call the primary. All are asked, the newest
    /// answer counts, and when one says that the primary has changed, that is left at once though it may still take
    /// writes. `?sentinel_user=` and `&sentinel_password=` are the Sentinels' own login.
    ///
    /// `redis-cluster://user:password@h1:7000,h2,h3` and `rediss-cluster://` name nodes of a cluster, any of them, and no
    /// database. Each key is at the primary that has its slot; all names of one lock share it, whatever the key contains.
    /// The store follows slots that move and replicas that are promoted. It has two connections to each primary that
    /// has something of it, opened when they are first needed. It needs Redis 6.2 or newer, or Valkey.
    ///
    /// `?boot_guard=30s` sets [`RedisOptions::boot_guard`].
    ///
    /// # Errors
    /// At once: [`Error::BadUrl`], [`Error::Unavailable`] when nobody answers, [`Error::Refused`] for a wrong
    /// password, missing rights, a server that is loading, too old, a replica, or no Redis. With several hosts the
    /// error names each of them and why it was passed over; a wrong password at one of them is told as such.
    ///
    /// # Cancel safety
    /// Safe: dropping the future leaves nothing behind.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// use std::sync::Arc;
    /// use soloist::Client;
    /// use soloist::store::redis::RedisStore;
    ///
    /// let store = RedisStore::connect("rediss://worker:secret@cache.example.org/0").await?;
    /// let client = Client::builder().store(Arc::new(store))?; // the same as Client::connect with this URL
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, RedisOptions::default()).await
    }

    /// Connects with other limits than the usual ones; see [`RedisStore::connect`].
    ///
    /// # Errors
    /// As [`RedisStore::connect`].
    ///
    /// # Cancel safety
    /// Safe: dropping the future leaves nothing behind.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// use std::time::Duration;
    /// use soloist::store::redis::{RedisOptions, RedisStore};
    ///
    /// let patient = RedisOptions::default().connect_timeout(Duration::from_secs(10));
    /// let store = RedisStore::connect_with("redis://127.0.0.1", patient).await?;
    /// # drop(store);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_with(url: &str, options: RedisOptions) -> Result<Self> {
        let guard = address::boot_guard(url)?.or(options.boot_guard);
        let options = RedisOptions { boot_guard: guard, ..options };
        if let Some(store) = Self::of_cluster(url, options.clone(), ScriptClock::Servers).await? {
            return Ok(store);
        }
        let finder = match Sentinels::of(url, redact(url).into(), options.clone())? {
            Some(sentinels) => Finder::Sentinels(Box::new(sentinels)),
            None => Finder::Hosts(address::clients(url)?),
        };
        Self::open(finder, redact(url), options, ScriptClock::Servers).await
    }

    /// Connects as a client of the caller's does: same server, same user, same certificates. The store has
    /// connections of its own, so nothing that the caller does on his can harm it. The client is that of the
    /// crate `redis` 1.x.
    ///
    /// # Errors
    /// As [`RedisStore::connect`].
    ///
    /// # Cancel safety
    /// Safe: dropping the future leaves nothing behind.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use soloist::Client;
    /// use soloist::store::redis::{RedisOptions, RedisStore};
    ///
    /// let yours = redis::Client::open("redis://127.0.0.1/2")?;
    /// let store = RedisStore::from_client(&yours, RedisOptions::default()).await?;
    /// let client = Client::builder().store(Arc::new(store))?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn from_client(client: &redis::Client, options: RedisOptions) -> Result<Self> {
        let name = address::name(client.get_connection_info());
        Self::open(Finder::Hosts(vec![address::adapted(client)?]), name, options, ScriptClock::Servers).await
    }

    /// For tests: a store whose clock stands still, at 0 until it is [set](RedisStore::set_clock).
    #[doc(hidden)]
    pub async fn connect_driven(url: &str, options: RedisOptions) -> Result<Self> {
        if let Some(store) = Self::of_cluster(url, options.clone(), ScriptClock::Driven).await? {
            return Ok(store);
        }
        Self::open(Finder::Hosts(address::clients(url)?), redact(url), options, ScriptClock::Driven).await
    }

    /// For tests: a store on a server whose clock is [set](RedisStore::shift_clock), by so many microseconds.
    #[doc(hidden)]
    pub async fn connect_shifted(url: &str, options: RedisOptions) -> Result<Self> {
        Self::open(Finder::Hosts(address::clients(url)?), redact(url), options, ScriptClock::Shifted).await
    }

    /// For tests: sets the clock of all driven stores on this server.
    #[doc(hidden)]
    pub async fn set_clock(&self, now: Micros) -> Result<()> {
        let mut set = Cmd::new("SET");
        set.arg(keys::CLOCK).arg(now);
        self.way.command(0, &set).await.map(drop)
    }

    /// For tests: sets the clock of the server as all shifted stores see it, by so many microseconds from its own.
    #[doc(hidden)]
    pub async fn shift_clock(&self, by: i64) -> Result<()> {
        let mut set = Cmd::new("SET");
        set.arg(keys::CLOCK).arg(by);
        self.way.command(0, &set).await.map(drop)
    }

    async fn open(finder: Finder, name: String, options: RedisOptions, by: ScriptClock) -> Result<Self> {
        let parts = Parts::new(name, options, by);
        let nodes = Nodes::new(Arc::clone(&parts.name), finder, parts.options.clone());
        let clock = ServerClock::new(Arc::clone(&parts.name), Arc::clone(&parts.hub), &parts.events, by);
        let link = Link::connect(Arc::new(nodes), Arc::new(clock), Arc::clone(&parts.hub)).await?;
        // The listener takes more round trips than that look, so nobody waits for it.
        let (listener, ()) = tokio::join!(
            Listener::connect(link.seat(), parts.session, Arc::clone(&parts.hub), parts.events.clone()),
            examine::at_connect(link.seat())
        );
        let scripts = parts.scripts(false);
        Ok(parts.store(scripts, Way::One(Arc::new(link)), Ears::One(Arc::new(listener?))))
    }

    /// A store on the cluster of a URL; `None` if it is not about one.
    async fn of_cluster(url: &str, options: RedisOptions, by: ScriptClock) -> Result<Option<Self>> {
        let parts = Parts::new(redact(url), options, by);
        let about = (Arc::clone(&parts.name), parts.options.clone());
        let Some(cluster) = Cluster::of(url, about, &parts.hub, (&parts.events, by))? else {
            return Ok(None);
        };
        let routes = Arc::new(cluster.connect().await.map_err(|failed| failed.error)?);
        routes.at_connect().await;
        let shard = if by == ScriptClock::Driven { |_: &Key| 0 } else { keys::shard };
        let (hub, events) = (Arc::clone(&parts.hub), parts.events.clone());
        let scripts = parts.scripts(true);
        let hearing = Hearing::new(&routes, parts.session, hub, events, (Arc::clone(&scripts), shard));
        Ok(Some(parts.store(scripts, Way::Cluster(routes), Ears::Cluster(Arc::new(hearing)))))
    }
}

/// What a store has, whatever its servers.
struct Parts {
    name: Arc<str>,
    options: RedisOptions,
    by: ScriptClock,
    session: Session,
    hub: Arc<Hub>,
    events: broadcast::Sender<Told>,
}

impl Parts {
    fn new(name: String, options: RedisOptions, by: ScriptClock) -> Self {
        let (session, hub, events) =
            (Session::mint(), Arc::new(Hub::new()), broadcast::Sender::new(EVENTS_KEPT));
        Parts { name: name.into(), options, by, session, hub, events }
    }

    fn scripts(&self, cluster: bool) -> Arc<Scripts> {
        let guard =
            self.options.boot_guard.map(|longest| u64::try_from(longest.as_micros()).unwrap_or(u64::MAX));
        Arc::new(Scripts::new(self.by, guard, cluster))
    }

    fn store(self, scripts: Arc<Scripts>, way: Way, ears: Ears) -> RedisStore {
        let Parts { name, options, by, session, hub, .. } = self;
        let (aside, replicas, busy) = (way.aside(), Arc::new(Replicas::new()), Arc::new(Busy::new()));
        let driven = by == ScriptClock::Driven;
        RedisStore { name, session, hub, way, aside, ears, scripts, replicas, busy, options, driven }
    }
}
