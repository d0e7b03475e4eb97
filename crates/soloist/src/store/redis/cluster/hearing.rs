//! What this process hears from a cluster: wake-ups of its session, and events while anybody watches them.
//!
//! Each shard has its own channels, which are heard where the shard is (`SSUBSCRIBE`): a message costs no other node
//! anything. A shard is heard from its first request on, for as long as the session lives: 256 at most. When it moves
//! it is heard where it went, and then whoever waits in it looks again, for what was said meanwhile is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::map::{Map, SHARDS};
use super::routes::{Routes, What, Within};
use super::{Cluster, ear, lock};
use crate::error::{Error, Result};
use crate::name::{Key, Session};
use crate::store::Told;
use crate::store::hub::Hub;
use crate::store::redis::at::At;
use crate::store::redis::backoff::Backoff;
use crate::store::redis::command::Cmd;
use crate::store::redis::keys;
use crate::store::redis::scripts::Scripts;

/// Slots move one by one: holders and watchers are told once for those that move within so long.
const TOGETHER: Duration = Duration::from_millis(300);

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    /// Wake-ups for this session, of one shard.
    WakeUps(u8),
    /// The events of one shard.
    Events(u8),
}

impl Channel {
    pub(super) fn name(self, session: Session) -> Vec<u8> {
        match self {
            Channel::WakeUps(shard) => keys::shard_channel(shard, session),
            Channel::Events(shard) => keys::shard_events(shard),
        }
    }

    pub(super) fn shard(self) -> u8 {
        match self {
            Channel::WakeUps(shard) | Channel::Events(shard) => shard,
        }
    }
}

/// What is to be heard.
#[derive(Clone, Debug, Default)]
struct Wanted {
    shards: BTreeSet<u8>,
    events: bool,
}

/// What is heard, and where.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) by: BTreeMap<Channel, Arc<At>>,
    /// Why it never will be, as far as is known.
    pub(super) refused: Option<Error>,
}

impl Heard {
    /// Whether a channel is heard where its shard is.
    fn is_there(&self, map: &Map, channel: Channel) -> bool {
        let (here, there) = (self.by.get(&channel), map.owner(channel.shard()));
        here.is_some() && here == there
    }
}

/// What the tasks that hear know together.
pub(super) struct Shared {
    pub(super) cluster: Arc<Cluster>,
    routes: Arc<Routes>,
    scripts: Arc<Scripts>,
    pub(super) session: Session,
    pub(super) hub: Arc<Hub>,
    /// Weak: streams of events end when the session does.
    events: broadcast::WeakSender<Told>,
    pub(super) heard: watch::Sender<Heard>,
    wanted: watch::Sender<Wanted>,
    /// What was heard before, so that something may have been missed.
    before: Mutex<BTreeSet<Channel>>,
    /// The shard of a key.
    shard: fn(&Key) -> u8,
    missed: AtomicBool,
    news: Notify,
}

/// What is heard, kept up by tasks.
pub(in crate::store::redis) struct Hearing {
    shared: Arc<Shared>,
    /// `None` after the end.
    events: Mutex<Option<broadcast::Sender<Told>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Hearing {
    /// Nothing is heard yet.
    pub(in crate::store::redis) fn new(
        routes: &Arc<Routes>,
        session: Session,
        hub: Arc<Hub>,
        events: broadcast::Sender<Told>,
        (scripts, shard): (Arc<Scripts>, fn(&Key) -> u8),
    ) -> Self {
        let shared = Arc::new(Shared {
            cluster: Arc::clone(&routes.cluster),
            routes: Arc::clone(routes),
            scripts,
            session,
            hub,
            events: events.downgrade(),
            heard: watch::Sender::default(),
            wanted: watch::Sender::default(),
            before: Mutex::default(),
            shard,
            missed: AtomicBool::new(false),
            news: Notify::new(),
        });
        let map = tokio::spawn(keep_map(Arc::clone(routes)));
        let tasks = [tokio::spawn(direct(Arc::clone(&shared))), map];
        Hearing { shared, events: Mutex::new(Some(events)), tasks }
    }

    /// Waits, but not longer than this, until the wake-ups of a shard are heard where it is: who joins a line unheard
    /// is passed over.
    ///
    /// # Errors
    /// What no waiting helps against, as a missing right.
    pub(in crate::store::redis) async fn hears(&self, shard: u8, limit: Duration) -> Result<()> {
        self.shared.want(|wanted| wanted.shards.insert(shard));
        // Where it takes too long, the look after the reconnection recovers the place.
        let heard = timeout(limit, self.shared.until_heard(&[Channel::WakeUps(shard)])).await;
        heard.unwrap_or(Ok(()))
    }

    /// Whether the wake-ups of a shard are heard where it is.
    pub(in crate::store::redis) fn is_heard(&self, shard: u8) -> bool {
        let (heard, map) = (self.shared.heard.borrow(), self.shared.cluster.map.borrow());
        heard.is_there(&map, Channel::WakeUps(shard))
    }

    /// All events from now on.
    pub(in crate::store::redis) async fn events(&self, limit: Duration) -> Result<broadcast::Receiver<Told>> {
        // First, or it would look as if nobody wanted them.
        let events = lock(&self.events).as_ref().ok_or(Error::Closed)?.subscribe();
        self.shared.want(|wanted| !std::mem::replace(&mut wanted.events, true));
        let all: Vec<_> = (0..=u8::MAX).map(Channel::Events).collect();
        match timeout(limit, self.shared.until_heard(&all)).await {
            Ok(heard) => heard.map(|()| events),
            Err(_) => {
                let (store, heard) = (&self.shared.cluster.store, self.shared.heard.borrow().by.len());
                let why = format!("not all of its {SHARDS} shards are heard within {limit:?}, but {heard}");
                Err(Error::Unavailable { store: store.to_string(), why })
            }
        }
    }

    /// Hears no more, and returns when the servers know; where that takes too long they find out by themselves.
    pub(in crate::store::redis) async fn end(&self, limit: Duration) {
        self.shared.want(|wanted| {
            *wanted = Wanted::default();
            true
        });
        let mut heard = self.shared.heard.subscribe();
        let _ = timeout(limit, heard.wait_for(|heard| heard.by.is_empty())).await;
        self.shared.cluster.close();
        *lock(&self.events) = None;
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.shared.cluster.close();
        for task in &self.tasks {
            task.abort();
        }
        // Nobody hears any more: whoever waits is told.
        self.shared.hub.close();
    }
}

impl Shared {
    fn want(&self, change: impl FnOnce(&mut Wanted) -> bool) {
        self.wanted.send_if_modified(change);
    }

    /// Tells those who watch.
    pub(super) fn tell(&self, told: Told) {
        let sent = self.events.upgrade().map(|events| events.send(told));
        if !matches!(sent, Some(Ok(_))) {
            self.watched_no_more();
        }
    }

    /// Events are not wanted any more, if nobody watches.
    fn watched_no_more(&self) {
        // Whoever begins to watch subscribes before he wants it.
        let watched = || self.events.upgrade().is_some_and(|events| events.receiver_count() > 0);
        self.want(|wanted| !watched() && std::mem::take(&mut wanted.events));
    }

    /// Returns when all of these are heard where their shards are.
    async fn until_heard(&self, channels: &[Channel]) -> Result<()> {
        let (mut heard, mut maps) = (self.heard.subscribe(), self.cluster.map.subscribe());
        loop {
            {
                let (heard, map) = (heard.borrow_and_update(), maps.borrow_and_update());
                if channels.iter().all(|channel| heard.is_there(&map, *channel)) {
                    return Ok(());
                }
                if let Some(error) = &heard.refused {
                    return Err(error.clone());
                }
            }
            let changed = tokio::select! {
                biased;
                changed = heard.changed() => changed,
                changed = maps.changed() => changed,
            };
            if changed.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    /// Has the node that has a shard write down that those who wait hear there.
    pub(super) async fn mark(&self, shard: u8) -> Result<()> {
        let fence = keys::fence(shard);
        let build = |cmd: &mut Cmd, _| {
            cmd.arg(1).arg(&fence);
        };
        let within = Within { limit: self.cluster.options.response_timeout, in_time: false };
        self.routes.call(shard, What::Changes(&self.scripts.here, &build), within).await.map(drop)
    }

    /// A channel is heard from now on.
    pub(super) fn hears(&self, channel: Channel, at: &Arc<At>) {
        self.heard.send_modify(|heard| {
            heard.by.insert(channel, Arc::clone(at));
            heard.refused = None;
        });
        // Heard again, and only now: what was said meanwhile is lost, so everybody asks again.
        if !lock(&self.before).insert(channel) {
            self.look(channel);
        }
    }

    /// What was said on a channel is lost, or does not count: whoever it may have been for looks.
    pub(super) fn look(&self, channel: Channel) {
        match channel {
            Channel::WakeUps(shard) => self.hub.look_at(|key| (self.shard)(key) == shard),
            Channel::Events(_) => self.missed.store(true, Ordering::Release),
        }
        self.news.notify_one();
    }

    /// A channel is not heard any more, at this node.
    pub(super) fn is_deaf(&self, channel: Channel, at: &At) {
        self.heard.send_if_modified(|heard| {
            let here = heard.by.get(&channel).is_some_and(|there| **there == *at);
            here && heard.by.remove(&channel).is_some()
        });
    }

    /// Nothing is heard any more at this node.
    pub(super) fn is_all_deaf(&self, at: &At) {
        self.heard.send_if_modified(|heard| {
            let before = heard.by.len();
            heard.by.retain(|_, there| **there != *at);
            heard.by.len() < before
        });
    }

    /// Nothing can be heard, and no waiting helps.
    pub(super) fn refuse(&self, error: &Error) {
        self.heard.send_modify(|heard| heard.refused = Some(error.clone()));
    }
}

/// What is to be heard at each node.
fn plan(map: &Map, wanted: &Wanted) -> BTreeMap<Arc<At>, BTreeSet<Channel>> {
    let mut plan: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let events = if wanted.events { 0..SHARDS } else { 0..0 };
    let events = events.filter_map(|shard| u8::try_from(shard).ok()).map(Channel::Events);
    for channel in wanted.shards.iter().map(|shard| Channel::WakeUps(*shard)).chain(events) {
        if let Some(owner) = map.owner(channel.shard()) {
            plan.entry(Arc::clone(owner)).or_default().insert(channel);
        }
    }
    plan
}

/// A connection that hears at one node.
struct Ear {
    target: watch::Sender<BTreeSet<Channel>>,
    task: JoinHandle<()>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Has everything heard where it is, and tells holders and watchers when something was missed.
async fn direct(shared: Arc<Shared>) {
    let (mut maps, mut wanted) = (shared.cluster.map.subscribe(), shared.wanted.subscribe());
    let mut ears: BTreeMap<Arc<At>, Ear> = BTreeMap::new();
    let mut tell_at = None;
    loop {
        let map = Arc::clone(&maps.borrow_and_update());
        let mut plan = plan(&map, &wanted.borrow_and_update());
        ears.retain(|at, _| {
            let known = map.knows(at);
            if !known {
                shared.is_all_deaf(at);
            }
            known
        });
        for (at, ear) in &ears {
            let channels = plan.remove(at).unwrap_or_default();
            ear.target.send_if_modified(|target| std::mem::replace(target, channels.clone()) != channels);
        }
        for (at, channels) in plan {
            let (target, targets) = watch::channel(channels);
            let task = tokio::spawn(ear::hear(Arc::clone(&shared), Arc::clone(&at), targets));
            ears.insert(at, Ear { target, task });
        }
        tokio::select! {
            biased;
            changed = maps.changed() => if changed.is_err() { return },
            changed = wanted.changed() => if changed.is_err() { return },
            () = shared.news.notified() => tell_at = tell_at.or(Some(Instant::now() + TOGETHER)),
            () = sleep_until(tell_at.unwrap_or_else(Instant::now)), if tell_at.is_some() => {
                tell_at = None;
                shared.hub.ask_again();
                if shared.missed.swap(false, Ordering::AcqRel) {
                    shared.tell(Told::Missed);
                }
            }
        }
    }
}

/// Learns the map anew now and then, and whenever something is not as it says.
async fn keep_map(routes: Arc<Routes>) {
    let mut hints = routes.cluster.hints.subscribe();
    let mut backoff = Backoff::new();
    while !routes.cluster.is_closed() {
        if timeout(routes.cluster.options.health_check, hints.changed()).await.is_err() {
            backoff = Backoff::new();
        } else {
            backoff.pause().await;
        }
        hints.borrow_and_update();
        // An error is an outage: whoever uses the nodes finds that out by himself.
        let _ = routes.look(routes.looked()).await;
    }
}
