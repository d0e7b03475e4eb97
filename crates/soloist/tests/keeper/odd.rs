//! Stores that are odd in one way.
#![allow(dead_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use soloist::protocol::{
    Answer, Grant, KeyInfo, Left, Outcome, Publication, Published, Released, Renewal, Renewed, Request, Who,
};
use soloist::store::memory::MemoryStore;
use soloist::store::{Notice, Reply};
use soloist::{EventStream, FencingToken, Key, Moment, Result, Store, Ticket};
use tokio::sync::broadcast;

/// A store over one in memory.
#[derive(Debug)]
pub struct Odd {
    inner: MemoryStore,
    /// Grants everything, and remembers nothing.
    forgetful: bool,
    /// The token that it then names when a lease is renewed or released.
    pub names: AtomicU64,
    /// Whether renewals of keys that begin with `stuck` are never answered, nor others that come along with them.
    pub stuck: AtomicBool,
    /// Whether requests are sent only when they are looked at again.
    pub hesitates: AtomicBool,
    asked: Arc<Mutex<Option<Request>>>,
    left: AtomicUsize,
    carried_out: AtomicBool,
}

impl Odd {
    fn new(inner: MemoryStore, forgetful: bool) -> Self {
        let (asked, left, carried_out) = (Arc::default(), AtomicUsize::new(0), AtomicBool::new(false));
        let (stuck, hesitates) = (AtomicBool::new(false), AtomicBool::new(false));
        let names = AtomicU64::new(1);
        Odd { inner, forgetful, names, stuck, hesitates, asked, left, carried_out }
    }

    /// Never answers a request, and carries it out after the first time that it is left.
    pub fn late(inner: MemoryStore) -> Self {
        Odd::new(inner, false)
    }

    /// Grants everything, and remembers nothing: what a client needs is the client's own.
    pub fn forgetful() -> Self {
        Odd::new(MemoryStore::new(), true)
    }

    pub fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }

    pub fn is_asked(&self) -> bool {
        self.asked.lock().unwrap().is_some()
    }

    pub fn was_carried_out(&self) -> bool {
        self.carried_out.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Store for Odd {
    fn name(&self) -> &str {
        "odd"
    }
    async fn acquire(&self, request: &Request) -> Result<Reply> {
        if self.forgetful {
            let grant = Grant { token: FencingToken(1), tokens: 1, from: 1, ttl: request.ttl };
            return Ok(Reply::new(Answer::Granted(grant), Moment::now(), 1));
        }
        if self.hesitates.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        *self.asked.lock().unwrap() = Some(request.clone());
        std::future::pending().await
    }
    fn settles(&self) -> Duration {
        Duration::from_millis(if self.forgetful { 0 } else { 200 })
    }
    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        self.inner.wait(request, standing).await
    }
    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        let left = self.inner.leave(key, ticket).await;
        self.left.fetch_add(1, Ordering::SeqCst);
        let asked = self.asked.lock().unwrap().take();
        if let Some(request) = asked {
            self.inner.acquire(&request).await?;
            self.carried_out.store(true, Ordering::SeqCst);
        }
        left
    }
    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let is_stuck = |renewal: &Renewal| renewal.key.as_str().starts_with("stuck");
        if self.stuck.load(Ordering::SeqCst) && renewals.iter().any(is_stuck) {
            std::future::pending::<()>().await;
        }
        if self.forgetful {
            let token = FencingToken(self.names.load(Ordering::SeqCst));
            let renewed = Renewed::Renewed { token, deadline: None };
            return Ok(vec![renewed; renewals.len()]);
        }
        self.inner.renew(renewals).await
    }
    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        if self.forgetful {
            return Ok(Released::Released { token: FencingToken(self.names.load(Ordering::SeqCst)) });
        }
        self.inner.release(key, who).await
    }
    async fn publish(&self, publication: &Publication) -> Result<Published> {
        self.inner.publish(publication).await
    }
    async fn forget(&self, key: &Key) -> Result<bool> {
        self.inner.forget(key).await
    }
    async fn touch(&self, key: &Key) -> Result<()> {
        self.inner.touch(key).await
    }
    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        self.inner.result(key).await
    }
    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        self.inner.inspect(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        self.inner.list(prefix).await
    }
    async fn events(&self) -> Result<EventStream> {
        self.inner.events().await
    }
    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.inner.notices()
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}
