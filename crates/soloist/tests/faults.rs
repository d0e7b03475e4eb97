//! The client over a store that fails: answers that are lost, that come late, a store that is away.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "client/fleet.rs"]
#[allow(dead_code)]
mod fleet;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fleet::{soon, until};
use soloist::protocol::{
    KeyInfo, Left, Outcome, Publication, Published, Released, Renewal, Renewed, Request, Who,
};
use soloist::store::memory::MemoryStore;
use soloist::store::{Notice, Reply};
use soloist::{Client, Error, EventStream, Flight, Key, Loss, Result, Store, Ticket};
use tokio::sync::{broadcast, watch};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// What happens to one verb.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It never arrives.
    Lost,
    /// It is carried out, and its answer is lost.
    AnswerLost,
    /// It is carried out, and its answer comes late.
    Late(Duration),
}

/// A store whose verbs fail as planned, in order; and which can be away altogether.
#[derive(Debug)]
struct Faulty {
    inner: MemoryStore,
    plan: Mutex<VecDeque<(&'static str, Fault)>>,
    away: AtomicBool,
    asked: AtomicUsize,
    /// How many verbs have failed so far.
    failed: watch::Sender<usize>,
}

impl Faulty {
    fn new(inner: MemoryStore) -> Arc<Self> {
        let (plan, away, asked) = (Mutex::default(), AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Faulty { inner, plan, away, asked, failed: watch::channel(0).0 })
    }

    fn plan(&self, verb: &'static str, fault: Fault) {
        self.plan.lock().unwrap().push_back((verb, fault));
    }

    fn unavailable<T>(&self) -> Result<T> {
        self.failed.send_modify(|failed| *failed += 1);
        Err(Error::Unavailable { store: "faulty".into(), why: "as planned".into() })
    }

    async fn failures(&self, count: usize) {
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
        self.inner.wait(request, standing).await
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

/// A client over a faulty store, the faults, and somebody else on the same state.
fn faulty() -> (Client, Arc<Faulty>, Client) {
    let root = MemoryStore::new();
    let other = Client::builder().store(Arc::new(root.peer())).unwrap();
    let store = Faulty::new(root);
    (Client::builder().holder("a").store(Arc::clone(&store) as Arc<dyn Store>).unwrap(), store, other)
}

async fn becomes_free(other: &Client, key: &str) {
    until(|| async {
        let info = other.inspect(key).await.unwrap();
        info.holding.is_none() && info.waiting == 0
    })
    .await;
}

#[tokio::test]
async fn a_grant_whose_answer_was_lost_is_taken_back() {
    let (client, store, other) = faulty();
    store.plan("acquire", Fault::AnswerLost);
    assert!(matches!(client.lock("k").await, Err(Error::Unavailable { .. })));
    becomes_free(&other, "k").await;
}

#[tokio::test]
async fn taking_back_is_tried_until_it_is_done() {
    let (client, store, other) = faulty();
    store.plan("acquire", Fault::AnswerLost);
    store.plan("leave", Fault::Lost);
    store.plan("leave", Fault::Lost);
    assert!(client.lock("k").await.is_err());
    becomes_free(&other, "k").await;
    assert_eq!(*store.failed.borrow(), 3);
}

#[tokio::test]
async fn a_grant_that_comes_later_than_its_ttl_is_no_grant() {
    let (client, store, other) = faulty();
    store.plan("acquire", Fault::Late(MS(150)));
    let lease = client.lock("k").ttl(MS(100)).await.unwrap();
    assert!(!lease.is_lost(), "the late grant was given back, this is another");
    assert!(store.asked.load(Ordering::SeqCst) >= 3, "acquire, leave, acquire");
    lease.release().await.unwrap();
    becomes_free(&other, "k").await;
}

#[tokio::test]
async fn a_failed_renewal_is_unknown_and_asked_again() {
    let (client, store, _other) = faulty();
    let lease = client.lock("k").ttl(MS(900)).await.unwrap();
    let before = lease.deadline().unwrap();
    store.plan("renew", Fault::Lost);
    store.plan("renew", Fault::AnswerLost);
    store.failures(2).await;
    assert!(!lease.is_lost(), "unknown is not lost");
    soon(async {
        while lease.deadline().unwrap() == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_lost_at_its_deadline() {
    let (client, store, _other) = faulty();
    let lease = client.lock("k").ttl(MS(300)).await.unwrap();
    store.away.store(true, Ordering::SeqCst);
    let deadline = lease.deadline().unwrap();
    assert_eq!(soon(lease.lost()).await, Loss::Expired);
    assert!(soloist::Moment::now() >= deadline, "not before");
    assert!(store.asked.load(Ordering::SeqCst) > 2, "it was tried");
    assert!(matches!(lease.release().await, Err(Error::Lost { loss: Loss::Expired, .. })));
}

#[tokio::test]
async fn a_lease_that_expired_here_but_not_at_the_store_is_ended_there() {
    let (client, store, other) = faulty();
    let lease = client.lock("k").ttl(MS(300)).await.unwrap();
    store.plan("renew", Fault::AnswerLost);
    assert!(lease.renew(Duration::from_secs(3600)).await.is_err());
    store.away.store(true, Ordering::SeqCst);
    assert_eq!(soon(lease.lost()).await, Loss::Expired);
    store.away.store(false, Ordering::SeqCst);
    assert!(other.inspect("k").await.unwrap().holding.is_some(), "the store has heard of the hour");
    assert!(matches!(lease.release().await, Err(Error::Lost { loss: Loss::Expired, .. })));
    becomes_free(&other, "k").await;
}

#[tokio::test]
async fn a_release_that_cannot_be_sent_is_told_and_done_in_the_background() {
    let (client, store, other) = faulty();
    let lease = client.lock("k").await.unwrap();
    store.plan("release", Fault::Lost);
    store.plan("release", Fault::Lost);
    assert!(matches!(lease.release().await, Err(Error::Unavailable { .. })));
    becomes_free(&other, "k").await;
}

#[tokio::test]
async fn a_publish_whose_answer_was_lost_still_reaches_those_who_wait() {
    let (client, store, other) = faulty();
    let Flight::Leader(leader) = client.once("k").join::<u32>().await.unwrap() else { panic!() };
    let follower = other.clone();
    let waiting = tokio::spawn(async move { follower.once("k").join::<u32>().await });
    fleet::in_line(&other, "k", 1).await;
    store.plan("publish", Fault::AnswerLost);
    let published = leader.publish(4).await;
    assert!(matches!(soon(waiting).await.unwrap().unwrap(), Flight::Done(4)));
    // The same publication, asked again, is the same publication.
    assert_eq!(published.unwrap(), 4);
}

#[tokio::test]
async fn many_callers_of_one_process_make_one_request() {
    let (client, store, other) = faulty();
    let Flight::Leader(leader) = other.once("k").join::<u32>().await.unwrap() else { panic!() };
    let mut callers = Vec::new();
    for _ in 0..1000 {
        let client = client.clone();
        callers.push(tokio::spawn(async move { client.once("k").wait(MS(600_000)).join::<u32>().await }));
    }
    fleet::in_line(&other, "k", 1).await;
    // Every caller has been polled: each either drives or waits for the one that does.
    tokio::task::yield_now().await;
    leader.publish(9).await.unwrap();
    for caller in callers {
        assert!(matches!(soon(caller).await.unwrap().unwrap(), Flight::Done(9)));
    }
    assert_eq!(store.asked.load(Ordering::SeqCst), 1);
}
