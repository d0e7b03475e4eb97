//! One transaction on one shard: lock, read, run the machine, commit, tell.
//!
//! Invariant: from the lock to its return a transaction is one synchronous piece, so no dropped future and no
//! cancelled task can leave it half done. What a kill can leave is either nothing or the whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::content::Content;
use super::delta::{Before, Delta};
use super::events::Subscribers;
use super::folder::{Folder, failed};
use super::peers::{Message, Met, Peers};
use super::points;
use super::results;
use super::shard::{SHARDS, Shard, shard_of};
use crate::error::{Error, Loss, Result};
use crate::event::Event;
use crate::name::{FencingToken, Key, Session, Ticket};
use crate::protocol::{Body, Done, Effect, Grant, Micros, Move, Step, Table, Wake};
use crate::store::hub::Hub;
use crate::store::memory::StoreClock;

/// How often a busy lock is tried again at once: a transaction takes microseconds.
const QUICK_TRIES: u32 = 32;

/// What all the parts of one open store share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) folder: Arc<Folder>,
    pub(super) clock: StoreClock,
    pub(super) session: Session,
    pub(super) hub: Arc<Hub>,
    pub(super) closed: AtomicBool,
    met: Met,
    subscribers: Subscribers,
    /// Made when they are first used: most are not.
    shards: Vec<OnceLock<Arc<Mutex<Shard>>>>,
}

/// Which keys a transaction may change.
#[derive(Clone, Debug)]
pub(super) enum Touches {
    /// None: nothing is written.
    Nothing,
    /// These, all of the transaction's shard. Results whose time has passed go in any case.
    Keys(Vec<Key>),
    /// None, but everybody is told that somebody listens for events from now on.
    Listeners,
}

impl Core {
    pub(super) fn new(folder: Arc<Folder>, clock: StoreClock, session: Session, hub: Arc<Hub>) -> Self {
        let shards = (0..SHARDS).map(|_| OnceLock::new()).collect();
        let (closed, met, subscribers) = (AtomicBool::new(false), Met::default(), Subscribers::default());
        Core { folder, clock, session, hub, closed, met, subscribers, shards }
    }

    fn shard(&self, number: u16) -> &Arc<Mutex<Shard>> {
        let made = || Arc::new(Mutex::new(Shard::new(number, &self.folder)));
        self.shards[usize::from(number)].get_or_init(made)
    }

    /// Runs a verb on one key.
    pub(super) async fn on_key<T: Send + 'static>(
        self: &Arc<Self>,
        key: &Key,
        verb: impl FnOnce(&mut Table, &mut Step<'_>) -> T + Send + 'static,
    ) -> Result<(T, Micros)> {
        self.transact(shard_of(key), Touches::Keys(vec![key.clone()]), verb).await
    }

    /// Tells everybody who uses the shards that somebody listens for events, who has a FIFO by now. Whoever uses a shard
    /// for the first time looks by himself.
    pub(super) async fn begin_to_listen(self: &Arc<Self>) -> Result<()> {
        for shard in (0..SHARDS).filter(|shard| !self.is_missing(*shard)) {
            self.transact(shard, Touches::Listeners, |_, _| ()).await?;
        }
        Ok(())
    }

    /// Whether no key of this shard was ever used.
    pub(super) fn is_missing(&self, number: u16) -> bool {
        let shard = self.shard(number).try_lock();
        shard.is_ok_and(|shard| shard.is_missing(&self.folder))
    }

    /// Runs one step of the machine on one shard. Cancel safe: once it has begun it is carried through,
    /// whether or not anybody still waits for the answer.
    pub(super) async fn transact<T: Send + 'static>(
        self: &Arc<Self>,
        number: u16,
        touches: Touches,
        verb: impl FnOnce(&mut Table, &mut Step<'_>) -> T + Send + 'static,
    ) -> Result<(T, Micros)> {
        // Nothing here waits as a rule: who asks time and again still lets others of its runtime go on.
        tokio::task::consume_budget().await;
        let shard = self.shard(number);
        let mut shard = match Arc::clone(shard).try_lock_owned() {
            Ok(shard) => shard,
            Err(_) => Arc::clone(shard).lock_owned().await,
        };
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        for _ in 0..QUICK_TRIES {
            if shard.lock(&self.folder, false)? {
                return self.locked(number, &mut shard, &touches, verb);
            }
            std::thread::yield_now();
        }
        // Whoever has it is slow, or frozen. A thread of its own waits, one a shard at most: the runtime's
        // blocking threads must stay free for other keys, and its shutdown must not wait for a frozen
        // neighbour.
        let (core, (answer, answered)) = (Arc::clone(self), oneshot::channel());
        let work = move |mut shard: OwnedMutexGuard<Shard>| {
            let done =
                shard.lock(&core.folder, true).and_then(|_| core.locked(number, &mut shard, &touches, verb));
            drop(shard);
            // An error means that nobody waits for the answer any more.
            let _ = answer.send(done);
        };
        std::thread::Builder::new()
            .name("soloist-busy".into())
            .spawn(move || work(shard))
            .map_err(|error| failed(&self.folder.shards.path, "waited for", error))?;
        answered.await.map_err(|_| Error::Closed)?
    }

    fn locked<T>(
        &self,
        number: u16,
        shard: &mut Shard,
        touches: &Touches,
        verb: impl FnOnce(&mut Table, &mut Step<'_>) -> T,
    ) -> Result<(T, Micros)> {
        let peers = Peers::new(&self.folder, self.session, &self.met);
        let mut after = After::default();
        let locked = Locked(shard);
        let done = self.step(number, locked.0, touches, &peers, &mut after, verb);
        drop(locked);
        if done.is_ok() {
            for (session, ticket, grant) in after.handed {
                self.tell_of(&peers, session, ticket, grant);
            }
            points::here("handed over");
            for (session, ticket, token, loss) in after.lost {
                if session == self.session {
                    self.hub.tell(ticket, Wake::Lost(token, loss));
                } else {
                    peers.tell(session, &Message::Lost(ticket, token, loss.into()));
                }
            }
            for id in after.unreferenced {
                results::remove(&self.folder, id);
            }
        }
        done
    }

    fn step<T>(
        &self,
        number: u16,
        shard: &mut Shard,
        touches: &Touches,
        peers: &Peers<'_>,
        after: &mut After,
        verb: impl FnOnce(&mut Table, &mut Step<'_>) -> T,
    ) -> Result<(T, Micros)> {
        let mut content = shard.load()?;
        points::here("shard read");
        let now = self.clock.now();
        let mut step = Step::new(now, peers);
        let (last, told, heard) = (content.table.last, content.events, content.listeners);
        let (keys, listeners) = match touches {
            Touches::Nothing => {
                let answer = verb(&mut content.table, &mut step);
                shard.keep(content);
                return Ok((answer, now));
            }
            Touches::Keys(keys) => (&keys[..], heard),
            Touches::Listeners => (&[][..], heard + 1),
        };
        let before: Vec<Before> = keys.iter().map(|key| Before::of(content.table.keys.get(key))).collect();
        let answer = verb(&mut content.table, &mut step);
        let mut looks = Vec::new();
        let mut events = Vec::new();
        // Whoever is first in line watches a holder whose lease ends with its session: should this one end before it
        // has told of the hand-over, the system tells. So that can wait until the lock is given back, and nobody is
        // woken only to wait for it.
        let watched = keys.len() == 1 && before.iter().any(|before| before.is_held_by(self.session));
        for effect in step.effects {
            match effect {
                Effect::Wake(session, ticket, Wake::Granted(grant)) if watched => {
                    after.handed.push((session, ticket, grant));
                }
                Effect::Wake(session, ticket, Wake::Lost(token, loss)) => {
                    after.lost.push((session, ticket, token, loss));
                }
                Effect::Wake(session, ticket, _) => looks.push((session, ticket)),
                Effect::Event(event) => events.push(event),
            }
        }
        // Of any key here: a key that nobody asks for again would keep its result for ever.
        let dropped = content.drop_old_results(now);
        let mut delta = Delta::new(&content.table, told + events.len() as u64, listeners);
        for (key, before) in keys.iter().zip(&before) {
            let state = content.table.keys.get(key);
            let moves: Vec<Move> = step.moves.extract_if(.., |step| step.key() == key).collect();
            looks.extend(before.looks(state, &moves, |session| peers.gone(session)));
            let was = before.done().and_then(aside);
            let is = state.and_then(|state| state.done.as_ref()).and_then(aside);
            after.unreferenced.extend(was.filter(|_| is != was));
            delta.add(&content.table, key, before, &moves);
        }
        for (key, done) in &dropped {
            after.unreferenced.extend(aside(done));
            if !keys.contains(key) {
                delta.drop_result(&content.table, key);
            }
        }
        delta.results().for_each(|done| content.drops_at(done));
        if delta.is_nothing(last, told, heard) {
            shard.keep(content);
            return Ok((answer, now));
        }
        let wake = |core: &Self| {
            looks.into_iter().for_each(|(session, ticket)| core.tell_to_look(peers, session, ticket))
        };
        self.commit(number, shard, content, &delta, events, wake)?;
        Ok((answer, now))
    }

    fn tell_to_look(&self, peers: &Peers<'_>, session: Session, ticket: Ticket) {
        if session == self.session {
            self.hub.tell(ticket, Wake::Look);
        } else {
            peers.tell(session, &Message::Look(ticket));
        }
    }

    /// Tells who holds a key now. It is committed, so the new holder can begin at once: its first renewal confirms it. A
    /// loss that is told by a later step may overtake this; the keeper knows it by its token.
    fn tell_of(&self, peers: &Peers<'_>, session: Session, ticket: Ticket, grant: Grant) {
        if session == self.session {
            self.hub.tell(ticket, Wake::Granted(grant));
        } else {
            peers.tell(session, &Message::Granted(ticket, grant));
        }
    }

    fn commit(
        &self,
        number: u16,
        shard: &mut Shard,
        content: Box<Content>,
        delta: &Delta<'_>,
        events: Vec<Event>,
        wake: impl FnOnce(&Self),
    ) -> Result<()> {
        let told = content.events;
        // A wake-up is only a hint to look, and whoever looks waits for this lock. So where nobody would notice the end
        // of this process it is sent before the commit: a kill in between costs a look in vain, while one after the
        // commit would leave a new holder that has not heard of it.
        wake(self);
        points::here("woken");
        shard.commit(content, delta)?;
        if !events.is_empty() {
            let anew = shard.has_new_listeners(delta.listeners);
            self.subscribers.tell(&self.folder, anew, number, told, events);
            points::here("told");
        }
        Ok(())
    }
}

/// A locked shard: whatever happens, the lock is given back.
struct Locked<'a>(&'a mut Shard);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// What is done once a transaction is committed and its lock returned.
#[derive(Debug, Default)]
struct After {
    /// Who holds a key now that this session has held.
    handed: Vec<(Session, Ticket, Grant)>,
    lost: Vec<(Session, Ticket, FencingToken, Loss)>,
    unreferenced: Vec<Ticket>,
}

/// The file of a result, if it has one.
fn aside(done: &Done) -> Option<Ticket> {
    aside_of(&done.body)
}

pub(super) fn aside_of(body: &Body) -> Option<Ticket> {
    match body {
        Body::Aside { id, .. } => Some(*id),
        Body::Inline(_) => None,
    }
}
