//! A store that fails, over any store: by plan, and by seed.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::{broadcast, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::faulty_results::{FaultyResults, miss};
use super::store_faults::{Fault, Injected, Rates, Verb};
use super::store_plan::{State, lock};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::name::{Key, Ticket};
use crate::protocol::{
    Answer, KeyInfo, Left, Outcome, Publication, Published, Released, Renewal, Renewed, Request, Who,
};
use crate::store::{EventStream, Notice, Reply, Results, Rotated, Store};

/// When a waiter looks again by itself: as the slowest look of a real store.
const NEXT_LOOK: Duration = Duration::from_secs(15);

/// Another store, whose calls fail: as planned, by seed, or all while it is away. Calls are numbered by verb, and
/// what happens to the n-th call of a verb depends on the seed alone, so the same seed is the same run. It knows only
/// tokio's time, so it also works on a paused clock.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// use std::sync::Arc;
/// use soloist::store::memory::MemoryStore;
/// use soloist::testing::{Fault, FaultyStore, Rates, Verb};
/// use soloist::{Client, Error};
///
/// let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
/// let client = Client::builder().store(Arc::clone(&store) as Arc<dyn soloist::Store>)?;
///
/// // By plan: the grant is given, and its answer lost.
/// store.plan(Verb::Acquire, Fault::AnswerLost);
/// assert!(matches!(client.lock("report:42").await, Err(Error::Unavailable { .. })));
/// // What became of it is taken back in the background.
/// client.flush().await;
/// assert!(client.try_lock("report:42").await?.is_some());
///
/// // By seed: one in ten renewals is lost, whatever else happens.
/// store.seed(42);
/// store.rates_of(Verb::Renew, Rates { lost: 100, ..Rates::default() });
/// assert_eq!(store.counts().of_kind("answer lost"), 1);
/// # Ok(())
/// # }
/// ```
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    name: String,
    state: Arc<State>,
    /// What this store says by itself, and the task that says it.
    notices: Mutex<Option<(broadcast::Sender<Notice>, AbortHandle)>>,
    /// Requests that are carried out after their caller was told that they failed. They end with the store.
    stragglers: Mutex<JoinSet<()>>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// A store that does as `inner` does until it is told otherwise.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        let planned = Mutex::default();
        let (counts, away) = (watch::channel(Injected::default()).0, watch::channel(false).0);
        FaultyStore {
            name: format!("faulty {}", inner.name()),
            inner,
            state: Arc::new(State { planned, counts, away }),
            notices: Mutex::default(),
            stragglers: Mutex::default(),
        }
    }

    /// Plans what happens to the next call of a verb that nothing is planned for yet.
    pub fn plan(&self, verb: Verb, fault: Fault) {
        let mut planned = lock(&self.state.planned);
        if let Fault::Straggles(late) = fault {
            planned.straggles = planned.straggles.max(late);
        }
        planned.plan.entry(verb).or_default().push_back(fault);
    }

    /// By which chance faults happen; 0 at the beginning.
    pub fn seed(&self, seed: u64) {
        lock(&self.state.planned).seed = seed;
    }

    /// How often which fault happens to calls that nothing is planned for, but for verbs that have rates of their own.
    pub fn rates(&self, rates: Rates) {
        let mut planned = lock(&self.state.planned);
        planned.allow(rates);
        planned.all = rates;
    }

    /// How often which fault happens to one verb.
    pub fn rates_of(&self, verb: Verb, rates: Rates) {
        let mut planned = lock(&self.state.planned);
        planned.allow(rates);
        planned.rates.insert(verb, rates);
    }

    /// Switches all faults off, and on again; what is planned stays planned.
    pub fn calm(&self, calm: bool) {
        lock(&self.state.planned).calm = calm;
    }

    /// Whether the store is away altogether: every call fails with [`Error::Unavailable`], and nobody hears anything.
    /// When it is back, all are told to [ask again](Notice::AskAgain), as after an outage.
    pub fn away(&self, away: bool) {
        let was = self.state.away.send_replace(away);
        if was
            && !away
            && let Some((notices, _)) = &*lock(&self.notices)
        {
            let _ = notices.send(Notice::AskAgain);
        }
    }

    /// What it did so far.
    pub fn counts(&self) -> Injected {
        self.state.counts.borrow().clone()
    }

    /// The same, to wait for: `store.watch().wait_for(|counts| counts.failed() == 2).await`.
    pub fn watch(&self) -> watch::Receiver<Injected> {
        self.state.counts.subscribe()
    }

    fn unavailable(&self, why: &str) -> Error {
        self.state.failed();
        Error::Unavailable { store: self.name.clone(), why: why.into() }
    }

    async fn verb<T, F>(&self, verb: Verb, call: impl Fn(Arc<dyn Store>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.meet(self.state.next(verb), call).await
    }

    async fn meet<T, F>(&self, fault: Option<Fault>, call: impl Fn(Arc<dyn Store>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if self.state.is_away() {
            return Err(self.unavailable("it is away"));
        }
        let done = || call(Arc::clone(&self.inner));
        match fault {
            None => done().await,
            Some(Fault::Lost) => Err(self.unavailable("the request was lost")),
            Some(Fault::AnswerLost) => {
                done().await?;
                Err(self.unavailable("the answer was lost"))
            }
            Some(Fault::Refused) => {
                self.state.failed();
                let why = "READONLY as planned".into();
                Err(Error::Refused { store: self.name.clone(), why, hint: "wait" })
            }
            Some(Fault::LateCall(pause)) => {
                tokio::time::sleep(pause).await;
                done().await
            }
            Some(Fault::Late(pause)) => {
                let answer = done().await;
                tokio::time::sleep(pause).await;
                answer
            }
            Some(Fault::Twice) => {
                let answer = done().await;
                let _ = done().await;
                answer
            }
            Some(Fault::Straggles(pause)) => {
                let late = done();
                lock(&self.stragglers).spawn(async move {
                    tokio::time::sleep(pause).await;
                    let _ = late.await;
                });
                Err(self.unavailable("no answer in time"))
            }
        }
    }
}

impl Drop for FaultyStore {
    fn drop(&mut self) {
        if let Some((_, speaker)) = lock(&self.notices).take() {
            speaker.abort();
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn name(&self) -> &str {
        &self.name
    }

    async fn acquire(&self, request: &Request) -> Result<Reply> {
        let call = |inner: Arc<dyn Store>| {
            let request = request.clone();
            async move { inner.acquire(&request).await }
        };
        self.verb(Verb::Acquire, call).await
    }

    async fn wait(&self, request: &Request, mut standing: Reply) -> Result<Reply> {
        let mut request = request.clone();
        loop {
            if let Answer::Queued(queued) = &standing.answer {
                request.stands_behind(queued);
            }
            let heard = self.inner.wait(&request, standing.clone()).await?;
            match self.state.next(Verb::Wait) {
                _ if self.state.is_away() => {
                    // Nothing is heard until the store is back. The sender lives as long as this store.
                    let _ = self.state.away.subscribe().wait_for(|away| !away).await;
                }
                None | Some(Fault::Twice) => return Ok(heard),
                Some(Fault::Late(pause) | Fault::LateCall(pause)) => {
                    tokio::time::sleep(pause).await;
                    return Ok(heard);
                }
                Some(Fault::Lost | Fault::AnswerLost | Fault::Refused | Fault::Straggles(_)) => {
                    tokio::time::sleep(NEXT_LOOK).await;
                }
            }
            match self.acquire(&request).await {
                Ok(reply) if matches!(reply.answer, Answer::Queued(_)) => standing = reply,
                Ok(reply) => return Ok(reply),
                // Who stands in line stands on through an outage, and finds out at the next look.
                Err(Error::Unavailable { .. }) => tokio::time::sleep(NEXT_LOOK).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        let call = |inner: Arc<dyn Store>| {
            let key = key.clone();
            async move { inner.leave(&key, ticket).await }
        };
        self.verb(Verb::Leave, call).await
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let call = |inner: Arc<dyn Store>| {
            let renewals = renewals.to_vec();
            async move { inner.renew(&renewals).await }
        };
        self.verb(Verb::Renew, call).await
    }

    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        let call = |inner: Arc<dyn Store>| {
            let (key, who) = (key.clone(), who.clone());
            async move { inner.release(&key, &who).await }
        };
        let fault = self.state.next(Verb::Release);
        // Whoever's lease is ended by name may be another one's the second time, so no store asks for that twice.
        let by_ticket = matches!(who, Who::Ticket(_));
        self.meet(fault.filter(|fault| by_ticket || *fault != Fault::Twice), call).await
    }

    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        let call = |inner: Arc<dyn Store>| {
            let request = request.clone();
            async move { inner.rotate(held, &request).await }
        };
        self.verb(Verb::Rotate, call).await
    }

    async fn publish(&self, publication: &Publication) -> Result<Published> {
        let call = |inner: Arc<dyn Store>| {
            let publication = publication.clone();
            async move { inner.publish(&publication).await }
        };
        self.verb(Verb::Publish, call).await
    }

    async fn forget(&self, key: &Key) -> Result<bool> {
        let call = |inner: Arc<dyn Store>| {
            let key = key.clone();
            async move { inner.forget(&key).await }
        };
        self.verb(Verb::Forget, call).await
    }

    async fn touch(&self, key: &Key) -> Result<()> {
        let call = |inner: Arc<dyn Store>| {
            let key = key.clone();
            async move { inner.touch(&key).await }
        };
        self.verb(Verb::Touch, call).await
    }

    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        let call = |inner: Arc<dyn Store>| {
            let key = key.clone();
            async move { inner.result(&key).await }
        };
        self.verb(Verb::Result, call).await
    }

    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        let call = |inner: Arc<dyn Store>| {
            let key = key.clone();
            async move { inner.inspect(&key).await }
        };
        self.verb(Verb::Inspect, call).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        let call = |inner: Arc<dyn Store>| {
            let prefix = prefix.to_owned();
            async move { inner.list(&prefix).await }
        };
        self.verb(Verb::List, call).await
    }

    async fn events(&self) -> Result<EventStream> {
        if self.state.is_away() {
            return Err(self.unavailable("it is away"));
        }
        let state = Arc::clone(&self.state);
        let miss = move |told| miss(&state, told);
        Ok(self.inner.events().await?.map(miss).boxed())
    }

    async fn results(&self) -> Result<Option<Box<dyn Results>>> {
        if self.state.is_away() {
            return Err(self.unavailable("it is away"));
        }
        let state = Arc::clone(&self.state);
        Ok(match self.inner.results().await? {
            Some(inner) => Some(Box::new(FaultyResults { inner, state })),
            None => None,
        })
    }

    async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        self.inner.examine(ttl).await
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        let mut notices = lock(&self.notices);
        if let Some((said, _)) = &*notices {
            return said.subscribe();
        }
        let (say, hears) = broadcast::channel(1024);
        let (mut inner, state, said) = (self.inner.notices(), Arc::clone(&self.state), say.clone());
        // Ended by the drop of this store.
        let speaker = tokio::spawn(async move {
            loop {
                let notice = match inner.recv().await {
                    Ok(notice) => notice,
                    Err(broadcast::error::RecvError::Lagged(_)) => Notice::AskAgain,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                let fault = state.next(Verb::Notice);
                if !state.is_away() && fault.is_none_or(|fault| fault == Fault::Twice) {
                    let _ = said.send(notice);
                }
            }
        });
        *notices = Some((say, speaker.abort_handle()));
        hears
    }

    fn group(&self, key: &Key) -> u16 {
        self.inner.group(key)
    }

    fn longest_ttl(&self) -> Option<Duration> {
        self.inner.longest_ttl()
    }

    fn leases_end_with_sessions(&self) -> bool {
        self.inner.leases_end_with_sessions()
    }

    fn has_replicas(&self) -> bool {
        self.inner.has_replicas()
    }

    async fn replicated(&self, key: &Key, ticket: Ticket, wanted: u32) -> Result<u32> {
        self.inner.replicated(key, ticket, wanted).await
    }

    fn liveness(&self) -> Result<Option<OwnedFd>> {
        self.inner.liveness()
    }

    fn settles(&self) -> Duration {
        self.inner.settles() + lock(&self.state.planned).straggles
    }

    /// The same faults happen there.
    fn aside(&self) -> Option<Arc<dyn Store>> {
        let (notices, stragglers) = Default::default();
        let (inner, name, state) = (self.inner.aside()?, self.name.clone(), Arc::clone(&self.state));
        Some(Arc::new(FaultyStore { inner, name, state, notices, stragglers }))
    }

    async fn stop_waiting(&self) {
        self.inner.stop_waiting().await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
