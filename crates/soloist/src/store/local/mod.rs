//! Several processes on one machine, no server and no daemon.
//!
//! The state is kept in shard files that every process reads and writes under a file lock, running the same
//! pure machine. Wake-ups go through one FIFO a session, which is also how the end of a process is noticed:
//! at once, and by the word of the operating system. Locks do not survive a reboot.
//!
//! Folders of a network file system are refused, and so are those that others can read. A holder that is killed
//! is noticed at once, not at its ttl; a killed waiter is passed over.

mod boot;
mod content;
mod delta;
mod events;
mod examine;
mod fifo;
mod folder;
mod line;
#[cfg(feature = "testing")]
pub(crate) mod parse;
mod peers;
pub(crate) mod points;
mod record;
mod results;
mod shard;
mod slot;
mod sweep;
mod transaction;
mod watch;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use self::folder::{Folder, failed};
use self::shard::{SHARDS, shard_of};
use self::transaction::{Core, Touches};
use self::watch::Watches;
use super::hub::Hub;
use super::memory::StoreClock;
use super::{EventStream, Notice, Reply, Results, Rotated, Store, rotate_in_two_steps, waiting};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::name::{Key, Session, Ticket};
use crate::protocol::{
    Answer, Body, KeyInfo, Left, Micros, Outcome, Publication, Published, Released, Renewal, Renewed,
    Request, Step, Table, Ttl, Want, Who,
};

/// How often the file of a result may be missing before it counts as lost, not as just replaced.
const RESULT_TRIES: u32 = 3;

/// How a local store is opened; see [`LocalStore::open_with`].
#[derive(Clone, Debug, Default)]
pub struct LocalOptions {
    /// The folder; `None` is `$XDG_STATE_HOME/soloist`, else `~/.local/state/soloist`, for root
    /// `/var/lib/soloist`.
    pub path: Option<PathBuf>,
    /// Another clock than the folder's own, for tests.
    pub clock: Option<StoreClock>,
}

/// A store shared by the processes of one machine. Dropping it ends its session: what it holds is free at once.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use soloist::Client;
/// use soloist::store::local::LocalStore;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("locks");
/// let client = Client::builder().store(Arc::new(LocalStore::open(Some(&path))?))?;
/// let other = Client::builder().store(Arc::new(LocalStore::open(Some(&path))?))?; // as another process
/// let lease = client.lock("report:42").await?;
/// assert!(other.try_lock("report:42").await?.is_none());
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LocalStore {
    name: String,
    core: Arc<Core>,
    watches: Arc<Watches>,
    open: Mutex<Option<Open>>,
}

/// What ends with the session.
#[derive(Debug)]
struct Open {
    /// The reading end of the session's FIFO: the task that listens has it, too.
    fifo: OwnedFd,
    tasks: Vec<JoinHandle<()>>,
    /// Dropped, it ends all streams of events.
    events: broadcast::Sender<()>,
}

/// The answer to a request, and whose end its waiter has to watch.
type Asked = (Result<Answer>, Option<Session>);

impl LocalStore {
    /// Opens the store in this folder, or in the default one: `$XDG_STATE_HOME/soloist`, else
    /// `~/.local/state/soloist`, for root `/var/lib/soloist`. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Folder`] when the folder cannot be used: it is not ours alone, or on a network file system;
    /// [`Error::Unavailable`] outside of a tokio runtime.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        Self::open_with(LocalOptions { path: path.map(Path::to_path_buf), clock: None })
    }

    /// Opens a store with options. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// As [`LocalStore::open`].
    pub fn open_with(options: LocalOptions) -> Result<Self> {
        let name = match &options.path {
            Some(path) => format!("local:{}", path.display()),
            None => "local:".into(),
        };
        let Ok(runtime) = Handle::try_current() else {
            return Err(Error::Unavailable {
                store: name,
                why: "it was opened outside of a tokio runtime".into(),
            });
        };
        let folder = Arc::new(Folder::open(options.path.as_deref())?);
        let clock = options.clock.map_or_else(|| folder.clock(), Ok)?;
        let session = Session::mint();
        let listens = fifo::create(&folder.sessions, &session.to_string())?;
        let fifo = listens.as_fd().try_clone_to_owned();
        let fifo = fifo.map_err(|error| failed(&folder.sessions.path, "held open", error))?;
        let hub = Arc::new(Hub::new());
        let core = Arc::new(Core::new(Arc::clone(&folder), clock, session, Arc::clone(&hub)));
        let listening = runtime.spawn(peers::listen(listens, Arc::clone(&hub)));
        let tasks = vec![listening, sweep::begin(&core, &runtime)];
        let watches = Watches::new(hub, runtime);
        let open = Open { fifo, tasks, events: broadcast::Sender::new(1) };
        Ok(LocalStore { name, core, watches, open: Mutex::new(Some(open)) })
    }

    fn open_part(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the session. Its FIFO loses its name at once: from then on nobody takes it for alive, even
    /// before the last descriptor is closed. That in turn wakes those who watch it.
    fn end(&self) -> Vec<JoinHandle<()>> {
        self.core.closed.store(true, Ordering::Release);
        self.watches.close();
        let Some(Open { fifo, tasks, .. }) = self.open_part().take() else { return Vec::new() };
        self.core.folder.sessions.remove(&self.core.session.to_string());
        points::here("left");
        self.core.hub.close();
        drop(fifo);
        points::here("session ended");
        tasks.iter().for_each(JoinHandle::abort);
        tasks
    }

    /// Asks once; a result that stands aside is still there.
    async fn ask(&self, request: &Request) -> Result<Reply> {
        let sent = Moment::now();
        let (asked, session, listening) = (request.clone(), self.core.session, self.listening_to(request));
        let verb = move |table: &mut Table, step: &mut Step<'_>| {
            let answer = table.acquire(&asked, session, step);
            listening(answer, table, step)
        };
        let (asked, now) = self.core.on_key(&request.key, verb).await?;
        self.asked(request, asked, (sent, now))
    }

    /// What belongs to the step that answers a request: whoever stands in line is listened for. Under the lock: nobody can
    /// be told of a place in line before its ticket is.
    fn listening_to(
        &self,
        request: &Request,
    ) -> impl FnOnce(Answer, &Table, &Step<'_>) -> Asked + Send + use<> {
        let (key, ticket, hub) = (request.key.clone(), request.ticket, Arc::clone(&self.core.hub));
        move |answer, table, step| {
            if !matches!(answer, Answer::Queued(_)) {
                return (Ok(answer), None);
            }
            let state = table.keys.get(&key);
            let watch = state.and_then(|state| line::to_watch(state, ticket, step.alive));
            let closed = hub.listen(ticket, &key).is_none();
            (if closed { Err(Error::Closed) } else { Ok(answer) }, watch)
        }
    }

    /// What follows from the answer, to what was asked at these moments of both clocks.
    fn asked(
        &self,
        request: &Request,
        (answer, watch): Asked,
        (sent, now): (Moment, Micros),
    ) -> Result<Reply> {
        let answer = answer?;
        if matches!(answer, Answer::Queued(_)) {
            self.watch(request.ticket, watch);
        } else {
            self.stop_listening(request.ticket);
        }
        Ok(Reply::new(answer, sent, now))
    }

    /// How many tickets this store listens for: those that stand in line, and none that was dropped.
    #[cfg(feature = "testing")]
    pub fn listening(&self) -> usize {
        self.core.hub.listening()
    }

    /// Watches the end of a session for a waiter; one's own ends with the waiter itself.
    fn watch(&self, ticket: Ticket, session: Option<Session>) {
        let watch = session.filter(|session| *session != self.core.session);
        self.watches.watch(&self.core.folder, ticket, watch);
    }

    fn stop_listening(&self, ticket: Ticket) {
        self.watches.unwatch(ticket);
        self.core.hub.forget(ticket);
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.end();
    }
}

#[async_trait]
impl Store for LocalStore {
    fn name(&self) -> &str {
        &self.name
    }

    async fn acquire(&self, request: &Request) -> Result<Reply> {
        let mut missing = 0;
        loop {
            let mut reply = self.ask(request).await?;
            let Answer::Done(outcome) = &mut reply.answer else { return Ok(reply) };
            let body = std::mem::replace(&mut outcome.body, Body::Inline(Default::default()));
            let id = transaction::aside_of(&body);
            if let Some(body) = results::fetch(&self.core.folder, body).await? {
                outcome.body = body;
                return Ok(reply);
            }
            // The result was forgotten or replaced between the two looks: ask again.
            missing += 1;
            if let Some(id) = id.filter(|_| missing >= RESULT_TRIES) {
                return Err(results::damaged(
                    &self.core.folder,
                    id,
                    "is missing, though a result refers to it",
                ));
            }
        }
    }

    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        let mut standing = standing;
        loop {
            let served = waiting::wait(self, &self.core.hub, request, standing).await?;
            self.watches.unwatch(request.ticket);
            // Told of its grant, a lease has a short first life, which its first renewal lifts. One without expiry is
            // confirmed here: it lives as long as its session, also one that is stopped right now.
            match &served.answer {
                Answer::Granted(grant) if request.ttl == Ttl::Forever && grant.ttl != Ttl::Forever => {
                    let listening = self.core.hub.listen(request.ticket, &request.key);
                    let slot = listening.ok_or(Error::Closed)?;
                    // Dropped half way, whoever waits next finds the hint.
                    let look = slot.look();
                    standing = self.acquire(request).await?;
                    look.done();
                }
                _ => return Ok(served),
            }
        }
    }

    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        self.stop_listening(ticket);
        let name = key.clone();
        let left = self.core.on_key(key, move |table, step| table.leave(&name, ticket, step)).await;
        // A request that was dropped on its way to a busy shard may have begun to listen meanwhile.
        self.stop_listening(ticket);
        Ok(left?.0)
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let mut by_shard = std::collections::BTreeMap::<u16, Vec<usize>>::new();
        for (at, renewal) in renewals.iter().enumerate() {
            by_shard.entry(shard_of(&renewal.key)).or_default().push(at);
        }
        let mut answers = vec![None; renewals.len()];
        for (shard, places) in by_shard {
            let asked: Vec<Renewal> = places.iter().map(|at| renewals[*at].clone()).collect();
            let mut keys: Vec<Key> = asked.iter().map(|renewal| renewal.key.clone()).collect();
            keys.sort_unstable();
            keys.dedup();
            let all = move |table: &mut Table, step: &mut Step<'_>| {
                asked.iter().map(|renewal| table.renew(renewal, step)).collect::<Vec<_>>()
            };
            let (renewed, _) = self.core.transact(shard, Touches::Keys(keys), all).await?;
            for (at, renewed) in places.into_iter().zip(renewed) {
                answers[at] = Some(renewed);
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        let (name, who, by) = (key.clone(), who.clone(), self.core.session);
        Ok(self.core.on_key(key, move |table, step| table.release(&name, &who, by, step)).await?.0)
    }

    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        if request.want == Want::Flight {
            return rotate_in_two_steps(self, held, request).await; // its result may stand aside
        }
        let sent = Moment::now();
        let (asked, session) = (request.clone(), self.core.session);
        let listening = self.listening_to(request);
        let verb = move |table: &mut Table, step: &mut Step<'_>| {
            let (token, answer) = table.rotate(held, &asked, session, step)?;
            Ok((token, listening(answer, table, step)))
        };
        match self.core.on_key(&request.key, verb).await? {
            (Ok((token, asked)), now) => Ok(Rotated::Asked(token, self.asked(request, asked, (sent, now)))),
            (Err(holding), _) => Ok(Rotated::NotHeld(holding)),
        }
    }

    async fn publish(&self, publication: &Publication) -> Result<Published> {
        let body = results::put_aside(&self.core.folder, &publication.body).await?;
        let aside = transaction::aside_of(&body);
        let publication = Publication { body, ..publication.clone() };
        let key = publication.key.clone();
        let verb = move |table: &mut Table, step: &mut Step<'_>| {
            let published = table.publish(&publication, step);
            let done = table.keys.get(&publication.key).and_then(|state| state.done.as_ref());
            (published, done.is_some_and(|done| transaction::aside_of(&done.body) == aside))
        };
        let done = self.core.on_key(&key, verb).await;
        let taken = done.as_ref().is_ok_and(|((_, taken), _)| *taken);
        if let Some(id) = aside.filter(|_| !taken) {
            results::remove(&self.core.folder, id);
        }
        done.map(|((published, _), _)| published)
    }

    async fn forget(&self, key: &Key) -> Result<bool> {
        let name = key.clone();
        Ok(self.core.on_key(key, move |table, step| table.forget(&name, step)).await?.0)
    }

    async fn touch(&self, key: &Key) -> Result<()> {
        let name = key.clone();
        self.core.on_key(key, move |table, step| table.touch(&name, step)).await.map(drop)
    }

    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        for _ in 0..RESULT_TRIES {
            let name = key.clone();
            let look = move |table: &mut Table, step: &mut Step<'_>| table.result(&name, step);
            let (found, _) = self.core.transact(shard_of(key), Touches::Nothing, look).await?;
            let Some(outcome) = found else { return Ok(None) };
            let body = outcome.body.clone();
            if let Some(body) = results::fetch(&self.core.folder, body).await? {
                return Ok(Some(Outcome { body, ..outcome }));
            }
            // The result was forgotten or replaced between the two looks: look again.
        }
        Ok(None)
    }

    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        let name = key.clone();
        let look = move |table: &mut Table, step: &mut Step<'_>| table.inspect(&name, step);
        Ok(self.core.transact(shard_of(key), Touches::Nothing, look).await?.0)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        let mut all = Vec::new();
        for shard in (0..SHARDS).filter(|shard| !self.core.is_missing(*shard)) {
            let prefix = prefix.to_owned();
            let look = move |table: &mut Table, step: &mut Step<'_>| table.list(&prefix, step);
            all.extend(self.core.transact(shard, Touches::Nothing, look).await?.0);
        }
        all.sort_by(|one: &KeyInfo, other| one.key.cmp(&other.key));
        Ok(all)
    }

    async fn events(&self) -> Result<EventStream> {
        let mut open = self.open_part().as_ref().ok_or(Error::Closed)?.events.subscribe();
        let closed = async move { while open.recv().await.is_ok() {} };
        let told = events::subscribe(&self.core.folder)?;
        // Invariant: its FIFO has its name before anybody is made to look.
        self.core.begin_to_listen().await?;
        Ok(told.take_until(closed).boxed())
    }

    async fn results(&self) -> Result<Option<Box<dyn Results>>> {
        drop(self.open_part().as_ref().ok_or(Error::Closed)?.events.subscribe());
        let results = events::results(&self.core.folder)?;
        // Invariant: its FIFO has its name before anybody is made to look.
        self.core.begin_to_listen().await?;
        Ok(Some(results))
    }

    async fn examine(&self, _: Duration) -> Result<Vec<Finding>> {
        match self.core.closed.load(Ordering::Acquire) {
            true => Err(Error::Closed),
            false => examine::examine(&self.core).await,
        }
    }

    fn leases_end_with_sessions(&self) -> bool {
        true
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.core.hub.notices()
    }

    fn liveness(&self) -> Result<Option<OwnedFd>> {
        let open = self.open_part();
        let fifo = &open.as_ref().ok_or(Error::Closed)?.fifo;
        let fd = fifo.as_fd().try_clone_to_owned();
        fd.map(Some).map_err(|error| failed(&self.core.folder.sessions.path, "held open", error))
    }

    async fn close(&self) {
        for task in self.end() {
            // Aborted: this only waits until what it had open is closed.
            let _ = task.await;
        }
    }
}
