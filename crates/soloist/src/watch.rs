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
use crate::event::EventKind;
use crate::name::Key;
use crate::observe;
use crate::protocol::KeyInfo;
use crate::store::{EventStream, Store, Told};

/// When a lease whose deadline is not known yet, or that may end with its process, is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A deadline is looked at this much later: at the deadline itself the lease still stands.
const AFTER: Duration = Duration::from_millis(5);

struct Watch {
    store: Arc<dyn Store>,
    events: BoxStream<'static, Told>,
    due: BTreeSet<(Moment, Key)>,
    held: HashMap<Key, Moment>,
}

/// The store's events, with each expiry told within a second.
pub(crate) async fn in_time(store: Arc<dyn Store>) -> crate::Result<EventStream> {
    let events = store.events().await?;
    let mut watch = Watch { store, events, due: BTreeSet::new(), held: HashMap::new() };
    watch.look_at_all().await?;
    let next = |mut watch: Watch| async move { watch.next().await.map(|told| (told, watch)) };
    Ok(stream::unfold(watch, next).boxed())
}

impl Watch {
    async fn next(&mut self) -> Option<Told> {
        loop {
            let pause = self.due.first().map_or(Duration::from_secs(3600), |(at, _)| at.since(Moment::now()));
            tokio::select! {
                biased;
                told = self.events.next() => {
                    match &told {
                        Some(Told::Event(event)) => match event.kind {
                            EventKind::Locked | EventKind::TakenOver { .. } => self.look_later(&event.key, LOOK),
                            EventKind::Forgotten => {}
                            _ => self.free(&event.key),
                        },
                        // Whatever was missed: the state itself tells who holds what.
                        Some(Told::Missed) => {
                            if let Err(error) = self.look_at_all().await {
                                observe::expiries_late(&error);
                            }
                        }
                        None => {}
                    }
                    return told;
                }
                () = tokio::time::sleep(pause.min(LOOK)) => self.look().await,
            }
        }
    }

    async fn look_at_all(&mut self) -> crate::Result<()> {
        for info in self.store.list("").await? {
            self.plan(&info);
        }
        Ok(())
    }

    /// Ends what has ended of the keys that are due; the store then tells the event.
    async fn look(&mut self) {
        let now = Moment::now();
        while let Some((at, key)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.due.remove(&(at, key.clone()));
            let looked = match self.store.touch(&key).await {
                Ok(()) => self.store.inspect(&key).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(info) => self.plan(&info),
                Err(error) => {
                    observe::expiries_late(&error);
                    self.look_later(&key, LOOK);
                }
            }
        }
    }

    fn plan(&mut self, info: &KeyInfo) {
        let Some(holding) = &info.holding else { return self.free(&info.key) };
        let left = holding.deadline.map(|end| Duration::from_micros(end.saturating_sub(info.now)) + AFTER);
        match left {
            _ if self.store.leases_end_with_sessions() => self.look_later(&info.key, LOOK),
            Some(left) => self.look_later(&info.key, left),
            None => self.free(&info.key),
        }
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
