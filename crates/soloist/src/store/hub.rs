//! Where a store's wake-ups find the task that waits for them.

use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError};

use tokio::sync::broadcast;

use super::Notice;
use crate::by_ticket::{self, ByTicket};
use crate::name::{Key, Ticket};
use crate::protocol::Wake;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, Notify};

#[cfg(soloist_shuttle)]
pub mod interleavings;

/// The tickets of one session that stand in line, and what they were told.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    notices: broadcast::Sender<Notice>,
}

#[derive(Debug, Default)]
struct State {
    slots: ByTicket<Listed>,
    closed: bool,
}

/// A ticket that is listened for.
#[derive(Debug)]
struct Listed {
    key: Key,
    /// There once it was told something or somebody waits: most requests are served before either is so.
    slot: Option<Arc<Slot>>,
}

impl Listed {
    fn new(key: &Key) -> Self {
        Listed { key: key.clone(), slot: None }
    }

    /// Where it is told.
    fn slot(&mut self) -> &Arc<Slot> {
        self.slot.get_or_insert_default()
    }

    fn last_place(&self) -> LastPlace {
        self.slot.as_ref().map_or(LastPlace::Somewhere, |slot| slot.last_place())
    }
}

/// Where a ticket stood in line when last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastPlace {
    /// It may stand anywhere.
    Somewhere,
    /// Here, from 1, or further to the front.
    At(u64),
}

/// What one ticket was told and has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Where it stood in line when last seen, from 1; 0 is not known.
    place: AtomicU64,
    /// In a box: for nearly all of their time they were told nothing.
    told: Mutex<Option<Box<Wake>>>,
    notify: Notify,
}

impl Slot {
    fn last_place(&self) -> LastPlace {
        match self.place.load(Ordering::Relaxed) {
            0 => LastPlace::Somewhere,
            place => LastPlace::At(place),
        }
    }

    /// The next thing told. Cancel safe: what was told stays until it is returned.
    pub(super) async fn told(&self) -> Wake {
        loop {
            if let Some(wake) = lock(&self.told).take() {
                return *wake;
            }
            self.notify.notified().await;
        }
    }

    /// Marks that a hint to look is being followed. Dropped unfinished, it puts the hint back: on some stores
    /// the hint is all that is ever told of a grant, and whoever waits next must find it.
    pub(super) fn look(&self) -> Looking<'_> {
        Looking(Some(self))
    }

    fn tell(&self, wake: Wake) {
        let mut told = lock(&self.told);
        // A grant or result is not overwritten by the hint to look, which it answers.
        if wake != Wake::Look || told.is_none() {
            *told = Some(Box::new(wake));
        }
        drop(told);
        self.notify.notify_one();
    }
}

/// A hint to look that is being followed.
#[derive(Debug)]
pub(super) struct Looking<'a>(Option<&'a Slot>);

impl Looking<'_> {
    /// The look was had.
    pub(super) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.tell(Wake::Look);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held, and the state is whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(super) fn new() -> Self {
        Hub { state: Mutex::default(), notices: broadcast::channel(1024).0 }
    }

    /// Listens for a ticket, which stands in line for `key`. To be called before the request is sent, or the
    /// answer may come first. `None` after [`Hub::close`].
    pub(super) fn listen(&self, ticket: Ticket, key: &Key) -> Option<Arc<Slot>> {
        let mut state = lock(&self.state);
        let listed = || Listed::new(key);
        (!state.closed).then(|| Arc::clone(state.slots.entry(ticket).or_insert_with(listed).slot()))
    }

    /// Listens for a ticket, and answers where it may stand in line already: `None` if it was not listened for. An
    /// outer `None` after [`Hub::close`].
    pub(super) fn listen_on(&self, ticket: Ticket, key: &Key) -> Option<Option<LastPlace>> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        Some(match state.slots.entry(ticket) {
            Entry::Occupied(slot) => Some(slot.get().last_place()),
            Entry::Vacant(free) => {
                free.insert(Listed::new(key));
                None
            }
        })
    }

    /// Where a ticket may stand in line already: `None` if it is not listened for.
    pub(super) fn place(&self, ticket: Ticket) -> Option<LastPlace> {
        lock(&self.state).slots.get(&ticket).map(Listed::last_place)
    }

    /// Remembers where a ticket stands in line, to be found there sooner.
    pub(super) fn stands_at(&self, ticket: Ticket, place: u64) {
        if let Some(listed) = lock(&self.state).slots.get_mut(&ticket) {
            listed.slot().place.store(place, Ordering::Relaxed);
        }
    }

    /// Stops listening for a ticket that was served or has left. Answers where it may have stood.
    pub(super) fn forget(&self, ticket: Ticket) -> Option<LastPlace> {
        by_ticket::take(&mut lock(&self.state).slots, ticket).map(|listed| listed.last_place())
    }

    /// Delivers what the store says to a ticket of this session. A message for a ticket that nobody listens
    /// for any more is late: a check has already recovered what it says, or leaving has undone it.
    pub(super) fn tell(&self, ticket: Ticket, wake: Wake) {
        if let Wake::Lost(token, loss) = wake {
            self.notice(Notice::Lost(ticket, token, loss));
            return;
        }
        let slot = lock(&self.state).slots.get_mut(&ticket).map(|listed| Arc::clone(listed.slot()));
        if let Some(slot) = slot {
            slot.tell(wake);
        }
    }

    /// Makes every waiter ask again, and every holder's keeper too if `holders`: messages were lost.
    pub(super) fn look_all(&self, holders: bool) {
        self.look_at(|_| true);
        if holders {
            self.notice(Notice::AskAgain);
        }
    }

    /// Makes those waiters ask again whose key is meant: messages for them were lost.
    pub(super) fn look_at(&self, is_meant: impl Fn(&Key) -> bool) {
        let mut state = lock(&self.state);
        let meant = state.slots.iter_mut().filter(|(_, listed)| is_meant(&listed.key));
        let mut slots: Vec<_> = meant.map(|(ticket, listed)| (*ticket, Arc::clone(listed.slot()))).collect();
        drop(state);
        slots.sort_unstable_by_key(|(ticket, _)| *ticket);
        for (_, slot) in slots {
            slot.tell(Wake::Look);
        }
    }

    /// Makes every holder's keeper ask: what they were told may have been lost.
    pub(super) fn ask_again(&self) {
        self.notice(Notice::AskAgain);
    }

    /// Wakes all waiters for the last time: `listen` answers `None` from now on. Every holder's keeper asks
    /// too, and hears that the store is closed: several clients may share it. Answers who still listened, and where
    /// it may stand.
    pub(super) fn close(&self) -> Vec<(Key, Ticket, LastPlace)> {
        lock(&self.state).closed = true;
        self.look_all(true);
        let slots = std::mem::take(&mut lock(&self.state).slots);
        let slots = by_ticket::in_order(slots).into_iter();
        slots
            .map(|(ticket, listed)| {
                let place = listed.last_place();
                (listed.key, ticket, place)
            })
            .collect()
    }

    /// How many tickets are listened for.
    #[cfg(feature = "testing")]
    pub(super) fn listening(&self) -> usize {
        lock(&self.state).slots.len()
    }

    pub(super) fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    fn notice(&self, notice: Notice) {
        // An error means that no keeper listens.
        let _ = self.notices.send(notice);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::error::Loss;
    use crate::name::FencingToken;
    use crate::protocol::{Grant, Ttl};
    use crate::testing::orders::{Actor, Ended, every_order, step};

    fn key() -> Key {
        Key::new("k").unwrap()
    }

    fn granted() -> Wake {
        Wake::Granted(Grant { token: FencingToken(7), tokens: 1, from: 1, ttl: Ttl::Forever })
    }

    async fn told(slot: &Slot) -> Wake {
        tokio::time::timeout(Duration::from_secs(20), slot.told()).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_told_before_the_wait_is_found() {
        let (hub, ticket) = (Hub::new(), Ticket::mint());
        hub.listen(ticket, &key()).unwrap();
        hub.tell(ticket, granted());
        assert_eq!(told(&hub.listen(ticket, &key()).unwrap()).await, granted());
    }

    #[tokio::test]
    async fn what_is_told_during_the_wait_ends_it() {
        let (hub, ticket) = (Hub::new(), Ticket::mint());
        let slot = hub.listen(ticket, &key()).unwrap();
        let mut waiting = Box::pin(slot.told());
        assert!(waiting.as_mut().now_or_never().is_none());
        hub.tell(ticket, granted());
        assert_eq!(waiting.now_or_never(), Some(granted()));
        // It is told once: what is left of the first message wakes nobody a second time.
        assert!(slot.told().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_dropped_wait_loses_nothing() {
        let (hub, ticket) = (Hub::new(), Ticket::mint());
        let slot = hub.listen(ticket, &key()).unwrap();
        let mut dropped = Box::pin(slot.told());
        assert!(dropped.as_mut().now_or_never().is_none());
        hub.tell(ticket, granted());
        drop(dropped);
        assert_eq!(told(&slot).await, granted());
    }

    #[tokio::test]
    async fn a_hint_does_not_overwrite_a_grant_but_a_grant_a_hint() {
        let (hub, ticket) = (Hub::new(), Ticket::mint());
        let slot = hub.listen(ticket, &key()).unwrap();
        hub.tell(ticket, granted());
        hub.look_all(false);
        assert_eq!(told(&slot).await, granted());
        hub.look_all(false);
        hub.tell(ticket, granted());
        assert_eq!(told(&slot).await, granted());
    }

    #[tokio::test]
    async fn a_look_that_was_dropped_is_had_again() {
        let (hub, ticket) = (Hub::new(), Ticket::mint());
        let slot = hub.listen(ticket, &key()).unwrap();
        drop(slot.look());
        assert_eq!(told(&slot).await, Wake::Look);
        slot.look().done();
        assert!(slot.told().now_or_never().is_none());
    }

    /// Follows a hint as a store does that tells nothing but hints: the look itself takes a while.
    async fn follows(slot: &Slot, granted: &AtomicBool) {
        loop {
            slot.told().await;
            let look = slot.look();
            step().await;
            let found = granted.load(Ordering::SeqCst);
            look.done();
            if found {
                return;
            }
        }
    }

    #[test]
    fn in_no_order_is_a_hint_lost_that_somebody_needs() {
        let orders = every_order(|| {
            let (hub, ticket, granted) =
                (Arc::new(Hub::new()), Ticket::mint(), Arc::new(AtomicBool::new(false)));
            let slot = hub.listen(ticket, &key()).unwrap();
            let baton = Arc::new(tokio::sync::Semaphore::new(1));
            let waits = || {
                let (slot, granted, baton) = (Arc::clone(&slot), Arc::clone(&granted), Arc::clone(&baton));
                async move {
                    let _turn = baton.acquire().await.unwrap();
                    follows(&slot, &granted).await;
                }
            };
            // Two that are dropped on their way, and one that goes on with the place.
            let mut actors = vec![Actor::dropped_anywhere(waits()), Actor::dropped_anywhere(waits())];
            actors.push(Actor::new(waits()));
            actors.push(Actor::new(async move {
                hub.tell(ticket, Wake::Look);
                granted.store(true, Ordering::SeqCst);
                hub.tell(ticket, Wake::Look);
            }));
            // Each that finds it passes the place on as it is: a hint is there for one only.
            (actors, |ends: &[Ended]| {
                let served = ends[..3].contains(&Ended::Finished);
                assert!(served, "granted, and nobody knows: {ends:?}");
            })
        });
        assert!(orders > 100, "{orders}");
    }

    #[test]
    fn in_no_order_is_a_grant_lost() {
        let orders = every_order(|| {
            let (hub, ticket) = (Arc::new(Hub::new()), Ticket::mint());
            let slot = hub.listen(ticket, &key()).unwrap();
            let (again, hints) = (Arc::clone(&slot), Arc::clone(&hub));
            let hint = || Wake::Look;
            let dropped = Actor::dropped_anywhere(async move { while slot.told().await == hint() {} });
            let after = Actor::new(async move { while again.told().await == hint() {} });
            let hinting = Actor::new(async move {
                hints.look_all(false);
                step().await;
                hints.look_all(false);
            });
            let granting = Actor::new(async move { hub.tell(ticket, granted()) });
            (vec![dropped, after, hinting, granting], |ends: &[Ended]| {
                let served = ends[..2].contains(&Ended::Finished);
                assert!(served, "granted, and nobody knows: {ends:?}");
            })
        });
        assert!(orders > 100, "{orders}");
    }

    #[tokio::test]
    async fn close_wakes_who_waits_and_lets_nobody_listen_again() {
        let (hub, ticket) = (Arc::new(Hub::new()), Ticket::mint());
        let slot = hub.listen(ticket, &key()).unwrap();
        let waiting = tokio::spawn(async move { told(&slot).await });
        assert_eq!(hub.close(), vec![(key(), ticket, LastPlace::Somewhere)]);
        assert_eq!(waiting.await.unwrap(), Wake::Look);
        assert!(hub.listen(ticket, &key()).is_none());
        hub.tell(ticket, granted());
    }

    #[tokio::test]
    async fn a_loss_is_a_notice_and_no_wake_up() {
        let (hub, ticket) = (Hub::new(), Ticket::mint());
        let (slot, mut notices) = (hub.listen(ticket, &key()).unwrap(), hub.notices());
        hub.tell(ticket, Wake::Lost(FencingToken(7), Loss::Released));
        assert_eq!(notices.try_recv().unwrap(), Notice::Lost(ticket, FencingToken(7), Loss::Released));
        assert!(slot.told().now_or_never().is_none());
    }
}
