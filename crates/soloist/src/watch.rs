//! Events in time: an expiry is told soon after it happens, even when nobody touches the key.
//!
//! Stores end a lease when somebody asks for its key. A subscriber therefore asks for the keys that are held,
//! each when its lease would end; what it finds ended then is told like any other event.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::name::Key;
use crate::observe;
use crate::protocol::KeyInfo;
use crate::store::{EventStream, Store, Told};

/// When a lease whose deadline is not known yet, or that may end with its process, is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A deadline is looked at this much later: at the deadline itself the lease still stands.
const AFTER: Duration = Duration::from_millis(5);
/// How long a lease is not looked at: its ttl may have been made shorter since, which no event tells.
const LONGEST: Duration = Duration::from_secs(30);

struct Watch {
    store: Arc<dyn Store>,
    events: BoxStream<'static, Told>,
    due: BTreeSet<(Moment, Key)>,
    held: HashMap<Key, Moment>,
    /// When to look for keys that are held without anything having been heard of them.
    look_at_all: Option<Moment>,
}

/// The store's events, with each expiry told within a second.
pub(crate) async fn in_time(store: Arc<dyn Store>) -> Result<EventStream> {
    let events = store.events().await?;
    let mut watch = Watch { store, events, due: BTreeSet::new(), held: HashMap::new(), look_at_all: None };
    watch.look_at_all().await?;
    let next = |mut watch: Watch| async move { watch.next().await.map(|told| (told, watch)) };
    Ok(stream::unfold(watch, next).boxed())
}

impl Watch {
    async fn next(&mut self) -> Option<Told> {
        loop {
            let next = self.due.first().map(|(at, _)| *at).into_iter().chain(self.look_at_all).min();
            let pause = next.map_or(LOOK, |at| at.since(Moment::now()));
            tokio::select! {
                biased;
                told = self.events.next() => {
                    match &told {
                        Some(Told::Event(event)) => match event.kind {
                            EventKind::Locked | EventKind::TakenOver { .. } => self.look_later(&event.key, LOOK),
                            EventKind::Forgotten => {}
                            _ => self.free(&event.key),
                        },
                        Some(Told::Missed | Told::ClockStepped { .. }) => self.look_at_all = Some(Moment::now()),
                        None => {}
                    }
                    return told;
                }
                () = tokio::time::sleep(pause.min(LOOK)) => match self.look().await {
                    Ok(()) => {}
                    Err(Error::Closed) => return None,
                    Err(error) => observe::expiries_late(&error),
                },
            }
        }
    }

    /// Whatever was missed: the state itself tells who holds what.
    async fn look_at_all(&mut self) -> Result<()> {
        for info in self.store.list("").await? {
            self.plan(&info);
        }
        Ok(())
    }

    /// Ends what has ended of the keys that are due; the store then tells the event. What fails stays due.
    async fn look(&mut self) -> Result<()> {
        let now = Moment::now();
        if self.look_at_all.is_some_and(|at| at <= now) {
            self.look_at_all = Some(now.after(LOOK));
            self.look_at_all().await?;
            self.look_at_all = None;
        }
        while let Some((_, key)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.look_later(&key, LOOK);
            self.store.touch(&key).await?;
            let info = self.store.inspect(&key).await?;
            self.plan(&info);
        }
        Ok(())
    }

    fn plan(&mut self, info: &KeyInfo) {
        let Some(holding) = &info.holding else { return self.free(&info.key) };
        let left = holding.deadline.map(|end| Duration::from_micros(end.saturating_sub(info.now)) + AFTER);
        let longest = if self.store.leases_end_with_sessions() { LOOK } else { LONGEST };
        self.look_later(&info.key, left.map_or(longest, |left| left.min(longest)));
    }

    fn look_later(&mut self, key: &Key, pause: Duration) {
        self.free(key);
        let at = Moment::now().after(pause);
        self.held.insert(key.clone(), at);
        self.due.insert((at, key.clone()));
    }

    fn free(&mut self, key: &Key) {
        if let Some(at) = self.held.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }
}
