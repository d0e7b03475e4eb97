//! A store that records which requests stand in line.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::history::{Op, Recorder, What};
use crate::error::Result;
use crate::name::{Key, Ticket};
use crate::protocol::{
    Answer, KeyInfo, Left, Outcome, Publication, Published, Released, Renewal, Renewed, Request, Who,
};
use crate::store::{EventStream, Notice, Reply, Results, Rotated, Store};

tokio::task_local! {
    static ASKS: Op;
}

/// Carries all verbs on, and records when the store says that a request stands in line: callers do not hear that.
/// Which of the recorded requests it is, it knows by [`RecordingStore::of`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use soloist::{Client, store::memory::MemoryStore, testing::{Recorder, RecordingStore, What}};
///
/// let recorder = Recorder::new(1);
/// let store = RecordingStore::new(Arc::new(MemoryStore::new()), recorder.clone(), 1);
/// let client = Client::builder().store(Arc::new(store))?;
/// let held = client.lock("k").await?;
/// let op = recorder.op();
/// let wait = Duration::from_millis(10);
/// let _ = RecordingStore::of(op, async { client.lock("k").wait(wait).await }).await;
/// assert_eq!(recorder.history().records[0].what, What::InLine { op });
/// # drop(held);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RecordingStore {
    inner: Arc<dyn Store>,
    recorder: Recorder,
    client: u32,
}

impl RecordingStore {
    /// Records for this client what is asked of `inner`.
    pub fn new(inner: Arc<dyn Store>, recorder: Recorder, client: u32) -> Self {
        RecordingStore { inner, recorder, client }
    }

    /// Says that what `asking` asks the store for is this request. See [`RecordingStore`] for an example:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(soloist::testing::RecordingStore::of(1, async { 7 }).await, 7);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// As safe as `asking` is.
    pub async fn of<T>(op: Op, asking: impl Future<Output = T>) -> T {
        ASKS.scope(op, asking).await
    }

    /// Takes in the answer to a request.
    fn asked(&self, reply: &Reply) {
        if let (Answer::Queued(_), Ok(op)) = (&reply.answer, ASKS.try_with(|op| *op)) {
            self.recorder.record(self.client, What::InLine { op });
        }
    }
}

#[async_trait]
impl Store for RecordingStore {
    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn acquire(&self, request: &Request) -> Result<Reply> {
        let reply = self.inner.acquire(request).await?;
        self.asked(&reply);
        Ok(reply)
    }
    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        self.inner.wait(request, standing).await
    }
    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        self.inner.leave(key, ticket).await
    }
    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        self.inner.renew(renewals).await
    }
    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        self.inner.release(key, who).await
    }
    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        let rotated = self.inner.rotate(held, request).await?;
        if let Rotated::Asked(_, Ok(reply)) = &rotated {
            self.asked(reply);
        }
        Ok(rotated)
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
    async fn results(&self) -> Result<Option<Box<dyn Results>>> {
        self.inner.results().await
    }
    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.inner.notices()
    }
    async fn examine(&self, ttl: std::time::Duration) -> Result<Vec<crate::finding::Finding>> {
        self.inner.examine(ttl).await
    }
    fn group(&self, key: &Key) -> u16 {
        self.inner.group(key)
    }

    fn longest_ttl(&self) -> Option<std::time::Duration> {
        self.inner.longest_ttl()
    }

    fn settles(&self) -> std::time::Duration {
        self.inner.settles()
    }
    // Nobody asks for a key over it, so nothing of it stands in line.
    fn aside(&self) -> Option<Arc<dyn Store>> {
        self.inner.aside()
    }
    fn has_replicas(&self) -> bool {
        self.inner.has_replicas()
    }
    async fn replicated(&self, key: &Key, ticket: Ticket, wanted: u32) -> Result<u32> {
        self.inner.replicated(key, ticket, wanted).await
    }
    fn leases_end_with_sessions(&self) -> bool {
        self.inner.leases_end_with_sessions()
    }
    fn liveness(&self) -> Result<Option<std::os::fd::OwnedFd>> {
        self.inner.liveness()
    }
    async fn stop_waiting(&self) {
        self.inner.stop_waiting().await;
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}
