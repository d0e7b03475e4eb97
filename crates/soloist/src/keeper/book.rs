//! The book of a client: what is held, what is asked for, what is to be cleaned up. Owners write in it
//! themselves; the keeper is woken only when that is due before it looks again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::batch::Batch;
use super::cleanup::{Abandoned, Chore};
use super::renewals::{Asking, Due, Renewals};
use crate::by_ticket::{self, ByTicket};
use crate::clock::Moment;
use crate::error::{Error, Loss, Result};
use crate::kept::{Kept, SUSPEND_CHECK};
use crate::name::{FencingToken, Key, Ticket};
use crate::protocol::Ttl;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, Notify};

#[cfg(soloist_shuttle)]
pub mod interleavings;

/// How long the keeper sleeps when nothing is held.
const IDLE: Duration = Duration::from_secs(3600);

/// The book, shared by a client, its leases and its keeper.
#[derive(Debug)]
pub(super) struct Book {
    page: Mutex<Page>,
    /// Wakes the keeper.
    woken: Notify,
    closed: AtomicBool,
    /// Tells requests under way that the client is closed.
    closing: Notify,
}

#[derive(Debug)]
struct Page {
    renewals: Renewals,
    /// The requests under way.
    places: ByTicket<Place>,
    /// What is to be cleaned up, numbered in the order in which it was asked for.
    chores: VecDeque<(u64, Chore)>,
    under_way: BTreeSet<u64>,
    asked: u64,
    /// Who waits until every clean-up up to that number is done.
    flushes: Vec<(u64, oneshot::Sender<()>)>,
    /// Until when the keeper sleeps.
    sleeps_until: Moment,
    /// Whether anything was held since it last looked.
    busy: bool,
    /// Whether anybody may still write in the book.
    open: bool,
    /// Whether the keeper is gone, with the runtime that it lived on.
    dead: bool,
}

/// Small, for there may be very many who wait.
#[derive(Debug)]
struct Place {
    key: Key,
    ttl: Ttl,
    /// A loss that was told before its grant: the message can overtake it.
    lost: Option<Box<(FencingToken, Loss)>>,
}

/// What the keeper finds to do.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) due: Due,
    pub(super) chores: Vec<(u64, Chore)>,
    pub(super) closing: bool,
    /// How long it may sleep if nothing else happens.
    pub(super) pause: Duration,
    /// Whether it has nothing to do any more, ever.
    pub(super) end: bool,
}

impl Book {
    pub(super) fn new() -> Self {
        let page = Page {
            renewals: Renewals::default(),
            places: ByTicket::default(),
            chores: VecDeque::new(),
            under_way: BTreeSet::new(),
            asked: 0,
            flushes: Vec::new(),
            sleeps_until: Moment::now(),
            busy: false,
            open: true,
            dead: false,
        };
        let (closed, closing) = (AtomicBool::new(false), Notify::new());
        Book { page: Mutex::new(page), woken: Notify::new(), closed, closing }
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        // Nothing panics while it is held, and it is whole at every step.
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down a request before its first byte is sent.
    pub(super) fn place(&self, request: Abandoned) -> Result<()> {
        let mut page = self.page();
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let Abandoned { key, ticket, ttl, .. } = request;
        page.places.entry(ticket).or_insert(Place { key, ttl, lost: None });
        Ok(())
    }

    /// The request was answered, and holds nothing.
    pub(super) fn unplace(&self, ticket: Ticket) {
        by_ticket::take(&mut self.page().places, ticket);
    }

    /// Keeps a lease that was granted.
    pub(super) fn hold(&self, kept: &Arc<Kept>) -> Result<()> {
        let mut page = self.page();
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let place = by_ticket::take(&mut page.places, kept.ticket);
        // Invariant: a message about an earlier grant of the same request never ends a later one.
        let lost = place.and_then(|place| place.lost).filter(|lost| lost.0 == kept.token);
        if let Some(lost) = lost {
            drop(page);
            kept.lose(lost.1);
            return Ok(());
        }
        // By when it was granted: a little earlier than now, if at all.
        let time = page.renewals.add(Arc::clone(kept), kept.since);
        page.busy = true;
        self.wake_by(page, time);
        Ok(())
    }

    /// Plans a lease anew whose ttl was changed.
    pub(super) fn plan_anew(&self, ticket: Ticket) {
        let now = Moment::now();
        let mut page = self.page();
        let time = page.renewals.plan_anew(ticket, now);
        self.wake_by(page, time);
    }

    /// Its owner has ended it.
    pub(super) fn stop(&self, ticket: Ticket) {
        let stopped = self.page().renewals.remove(ticket);
        drop(stopped);
    }

    /// It was lost: its owner is told.
    pub(super) fn lost(&self, ticket: Ticket, loss: Loss) {
        let kept = self.page().renewals.remove(ticket);
        if let Some(kept) = kept {
            kept.lose(loss);
        }
    }

    /// The store says that the lease of this token was lost; another of the same request is not.
    pub(super) fn told_lost(&self, ticket: Ticket, token: FencingToken, loss: Loss) {
        let mut page = self.page();
        let kept = match page.renewals.get(ticket) {
            Some(kept) if kept.token == token => page.renewals.remove(ticket),
            _ => None,
        };
        if let Some(place) = page.places.get_mut(&ticket) {
            place.lost = Some(Box::new((token, loss.clone())));
        }
        drop(page);
        if let Some(kept) = kept {
            kept.lose(loss);
        }
    }

    /// Its owner has dropped it: to be released.
    pub(super) fn release(&self, kept: &Arc<Kept>) {
        let mut page = self.page();
        page.renewals.remove(kept.ticket);
        page.ask(Chore::Release(Arc::clone(kept)));
        self.wake(page);
    }

    /// A request was abandoned: to be left.
    pub(super) fn leave(&self, mut request: Abandoned) {
        let mut page = self.page();
        let known = by_ticket::take(&mut page.places, request.ticket).is_some();
        // The end of the client has left it already, and waits for what is unanswered.
        request.unanswered &= known;
        page.ask(Chore::Leave(request));
        self.wake(page);
    }

    /// Whether the client is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Resolves when the client is closed. Cancel safe.
    pub(super) async fn closing(&self) {
        // Made before the look: whatever is told to all after that wakes it.
        let told = self.closing.notified();
        if !self.is_closed() {
            told.await;
        }
    }

    /// Nothing is held and nothing asked for from now on: every lease and every request ends. Owners are told
    /// first, so that their work stops before the next holder's may begin.
    pub(super) fn close(&self) {
        let mut page = self.page();
        self.closed.store(true, Ordering::Release);
        let held = page.renewals.take_all();
        let places = std::mem::take(&mut page.places);
        drop(page);
        self.closing.notify_waiters();
        let held: Vec<_> = held.into_iter().filter(|kept| kept.loss().is_none()).collect();
        held.iter().for_each(|kept| kept.lose(Loss::Released));
        let mut page = self.page();
        held.into_iter().for_each(|kept| page.ask(Chore::End(kept)));
        for (ticket, Place { key, ttl, .. }) in by_ticket::in_order(places) {
            page.ask(Chore::Leave(Abandoned { key, ticket, ttl, unanswered: true }));
        }
        self.wake(page);
    }

    /// Resolves when all that was asked for before is done.
    pub(super) fn flush(&self) -> oneshot::Receiver<()> {
        let (done, flushed) = oneshot::channel();
        let mut page = self.page();
        if !page.dead {
            let asked = page.asked;
            page.flushes.push((asked, done));
        }
        self.wake(page);
        flushed
    }

    /// Nobody writes in the book any more.
    pub(super) fn end(&self) {
        let mut page = self.page();
        page.open = false;
        self.wake(page);
    }

    /// The keeper is gone: nothing that is asked for is done any more.
    pub(super) fn abandon(&self) {
        let mut page = self.page();
        page.dead = true;
        let forgotten = (std::mem::take(&mut page.flushes), std::mem::take(&mut page.chores));
        drop(page);
        drop(forgotten);
    }

    /// Resolves when the keeper is to look.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// What there is to do, with room for so much of it.
    pub(super) fn turn(&self, renewals: usize, cleanups: usize) -> Turn {
        let now = Moment::now();
        let mut page = self.page();
        let due = page.renewals.due(now, renewals);
        let count = page.chores.len().min(cleanups);
        let chores: Vec<_> = page.chores.drain(..count).collect();
        if page.chores.is_empty() {
            // What many drops at once took is not kept for ever.
            page.chores.shrink_to(64);
        }
        page.under_way.extend(chores.iter().map(|(number, _)| *number));
        let flushed = page.flushed();
        let awake = page.busy || !page.renewals.is_empty();
        page.busy = false;
        let longest = if awake { SUSPEND_CHECK } else { IDLE };
        let pause = page.renewals.next_time().map_or(longest, |time| time.since(now).min(longest));
        let pause = if due.more { Duration::ZERO } else { pause };
        page.sleeps_until = now.after(pause);
        let end = !page.open && page.chores.is_empty() && page.under_way.is_empty();
        drop(page);
        for done in flushed {
            // An error means that nobody waits for it any more.
            let _ = done.send(());
        }
        Turn { due, chores, closing: self.is_closed(), pause, end }
    }

    /// Takes the answers to a question in.
    pub(super) fn apply(&self, batch: Batch) {
        let of = Asking { number: batch.number, count: batch.len(), sent: batch.sent() };
        let fates = batch.fates();
        let now = Moment::now();
        let mut page = self.page();
        let apply = |(kept, fate)| page.renewals.apply(&kept, fate, &of, now).map(|loss| (kept, loss));
        let lost: Vec<_> = fates.into_iter().filter_map(apply).collect();
        drop(page);
        lost.into_iter().for_each(|(kept, loss): (Arc<Kept>, Loss)| kept.lose(loss));
    }

    /// The leases that are kept, in order.
    pub(super) fn all(&self) -> Vec<Ticket> {
        self.page().renewals.all()
    }

    /// Has these asked about, as far as they are still kept.
    pub(super) fn all_due(&self, some: &[Ticket]) {
        self.page().renewals.all_due(some, Moment::now());
    }

    /// A clean-up is done.
    pub(super) fn done(&self, number: u64) {
        self.page().under_way.remove(&number);
    }

    fn wake(&self, page: MutexGuard<'_, Page>) {
        drop(page);
        self.woken.notify_one();
    }

    /// Wakes the keeper if it sleeps for longer than until then.
    fn wake_by(&self, page: MutexGuard<'_, Page>, time: Option<Moment>) {
        let sooner = time.is_some_and(|time| time < page.sleeps_until);
        // An idle keeper has to look now and then again, for a suspend that no timer notices.
        if sooner {
            self.wake(page);
        }
    }
}

impl Page {
    fn ask(&mut self, chore: Chore) {
        // What nobody does is not kept.
        if !self.dead {
            self.asked += 1;
            self.chores.push_back((self.asked, chore));
        }
    }

    /// Whose clean-ups are all done. Those that were asked for later do not keep him waiting.
    fn flushed(&mut self) -> Vec<oneshot::Sender<()>> {
        let (waiting, running) = (self.chores.front().map(|(number, _)| *number), self.under_way.first());
        let first = waiting.into_iter().chain(running.copied()).min().unwrap_or(u64::MAX);
        self.flushes.extract_if(.., |(number, _)| *number < first).map(|(_, done)| done).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;

    use super::*;
    use crate::name::Holder;

    fn request(ticket: u128) -> Abandoned {
        let (key, ticket) = (Key::new("k").unwrap(), Ticket::from_u128(ticket));
        Abandoned { key, ticket, ttl: Ttl::Micros(30_000_000), unanswered: true }
    }

    fn lease(ticket: u128, token: u64, ttl: Duration) -> Arc<Kept> {
        let (key, holder) = (Key::new("k").unwrap(), Holder::new("h").unwrap());
        let (ticket, now) = (Ticket::from_u128(ticket), Moment::now());
        let life = (now, Some(now.after(ttl)));
        Arc::new(Kept::new((key, ticket), FencingToken(token), holder, Ttl::new(ttl), life))
    }

    fn is_woken(book: &Book) -> bool {
        book.woken().now_or_never().is_some()
    }

    #[test]
    fn the_keeper_sleeps_through_a_lock_and_its_release() {
        let book = Book::new();
        book.turn(1, 1);
        let long = lease(1, 1, Duration::from_secs(30));
        book.place(request(1)).unwrap();
        book.hold(&long).unwrap();
        assert!(is_woken(&book), "it slept for long, and now looks each second");
        for n in 2..100 {
            let turn = book.turn(1, 1);
            assert!(turn.pause <= SUSPEND_CHECK && turn.due.batches.is_empty());
            book.place(request(n)).unwrap();
            book.hold(&lease(n, 1, Duration::from_secs(30))).unwrap();
            book.stop(Ticket::from_u128(n));
            assert!(!is_woken(&book));
        }
        book.hold(&lease(100, 1, Duration::from_millis(30))).unwrap();
        assert!(is_woken(&book), "it is due before the next look");
        book.turn(1, 1);
        book.release(&long);
        assert!(is_woken(&book), "there is something to do");
    }

    #[test]
    fn a_message_about_an_earlier_grant_does_not_end_a_later_one() {
        let book = Book::new();
        let (old, new) = (FencingToken(1), FencingToken(2));
        book.place(request(1)).unwrap();
        book.told_lost(Ticket::from_u128(1), old, Loss::Released);
        let kept = lease(1, new.0, Duration::from_secs(30));
        book.hold(&kept).unwrap();
        assert_eq!(kept.loss(), None, "told before its grant was heard");
        book.told_lost(Ticket::from_u128(1), old, Loss::Released);
        assert_eq!(kept.loss(), None, "told after it was heard");
        book.told_lost(Ticket::from_u128(1), new, Loss::Released);
        assert_eq!(kept.loss(), Some(Loss::Released));
    }

    #[test]
    fn a_message_that_overtakes_its_own_grant_ends_it() {
        let book = Book::new();
        book.place(request(1)).unwrap();
        book.told_lost(Ticket::from_u128(1), FencingToken(1), Loss::Released);
        let kept = lease(1, 1, Duration::from_secs(30));
        book.hold(&kept).unwrap();
        assert_eq!(kept.loss(), Some(Loss::Released));
    }

    #[test]
    fn a_closed_book_takes_nothing_and_leaves_all() {
        let book = Book::new();
        let kept = lease(1, 1, Duration::from_secs(30));
        book.hold(&kept).unwrap();
        book.place(request(2)).unwrap();
        book.close();
        assert_eq!(kept.loss(), Some(Loss::Released));
        let turn = book.turn(9, 9);
        assert!(matches!(turn.chores[..], [(1, Chore::End(_)), (2, Chore::Leave(_))]), "{turn:?}");
        assert!(matches!(book.place(request(3)), Err(Error::Closed)));
        assert!(matches!(book.hold(&lease(2, 1, Duration::from_secs(30))), Err(Error::Closed)));
        assert!(book.closing().now_or_never().is_some());
        // The request's own end comes after that: what is unanswered is waited for once.
        book.leave(request(2));
        let chores = book.turn(9, 9).chores;
        assert!(
            matches!(&chores[..], [(3, Chore::Leave(Abandoned { unanswered: false, .. }))]),
            "{chores:?}"
        );
    }

    #[test]
    fn a_flush_waits_for_what_was_asked_for_before_it_only() {
        let book = Book::new();
        book.leave(request(1));
        let mut flush = book.flush();
        book.leave(request(2));
        let chores = book.turn(0, 1).chores;
        assert_eq!(chores.len(), 1);
        book.turn(0, 0);
        assert!(flush.try_recv().is_err(), "it is under way");
        book.done(1);
        book.turn(0, 0);
        assert_eq!(flush.try_recv(), Ok(()));
        // And when nobody does anything any more, nobody waits.
        let flush = book.flush();
        book.abandon();
        assert!(flush.now_or_never().unwrap().is_err());
        assert!(book.flush().now_or_never().unwrap().is_err());
    }
}
