//! Results that are kept, kept in this process, too: read again, they cost no request.
//!
//! Invariant: what is served was the key's result at most [`STALE`] ago. Whoever asks the store registers first and
//! asks then, so that what happens meanwhile is not missed; and where the store cannot say that it would have told of
//! everything until just now, nothing is served.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::event::{Event, EventKind};
use crate::name::{FencingToken, Key};
use crate::protocol::Outcome;
use crate::store::{Results, Store, Told};

/// How long ago the store has to have been heard of completely: whatever becomes of it, of the connection or of this
/// process, no result is served that was forgotten or replaced earlier than that.
const STALE: Duration = Duration::from_secs(1);
/// How long a call waits for the subscription before it goes on without keeping its result here.
const SUBSCRIBED_IN_TIME: Duration = Duration::from_millis(500);
/// What an entry takes beside its name and its bytes, about.
const OVERHEAD: usize = 256;

/// The results that a process keeps of those that the store keeps.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Whether calls use it that say nothing of it.
    pub(crate) usual: bool,
    entries: usize,
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is heard of results; nothing is kept without it.
    results: Option<Box<dyn Results>>,
    /// Whether somebody subscribes.
    subscribing: bool,
    kept: HashMap<Key, Entry>,
    /// In which order they came, by their numbers: who was read since gets another round.
    order: VecDeque<(Key, u64)>,
    number: u64,
    bytes: usize,
    asked: HashMap<Key, Asked>,
}

#[derive(Debug)]
struct Entry {
    outcome: Arc<Outcome>,
    end: Moment,
    size: usize,
    number: u64,
    read: bool,
}

/// What has happened to a key while its result is asked for.
#[derive(Debug, Default)]
struct Asked {
    by: usize,
    /// Every result with a smaller token is replaced.
    published: Option<FencingToken>,
    /// Every result with this token or a smaller one is forgotten.
    forgotten: Option<FencingToken>,
    /// Something may have happened that nobody told of.
    missed: bool,
}

/// A question for a key's result, from before it is sent.
#[derive(Debug)]
pub(crate) struct Question {
    cache: Arc<Cache>,
    key: Key,
}

impl Cache {
    pub(crate) fn new(usual: bool, entries: usize, bytes: usize) -> Self {
        Cache { usual, entries, bytes, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and it is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of a key, if one is kept here and may be served to who asks at this moment.
    pub(crate) fn get(&self, key: &Key, now: Moment) -> Option<Arc<Outcome>> {
        let mut state = self.state();
        // Invariant: first up to when all is told, and then what.
        let complete = state.results.as_ref()?.complete();
        state.hear();
        complete.filter(|at| now.since(*at) <= STALE)?;
        let entry = state.kept.get_mut(key)?;
        if entry.end <= now {
            state.remove(key);
            return None;
        }
        entry.read = true;
        Some(Arc::clone(&entry.outcome))
    }

    /// A question that is about to be sent; `None` where the store tells nothing of results, or cannot now.
    pub(crate) async fn question(self: &Arc<Self>, store: &dyn Store, key: &Key) -> Option<Question> {
        self.subscribe(store).await?;
        let mut state = self.state();
        state.results.as_ref()?;
        state.asked.entry(key.clone()).or_default().by += 1;
        drop(state);
        Some(Question { cache: Arc::clone(self), key: key.clone() })
    }

    async fn subscribe(&self, store: &dyn Store) -> Option<()> {
        {
            let mut state = self.state();
            if state.results.is_some() {
                return Some(());
            }
            if std::mem::replace(&mut state.subscribing, true) {
                return None;
            }
        }
        let _subscribing = Subscribing(self);
        let results = tokio::time::timeout(SUBSCRIBED_IN_TIME, store.results()).await.ok()?.ok()??;
        self.state().results = Some(results);
        Some(())
    }

    /// This client has forgotten a key: whoever calls after that is not served with what was there before.
    pub(crate) fn forget(&self, key: &Key) {
        let mut state = self.state();
        state.remove(key);
        if let Some(asked) = state.asked.get_mut(key) {
            asked.missed = true;
        }
    }

    /// Nothing is served any more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        let results = state.results.take();
        state.clear();
        drop(state);
        drop(results);
    }
}

/// Somebody subscribes. Dropped, somebody else may.
struct Subscribing<'a>(&'a Cache);

impl Drop for Subscribing<'_> {
    fn drop(&mut self) {
        self.0.state().subscribing = false;
    }
}

impl State {
    /// Takes in what has been heard.
    fn hear(&mut self) {
        while let Some(told) = self.results.as_mut().and_then(|results| results.hear()) {
            match told {
                Told::Event(event) => self.told(&event),
                Told::Missed => self.clear(),
                Told::ClockStepped { .. } => {}
            }
        }
    }

    fn told(&mut self, event: &Event) {
        let forgotten = match event.kind {
            EventKind::Published | EventKind::Failed => false,
            EventKind::Forgotten => true,
            _ => return,
        };
        let (key, token) = (&event.key, event.token);
        // Tokens tell which came first: what was published here is told here, too.
        let over = |kept: FencingToken| kept < token || (forgotten && kept == token);
        if self.kept.get(key).is_some_and(|entry| over(entry.outcome.token)) {
            self.remove(key);
        }
        if let Some(asked) = self.asked.get_mut(key) {
            let newest = if forgotten { &mut asked.forgotten } else { &mut asked.published };
            *newest = (*newest).max(Some(token));
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.kept.remove(key) {
            self.bytes -= entry.size;
        }
    }

    /// Something was missed: nothing of before is certain.
    fn clear(&mut self) {
        self.kept.clear();
        self.order.clear();
        self.bytes = 0;
        self.asked.values_mut().for_each(|asked| asked.missed = true);
    }

    fn keep(&mut self, key: Key, outcome: Arc<Outcome>, end: Moment, size: usize) {
        self.remove(&key);
        self.number += 1;
        let number = self.number;
        self.order.push_back((key.clone(), number));
        self.bytes += size;
        self.kept.insert(key, Entry { outcome, end, size, number, read: false });
    }

    /// Makes room: the one that came first goes, unless it was read since; then it gets another round.
    fn bound(&mut self, entries: usize, bytes: usize) {
        while self.kept.len() > entries || self.bytes > bytes {
            let Some((key, number)) = self.order.pop_front() else { return };
            match self.kept.get_mut(&key) {
                Some(entry) if entry.number == number && entry.read => {
                    entry.read = false;
                    self.order.push_back((key, number));
                }
                Some(entry) if entry.number == number => self.remove(&key),
                _ => {} // it was replaced or removed
            }
        }
        if self.order.len() > 2 * self.kept.len() + 64 {
            let kept = &self.kept;
            self.order.retain(|(key, number)| kept.get(key).is_some_and(|entry| entry.number == *number));
        }
    }
}

impl Question {
    /// The answer, which is kept until `end` on the client's clock, at the earliest reading of it: unless something has
    /// become of it meanwhile.
    pub(crate) fn answered(&self, outcome: &Arc<Outcome>, end: Moment) {
        let size = usize::try_from(outcome.body.size()).unwrap_or(usize::MAX);
        let size = size.saturating_add(self.key.as_str().len() + outcome.leader.as_str().len() + OVERHEAD);
        let cache = &self.cache;
        if size > cache.bytes || cache.entries == 0 || end <= Moment::now() {
            return;
        }
        let mut state = cache.state();
        state.hear();
        let token = outcome.token;
        let is_newest =
            |asked: &Asked| !asked.missed && Some(token) >= asked.published && Some(token) > asked.forgotten;
        if state.results.is_none() || !state.asked.get(&self.key).is_some_and(is_newest) {
            return;
        }
        if state.kept.get(&self.key).is_none_or(|entry| entry.outcome.token <= token) {
            state.keep(self.key.clone(), Arc::clone(outcome), end, size);
            state.bound(cache.entries, cache.bytes);
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if let Some(asked) = state.asked.get_mut(&self.key) {
            asked.by -= 1;
            if asked.by == 0 {
                state.asked.remove(&self.key);
            }
        }
    }
}
