//! The store inside one process: the pure machine behind a mutex. It is the reference for all others, and
//! the store of tests: its clock can be driven by hand.
//!
//! Only the store's clock is driven. Clients count the ttl of the leases that they hold on their own clock, so a
//! holder hears of an expiry in driven time when it next asks: at a release, a renewal or a publish.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc};

use super::hub::Hub;
use super::results::{self, RESULTS_KEPT, is_about_a_result};
pub use super::store_clock::StoreClock;
use super::{EventStream, Notice, Reply, Results, Rotated, Store, Told, waiting};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::finding::{Finding, Level};
use crate::name::{Key, Session, Ticket};
use crate::protocol::{
    Answer, Effect, KeyInfo, Left, Liveness, Micros, Mode, Outcome, Publication, Published, Released,
    Renewal, Renewed, Request, Step, Table, Who,
};

/// A store inside one process. Clones of its shared state, by [`MemoryStore::peer`], are other sessions: what
/// another process would be. Dropping a session, or closing it, ends its leases at once, as the end of a process
/// does on the local store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// use std::{sync::Arc, time::Duration};
/// use soloist::Client;
/// use soloist::store::memory::{MemoryStore, StoreClock};
///
/// let clock = StoreClock::manual(1_000_000);
/// let store = MemoryStore::with_clock(clock.clone());
/// let other = Client::builder().store(Arc::new(store.peer()))?;
/// let client = Client::builder().store(Arc::new(store))?;
///
/// let lease = client.lock("report:42").ttl(Duration::from_secs(30)).await?;
/// clock.advance(Duration::from_secs(31)); // no test waits for 31 s
/// assert!(other.try_lock("report:42").await?.is_some());
/// assert!(lease.release().await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    session: Session,
    hub: Arc<Hub>,
}

#[derive(Debug)]
struct Shared {
    clock: StoreClock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    /// In order, so that nothing depends on chance.
    sessions: BTreeMap<Session, Arc<Hub>>,
    subscribers: Vec<(Session, mpsc::UnboundedSender<Event>)>,
    /// For those who keep results.
    results: Option<broadcast::Sender<Told>>,
}

/// Told in the very step in which it happens: nothing is ever on its way.
#[derive(Debug)]
struct MemoryResults(broadcast::Receiver<Told>);

impl Results for MemoryResults {
    fn complete(&self) -> Option<Moment> {
        Some(Moment::now())
    }

    fn hear(&mut self) -> Option<Told> {
        results::hear(&mut self.0)
    }
}

struct Alive<'a>(&'a BTreeSet<Session>);

impl Liveness for Alive<'_> {
    fn waiter_gone(&self, session: Session) -> bool {
        !self.0.contains(&session)
    }
    fn holder_gone(&self, session: Session) -> bool {
        !self.0.contains(&session)
    }
}

impl MemoryStore {
    /// An empty store on real time.
    pub fn new() -> Self {
        Self::with_clock(StoreClock::real())
    }

    /// An empty store on this clock.
    pub fn with_clock(clock: StoreClock) -> Self {
        let shared = Shared { clock, state: Mutex::default() };
        Self::session_on(Arc::new(shared))
    }

    /// Another session on the same state, as another process would be.
    pub fn peer(&self) -> Self {
        Self::session_on(Arc::clone(&self.shared))
    }

    fn session_on(shared: Arc<Shared>) -> Self {
        let store = MemoryStore { session: Session::mint(), hub: Arc::new(Hub::new()), shared };
        store.state().sessions.insert(store.session, Arc::clone(&store.hub));
        store
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The machine does not panic, so a poisoned mutex still guards a whole table.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one step of the machine and carries its effects out, as one.
    fn step<T>(&self, verb: impl FnOnce(&mut Table, &mut Step<'_>) -> T) -> Result<(T, Micros)> {
        let now = self.shared.clock.now();
        let mut state = self.state();
        if !state.sessions.contains_key(&self.session) {
            return Err(Error::Closed);
        }
        let alive: BTreeSet<Session> = state.sessions.keys().copied().collect();
        let alive = Alive(&alive);
        let mut step = Step::new(now, &alive);
        let answer = verb(&mut state.table, &mut step);
        for effect in step.effects {
            match effect {
                Effect::Wake(session, ticket, wake) => {
                    if let Some(hub) = state.sessions.get(&session) {
                        hub.tell(ticket, wake);
                    }
                }
                Effect::Event(event) => {
                    state.subscribers.retain(|(_, s)| s.send(event.clone()).is_ok());
                    if let Some(results) = &state.results
                        && is_about_a_result(&event.kind)
                    {
                        // An error means that nobody keeps any.
                        drop(results.send(Told::Event(event)));
                    }
                }
            }
        }
        Ok((answer, now))
    }

    /// Listens for a request that may stand in line. Invariant: before it is asked, or the message may come first.
    fn listen(&self, request: &Request) -> Result<()> {
        if request.mode == Mode::Line {
            self.hub.listen(request.ticket, &request.key).ok_or(Error::Closed)?;
        }
        Ok(())
    }

    /// Takes in the answer to a request.
    fn asked(&self, request: &Request, reply: Reply) -> Reply {
        if !matches!(reply.answer, Answer::Queued(_)) {
            self.hub.forget(request.ticket);
        }
        reply
    }

    /// How many tickets this store listens for: those that stand in line, and none that was dropped.
    #[cfg(feature = "testing")]
    pub fn listening(&self) -> usize {
        self.hub.listening()
    }

    /// The end of a session: its leases end, and everybody who waits looks again.
    fn end(&self) {
        let hubs: Vec<_> = {
            let mut state = self.state();
            state.sessions.remove(&self.session);
            state.subscribers.retain(|(session, _)| *session != self.session);
            state.sessions.values().cloned().collect()
        };
        self.hub.close();
        for hub in hubs {
            hub.look_all(false);
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.end();
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &str {
        "memory:"
    }

    async fn acquire(&self, request: &Request) -> Result<Reply> {
        self.listen(request)?;
        let sent = Moment::now();
        let (answer, now) = self.step(|table, step| table.acquire(request, self.session, step))?;
        Ok(self.asked(request, Reply::new(answer, sent, now)))
    }

    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        waiting::wait(self, &self.hub, request, standing).await
    }

    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        self.hub.forget(ticket);
        Ok(self.step(|table, step| table.leave(key, ticket, step))?.0)
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let all = |table: &mut Table, step: &mut Step<'_>| {
            renewals.iter().map(|renewal| table.renew(renewal, step)).collect()
        };
        Ok(self.step(all)?.0)
    }

    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        Ok(self.step(|table, step| table.release(key, who, self.session, step))?.0)
    }

    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        let stood = self.hub.place(request.ticket).is_some();
        self.listen(request)?;
        let sent = Moment::now();
        let (rotated, now) = self.step(|table, step| table.rotate(held, request, self.session, step))?;
        Ok(match rotated {
            Ok((token, answer)) => {
                Rotated::Asked(token, Ok(self.asked(request, Reply::new(answer, sent, now))))
            }
            Err(holding) => {
                // Nothing was asked for, but before.
                if !stood {
                    self.hub.forget(request.ticket);
                }
                Rotated::NotHeld(holding)
            }
        })
    }

    async fn publish(&self, publication: &Publication) -> Result<Published> {
        Ok(self.step(|table, step| table.publish(publication, step))?.0)
    }

    async fn forget(&self, key: &Key) -> Result<bool> {
        Ok(self.step(|table, step| table.forget(key, step))?.0)
    }

    async fn touch(&self, key: &Key) -> Result<()> {
        self.step(|table, step| table.touch(key, step))?;
        Ok(())
    }

    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        Ok(self.step(|table, step| table.result(key, step))?.0)
    }

    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        Ok(self.step(|table, step| table.inspect(key, step))?.0)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        Ok(self.step(|table, step| table.list(prefix, step))?.0)
    }

    async fn events(&self) -> Result<EventStream> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut state = self.state();
        if !state.sessions.contains_key(&self.session) {
            return Err(Error::Closed);
        }
        state.subscribers.push((self.session, sender));
        let next = move |cx: &mut std::task::Context<'_>| receiver.poll_recv(cx).map(|e| e.map(Told::Event));
        Ok(Box::pin(futures_util::stream::poll_fn(next)))
    }

    async fn results(&self) -> Result<Option<Box<dyn Results>>> {
        let mut state = self.state();
        if !state.sessions.contains_key(&self.session) {
            return Err(Error::Closed);
        }
        let results = state.results.get_or_insert_with(|| broadcast::channel(RESULTS_KEPT).0);
        Ok(Some(Box::new(MemoryResults(results.subscribe()))))
    }

    async fn examine(&self, _: Duration) -> Result<Vec<Finding>> {
        if !self.state().sessions.contains_key(&self.session) {
            return Err(Error::Closed);
        }
        let why = "another process has another store: between processes nothing is locked";
        let fix = "local: is shared by the processes of this machine, redis://HOST by all who reach it";
        Ok(vec![Finding::new(Level::Note, "one-process", "the store is inside this process", why).fix(fix)])
    }

    fn leases_end_with_sessions(&self) -> bool {
        true
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.hub.notices()
    }

    async fn close(&self) {
        self.end();
    }
}
