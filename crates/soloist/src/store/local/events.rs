//! Events: each subscriber has a FIFO, and every transaction writes what happened into all of them, under the
//! shard's lock, so that the order of a key's events is the order in which they happened.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;

use super::fifo::{self, Heard, Reader, Sent};
use super::folder::{Dir, Folder};
use crate::clock::Moment;
use crate::error::Result;
use crate::event::Event;
use crate::name::Session;
use crate::store::{EventStream, Results, Told};

/// File times have the grain of a timer tick: a folder that was changed so recently may be changed again
/// without showing it.
const GRAIN: Duration = Duration::from_millis(100);

/// An event on its way, numbered within its shard.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Numbered {
    pub(super) shard: u16,
    pub(super) number: u64,
    pub(super) event: Event,
}

/// What a subscriber knows of the numbers, to see what it missed.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// The number of the last event of each shard.
    last: HashMap<u16, u64>,
    /// The event behind a gap.
    next: Option<Event>,
}

impl Gaps {
    /// What is told of an event: first that others were missed, if they were.
    pub(super) fn told(&mut self, Numbered { shard, number, event }: Numbered) -> Told {
        let before = self.last.insert(shard, number);
        // A shard whose file was removed counts anew.
        if before.is_some_and(|before| number.saturating_sub(1) > before) {
            self.next = Some(event);
            return Told::Missed;
        }
        Told::Event(event)
    }

    /// The event before which others were missed.
    pub(super) fn behind_a_gap(&mut self) -> Option<Event> {
        self.next.take()
    }
}

/// Those who listen, as this session knows them.
#[derive(Debug, Default)]
pub(super) struct Subscribers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// When the folder was last changed, if that was long enough ago to be relied on.
    changed: Option<(i64, i64)>,
    open: HashMap<String, OwnedFd>,
}

impl Subscribers {
    /// Tells everybody who listens. `told` is how many events the shard had told before these.
    pub(super) fn tell(&self, folder: &Folder, shard: u16, told: u64, events: Vec<Event>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.refresh(&folder.events);
        if known.open.is_empty() {
            return;
        }
        for (number, event) in (told + 1..).zip(events) {
            let record = Numbered { shard, number, event };
            known.open.retain(|name, fd| {
                // A full FIFO leaves a gap in the numbers, and so the subscriber hears of it.
                let gone = fifo::send(fd, &record) == Sent::Gone;
                if gone {
                    folder.events.remove(name);
                }
                !gone
            });
        }
    }
}

impl Known {
    fn refresh(&mut self, dir: &Dir) {
        let Ok(stat) = rustix::fs::fstat(&dir.fd) else { return };
        #[allow(clippy::unnecessary_cast)] // narrower on some systems
        let changed = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        if self.changed == Some(changed) {
            return;
        }
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let nanos = |(secs, nanos): (i64, i64)| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        let age = nanos((now.tv_sec as i64, now.tv_nsec as i64)) - nanos(changed);
        self.changed = (age > GRAIN.as_nanos() as i128).then_some(changed);
        let names = dir.names();
        self.open.retain(|name, _| names.contains(name));
        for name in names {
            // A name that begins with a dot is not finished yet.
            if name.starts_with('.') || self.open.contains_key(&name) {
                continue;
            }
            match fifo::open(dir, &name) {
                Ok(Some(fd)) => drop(self.open.insert(name, fd)),
                Ok(None) => dir.remove(&name),
                Err(error) => tracing::warn!(name, %error, "cannot tell this subscriber"),
            }
        }
    }
}

/// What a subscription holds; dropping it ends it.
struct Subscription {
    folder: Arc<Folder>,
    name: String,
    fifo: pipe::Receiver,
    reader: Reader<Numbered>,
    gaps: Gaps,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.folder.events.remove(&self.name);
    }
}

impl Subscription {
    async fn told(&mut self) -> Option<Told> {
        if let Some(event) = self.gaps.behind_a_gap() {
            return Some(Told::Event(event));
        }
        Some(match self.reader.next(&self.fifo).await.ok()? {
            Heard::Lossy => Told::Missed,
            Heard::Record(numbered) => self.gaps.told(numbered),
        })
    }
}

/// What has been written by now: whoever changed something has written it before he was answered.
struct LocalResults {
    subscription: Subscription,
    failed: bool,
}

impl fmt::Debug for LocalResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalResults").field("name", &self.subscription.name).finish_non_exhaustive()
    }
}

impl Results for LocalResults {
    fn complete(&self) -> Option<Moment> {
        (!self.failed).then(Moment::now)
    }

    fn hear(&mut self) -> Option<Told> {
        let Subscription { fifo, reader, gaps, .. } = &mut self.subscription;
        if let Some(event) = gaps.behind_a_gap() {
            return Some(Told::Event(event));
        }
        match reader.next_now(fifo) {
            Ok(heard) => heard.map(|heard| match heard {
                Heard::Lossy => Told::Missed,
                Heard::Record(numbered) => gaps.told(numbered),
            }),
            Err(_) if self.failed => None,
            Err(_) => {
                self.failed = true;
                Some(Told::Missed)
            }
        }
    }
}

/// Begins to hear of results.
pub(super) fn results(folder: &Arc<Folder>) -> Result<Box<dyn Results>> {
    Ok(Box::new(LocalResults { subscription: begin(folder)?, failed: false }))
}

/// Begins to listen.
pub(super) fn subscribe(folder: &Arc<Folder>) -> Result<EventStream> {
    let subscription = begin(folder)?;
    let told = |mut subscription: Subscription| async {
        let told = subscription.told().await?;
        Some((told, subscription))
    };
    Ok(Box::pin(stream::unfold(subscription, told)))
}

fn begin(folder: &Arc<Folder>) -> Result<Subscription> {
    let name = Session::mint().to_string();
    let fifo = fifo::create(&folder.events, &name)?;
    fifo::widen(&fifo);
    let reader = Reader::new(&fifo);
    let folder = Arc::clone(folder);
    Ok(Subscription { folder, name, fifo, reader, gaps: Gaps::default() })
}
