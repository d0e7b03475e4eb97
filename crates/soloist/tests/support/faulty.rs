//! A store that fails as planned, over one in memory.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use soloist::protocol::{
    KeyInfo, Left, Outcome, Publication, Published, Released, Renewal, Renewed, Request, Who,
};
use soloist::store::memory::MemoryStore;
use soloist::store::{Notice, Reply};
use soloist::{Client, Error, EventStream, Key, Result, Store, Ticket, Told};
use tokio::sync::{broadcast, watch};

use crate::fleet::soon;

/// What happens to one verb.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It never arrives.
    Lost,
    /// The store takes no writes now.
    Refused,
    /// It is carried out, and its answer is lost.
    AnswerLost,
    /// It is carried out, and its answer comes late.
    Late(Duration),
}

/// A store whose verbs fail as planned, in order; and which can be away altogether.
#[derive(Debug)]
pub struct Faulty {
    inner: MemoryStore,
    plan: Mutex<VecDeque<(&'static str, Fault)>>,
    /// By how much the next wake-up comes late.
    pub late_wake_up: Mutex<Option<Duration>>,
    /// Whether the next event is missed.
    miss_event: Arc<AtomicBool>,
    pub away: AtomicBool,
    pub asked: AtomicUsize,
    /// How many verbs have failed so far.
    pub failed: watch::Sender<usize>,
}

impl Faulty {
    pub fn new(inner: MemoryStore) -> Arc<Self> {
        let (plan, away, asked) = (Mutex::default(), AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Faulty {
            inner,
            plan,
            late_wake_up: Mutex::default(),
            miss_event: Arc::default(),
            away,
            asked,
            failed: watch::channel(0).0,
        })
    }

    pub fn miss_one_event(&self) {
        self.miss_event.store(true, Ordering::SeqCst);
    }

    pub fn plan(&self, verb: &'static str, fault: Fault) {
        self.plan.lock().unwrap().push_back((verb, fault));
    }

    fn unavailable<T>(&self) -> Result<T> {
        self.failed.send_modify(|failed| *failed += 1);
        Err(Error::Unavailable { store: "faulty".into(), why: "as planned".into() })
    }

    pub async fn failures(&self, count: usize) {
        soon(self.failed.subscribe().wait_for(|failed| *failed >= count)).await.unwrap();
    }

    async fn verb<T>(&self, verb: &'static str, done: impl Future<Output = Result<T>>) -> Result<T> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return self.unavailable();
        }
        let fault = {
            let mut plan = self.plan.lock().unwrap();
            let next = plan.front().filter(|(planned, _)| *planned == verb).map(|(_, fault)| *fault);
            if next.is_some() {
                plan.pop_front();
            }
            next
        };
        match fault {
            None => done.await,
            Some(Fault::Lost) => self.unavailable(),
            Some(Fault::Refused) => {
                Err(Error::Refused { store: "faulty".into(), why: "READONLY".into(), hint: "wait" })
            }
            Some(Fault::AnswerLost) => {
                done.await?;
                self.unavailable()
            }
            Some(Fault::Late(pause)) => {
                let answer = done.await;
                tokio::time::sleep(pause).await;
                answer
            }
        }
    }
}

#[async_trait]
impl Store for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }
    async fn acquire(&self, request: &Request) -> Result<Reply> {
        self.verb("acquire", self.inner.acquire(request)).await
    }
    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        let reply = self.inner.wait(request, standing).await;
        let late = self.late_wake_up.lock().unwrap().take();
        if let Some(pause) = late {
            tokio::time::sleep(pause).await;
        }
        reply
    }
    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        self.verb("leave", self.inner.leave(key, ticket)).await
    }
    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        self.verb("renew", self.inner.renew(renewals)).await
    }
    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        self.verb("release", self.inner.release(key, who)).await
    }
    async fn publish(&self, publication: &Publication) -> Result<Published> {
        self.verb("publish", self.inner.publish(publication)).await
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
        self.verb("list", self.inner.list(prefix)).await
    }
    async fn events(&self) -> Result<EventStream> {
        let missing = Arc::clone(&self.miss_event);
        let miss = move |told| if missing.swap(false, Ordering::SeqCst) { Told::Missed } else { told };
        Ok(self.inner.events().await?.map(miss).boxed())
    }
    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.inner.notices()
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

/// A client over a faulty store, the faults, and somebody else on the same state.
pub fn faulty() -> (Client, Arc<Faulty>, Client) {
    let root = MemoryStore::new();
    let other = Client::builder().store(Arc::new(root.peer())).unwrap();
    let store = Faulty::new(root);
    (Client::builder().holder("a").store(Arc::clone(&store) as Arc<dyn Store>).unwrap(), store, other)
}
