//! A node that could not be reached when the quorum was opened: it is tried again in the background, and counts as
//! down until then.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::name::{Key, Ticket};
use crate::protocol::{
    KeyInfo, Left, Outcome, Publication, Published, Released, Renewal, Renewed, Request, Who,
};
use crate::store::{EventStream, Notice, Reply, Rotated, Store};

/// How long between two tries to open it: at first, and, doubled each time, at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How a store is opened.
pub type Open = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Store>>> + Send + Sync>;

/// A store that is opened in the background. Until it is, each verb answers [`Error::Unavailable`]. Dropping it ends
/// the tries.
#[derive(Debug)]
pub struct LateStore {
    name: Arc<str>,
    found: Arc<Found>,
    aside: bool,
    longest: Option<Duration>,
}

#[derive(Debug)]
struct Found {
    /// The store, and what stands beside it.
    opened: OnceLock<[Arc<dyn Store>; 2]>,
    /// Why it is not open yet.
    why: Mutex<String>,
    notices: broadcast::Sender<Notice>,
    closed: OnceLock<()>,
    tasks: Mutex<JoinSet<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while one of these is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LateStore {
    /// Tries to open a store of this name again and again; `why` it was not opened before. `longest` is what its
    /// [`Store::longest_ttl`] will be.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(name: &str, why: &Error, longest: Option<Duration>, open: Open) -> Self {
        let found = Arc::new(Found {
            opened: OnceLock::new(),
            why: Mutex::new(why.to_string()),
            notices: broadcast::channel(1024).0,
            closed: OnceLock::new(),
            tasks: Mutex::default(),
        });
        let to = Arc::downgrade(&found);
        lock(&found.tasks).spawn(async move {
            let mut pause = PAUSES.0;
            loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
                let opened = open().await;
                let Some(found) = to.upgrade() else { return };
                match opened {
                    Ok(store) => return found.opened(store).await,
                    Err(error) => *lock(&found.why) = error.to_string(),
                }
            }
        });
        LateStore { name: name.into(), found, aside: false, longest }
    }

    fn store(&self) -> Result<&Arc<dyn Store>> {
        match self.found.opened.get() {
            Some(stores) => Ok(&stores[usize::from(self.aside)]),
            None if self.found.closed.get().is_some() => Err(Error::Closed),
            None => Err(Error::Unavailable {
                store: self.name.to_string(),
                why: format!("it could not be opened yet: {}", lock(&self.found.why)),
            }),
        }
    }
}

impl Found {
    async fn opened(self: Arc<Self>, store: Arc<dyn Store>) {
        if self.closed.get().is_some() {
            return store.close().await;
        }
        let mut from = store.notices();
        let aside = store.aside().unwrap_or_else(|| Arc::clone(&store));
        let _ = self.opened.set([store, aside]);
        let to = self.notices.clone();
        drop(self);
        // From now on it may have leases.
        let _ = to.send(Notice::AskAgain);
        loop {
            let notice = match from.recv().await {
                Ok(notice) => notice,
                Err(broadcast::error::RecvError::Lagged(_)) => Notice::AskAgain,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            let _ = to.send(notice);
        }
    }
}

#[async_trait]
impl Store for LateStore {
    fn name(&self) -> &str {
        &self.name
    }
    async fn acquire(&self, request: &Request) -> Result<Reply> {
        self.store()?.acquire(request).await
    }
    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        self.store()?.wait(request, standing).await
    }
    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        self.store()?.leave(key, ticket).await
    }
    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        self.store()?.renew(renewals).await
    }
    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        self.store()?.release(key, who).await
    }
    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        self.store()?.rotate(held, request).await
    }
    async fn publish(&self, publication: &Publication) -> Result<Published> {
        self.store()?.publish(publication).await
    }
    async fn forget(&self, key: &Key) -> Result<bool> {
        self.store()?.forget(key).await
    }
    async fn touch(&self, key: &Key) -> Result<()> {
        self.store()?.touch(key).await
    }
    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        self.store()?.result(key).await
    }
    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        self.store()?.inspect(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        self.store()?.list(prefix).await
    }
    async fn events(&self) -> Result<EventStream> {
        self.store()?.events().await
    }
    async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        self.store()?.examine(ttl).await
    }
    fn settles(&self) -> Duration {
        self.store().map_or(Duration::ZERO, |store| store.settles())
    }
    fn aside(&self) -> Option<Arc<dyn Store>> {
        let (name, found) = (Arc::clone(&self.name), Arc::clone(&self.found));
        Some(Arc::new(LateStore { name, found, aside: true, longest: self.longest }))
    }
    fn leases_end_with_sessions(&self) -> bool {
        self.store().is_ok_and(|store| store.leases_end_with_sessions())
    }
    fn group(&self, key: &Key) -> u16 {
        self.store().map_or(0, |store| store.group(key))
    }
    fn longest_ttl(&self) -> Option<Duration> {
        self.store().map_or(self.longest, |store| store.longest_ttl())
    }
    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.found.notices.subscribe()
    }
    async fn stop_waiting(&self) {
        if let Ok(store) = self.store() {
            store.stop_waiting().await;
        }
    }
    async fn close(&self) {
        let _ = self.found.closed.set(());
        match self.store() {
            Ok(store) => store.close().await,
            Err(_) => lock(&self.found.tasks).abort_all(),
        }
    }
}
