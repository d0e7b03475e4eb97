//! Events: each subscriber has a FIFO, and every transaction writes what happened into all of them, under the
//! shard's lock, so that the order of a key's events is the order in which they happened.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

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
pub(super) struct Subscribers(Mutex<HashMap<String, OwnedFd>>);

impl Subscribers {
    /// Tells everybody who listens; `anew` looks first who that is. `told` is how many events the shard had told
    /// before these.
    pub(super) fn tell(&self, folder: &Folder, anew: bool, shard: u16, told: u64, events: Vec<Event>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if anew {
            look(&mut open, &folder.events);
        }
        if open.is_empty() {
            return;
        }
        for (number, event) in (told + 1..).zip(events) {
            let record = Numbered { shard, number, event };
            open.retain(|name, fd| {
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

/// Looks who listens.
fn look(open: &mut HashMap<String, OwnedFd>, dir: &Dir) {
    let names = dir.names();
    open.retain(|name, _| names.contains(name));
    for name in names {
        // A name that begins with a dot is not finished yet.
        if name.starts_with('.') || open.contains_key(&name) {
            continue;
        }
        match fifo::open(dir, &name) {
            Ok(Some(fd)) => drop(open.insert(name, fd)),
            Ok(None) => dir.remove(&name),
            Err(error) => tracing::warn!(name, %error, "cannot tell this subscriber"),
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
        Some(match self.reader.next(&mut self.fifo).await.ok()? {
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

/// Begins to hear of results. Others tell it once they [know](super::transaction::Core::begin_to_listen) of it.
pub(super) fn results(folder: &Arc<Folder>) -> Result<Box<dyn Results>> {
    Ok(Box::new(LocalResults { subscription: begin(folder)?, failed: false }))
}

/// Begins to listen. Others tell it once they [know](super::transaction::Core::begin_to_listen) of it.
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
