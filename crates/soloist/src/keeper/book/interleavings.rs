//! Owners and a keeper, each on a thread, with one book.
#![allow(clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use shuttle::future::block_on;

use super::*;
use crate::clock::driven;
use crate::interleavings::{Thread, both, ended, holder, key, one_of, thread};
use crate::protocol::{Renewed, Ttl};
use crate::sync::pass;

const TTLS: [Duration; 3] = [Duration::from_millis(60), Duration::from_secs(3), Duration::from_secs(60)];
const TOKEN: FencingToken = FencingToken(1);

fn any_ttl() -> Duration {
    TTLS[one_of(3) as usize]
}

fn lease(ticket: Ticket, ttl: Duration) -> Arc<Kept> {
    let now = Moment::now();
    Arc::new(Kept::new((key(), ticket), TOKEN, holder(), Ttl::new(ttl), (now, Some(now.after(ttl)))))
}

fn request(ticket: Ticket) -> Abandoned {
    Abandoned { key: key(), ticket, ttl: Ttl::new(TTLS[2]), unanswered: true }
}

/// The chores that were carried out.
#[derive(Default)]
struct Ended(std::sync::Mutex<BTreeSet<Ticket>>);

impl Ended {
    fn take(&self, chore: &Chore) {
        let ticket = match chore {
            Chore::Release(kept) | Chore::End(kept) => kept.ticket,
            Chore::Leave(abandoned) => abandoned.ticket,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket);
    }

    fn has(&self, ticket: Ticket) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&ticket)
    }
}

/// What the keeper has under way.
enum Job {
    Renewal(Batch),
    Cleanup(u64, Chore),
}

/// A keeper as `keeper::run` is one: it looks, has done what it found, one by one, and sleeps.
struct Keeps {
    book: Arc<Book>,
    ended: Arc<Ended>,
    jobs: Vec<Job>,
}

impl Keeps {
    fn new(book: &Arc<Book>, ended: &Arc<Ended>) -> Self {
        Keeps { book: Arc::clone(book), ended: Arc::clone(ended), jobs: Vec::new() }
    }

    /// Looks. Answers until when it sleeps, unless it is woken; `None`: it ends.
    fn turns(&mut self) -> Option<Moment> {
        loop {
            let before = Moment::now();
            let turn = self.book.turn(16, 64);
            if turn.end {
                return None;
            }
            self.jobs.extend(turn.due.batches.into_iter().map(Job::Renewal));
            self.jobs.extend(turn.chores.into_iter().map(|(number, chore)| Job::Cleanup(number, chore)));
            if self.jobs.is_empty() {
                return Some(before.after(turn.pause));
            }
            match self.jobs.swap_remove(one_of(self.jobs.len() as u64) as usize) {
                Job::Renewal(batch) => {
                    let answers = vec![Renewed::Renewed { token: TOKEN, deadline: None }; batch.len()];
                    self.book.apply(batch.answered(Ok(answers)));
                }
                Job::Cleanup(number, chore) => {
                    self.ended.take(&chore);
                    pass();
                    self.book.done(number);
                }
            }
        }
    }

    /// Keeps until it ends, or until all is `over` and it sleeps: then answers until when.
    fn keeps(&mut self, over: &Notify) -> Option<Moment> {
        loop {
            let until = self.turns()?;
            let is_over = block_on(async {
                let (woken, over) = (std::pin::pin!(self.book.woken()), std::pin::pin!(over.notified()));
                matches!(select(woken, over).await, Either::Right(_))
            });
            // Whoever woke it between the two is heard first.
            if is_over && self.book.woken().now_or_never().is_none() {
                return Some(until);
            } else if is_over {
                over.notify_one();
            }
        }
    }
}

/// Nobody who still wants something is left alone by a keeper that sleeps until then.
fn check_sleep(book: &Book, until: Moment) {
    let page = book.page();
    let next = page.renewals.next_time();
    assert!(next.is_none_or(|next| next >= until), "due at {next:?}, and the keeper sleeps until {until:?}");
    assert!(
        page.renewals.is_empty() || until <= Moment::now().after(SUSPEND_CHECK),
        "and no suspend is noticed"
    );
    assert!(page.chores.is_empty(), "nobody does what was asked for");
    assert!(page.flushes.is_empty(), "nobody tells that it was done");
}

/// An owner that takes leases and lets go of them. Answers those that it still has.
fn owns(book: &Book, done: &Ended, owner: u128) -> Vec<Arc<Kept>> {
    let mut held = Vec::new();
    for n in 0..2 {
        let ticket = Ticket::from_u128(owner * 100 + n);
        book.place(request(ticket)).expect("it is open");
        if one_of(6) == 0 {
            book.leave(request(ticket));
            block_on(book.flush()).expect("the keeper lives");
            assert!(done.has(ticket), "flushed, and not left");
            continue;
        }
        let kept = lease(ticket, any_ttl());
        book.hold(&kept).expect("it is open");
        match one_of(6) {
            0 => book.stop(ticket),
            1 => {
                book.release(&kept);
                block_on(book.flush()).expect("the keeper lives");
                assert!(done.has(ticket), "flushed, and not released");
            }
            2 => {
                kept.set_ttl(Ttl::new(any_ttl()));
                book.plan_anew(ticket);
                held.push(kept);
            }
            _ => held.push(kept),
        }
    }
    held
}

/// Whoever comes while the keeper looks, or falls asleep, is seen in time.
pub fn no_wake_up_is_lost() {
    let (book, done, over) = (Arc::new(Book::new()), Arc::new(Ended::default()), Arc::new(Notify::new()));
    let owners: Vec<_> = (1..=2)
        .map(|owner| {
            let (book, done) = (Arc::clone(&book), Arc::clone(&done));
            shuttle::thread::spawn(move || owns(&book, &done, owner))
        })
        .collect();
    let time = thread(|| {
        for _ in 0..2 {
            pass();
            driven::sleep(Duration::from_micros(500));
        }
    });
    let mut keeper = Keeps::new(&book, &done);
    let quiet = Arc::clone(&over);
    let keeping = shuttle::thread::spawn(move || (keeper.keeps(&quiet), keeper));
    let held: Vec<_> =
        owners.into_iter().flat_map(|owner| owner.join().expect("it has not panicked")).collect();
    ended([time]);
    over.notify_one();
    let (until, mut keeper) = keeping.join().expect("it has not panicked");
    let mut until = until.expect("it goes on");
    // From here on nobody wakes it: whatever is due is due to be seen when its sleep ends.
    for _ in 0..4 {
        check_sleep(&book, until);
        driven::sleep(until.since(Moment::now()));
        until = keeper.turns().expect("it goes on");
    }
    let now = Moment::now();
    for kept in held {
        assert_eq!(kept.told_loss(), None, "it was kept, and is lost");
        assert!(kept.deadline().is_some_and(|end| end > now), "it was not renewed");
    }
}

/// What a closing book was asked for before is ended, and what comes after it is not kept.
pub fn closing_leaves_nothing_behind() {
    let (book, done) = (Arc::new(Book::new()), Arc::new(Ended::default()));
    let owner = |number: u128| {
        let (book, done) = (Arc::clone(&book), Arc::clone(&done));
        thread(move || closes_in_between(&book, &done, number))
    };
    let mut threads = vec![owner(1), owner(2)];
    let closed = Arc::clone(&book);
    threads.push(thread(move || {
        closed.close();
        block_on(closed.flush()).expect("the keeper lives");
    }));
    let heard = Arc::clone(&book);
    threads.push(thread(move || block_on(heard.closing())));
    let mut keeper = Keeps::new(&book, &done);
    let keeping = thread(move || assert_eq!(keeper.keeps(&Notify::new()), None));
    ended(threads);
    let page = book.page();
    assert!(page.places.is_empty(), "a request outlived its client");
    assert!(page.renewals.is_empty(), "a lease outlived its client");
    drop(page);
    book.end();
    ended([keeping]);
}

fn closes_in_between(book: &Book, done: &Ended, owner: u128) {
    for n in 0..2 {
        let ticket = Ticket::from_u128(owner * 100 + n);
        let closed = book.is_closed();
        if book.place(request(ticket)).is_err() {
            assert!(book.is_closed());
            return;
        }
        assert!(!closed, "placed after the end");
        if one_of(3) == 0 {
            // It is never answered: the end takes it back.
            block_on(book.closing());
            block_on(book.flush()).expect("the keeper lives");
            return;
        }
        let kept = lease(ticket, TTLS[2]);
        let closed = book.is_closed();
        if book.hold(&kept).is_err() {
            // As a place does when it is dropped.
            book.leave(request(ticket));
            block_on(book.flush()).expect("the keeper lives");
            assert!(done.has(ticket), "granted after the end, and not left");
            return;
        }
        assert!(!closed, "granted after the end, and kept");
        block_on(book.closing());
        block_on(kept.told_lost());
        assert_eq!(kept.told_loss(), Some(Loss::Released));
    }
}

/// A loss that is told while its grant is on the way ends the lease, whichever is first.
pub fn a_loss_finds_its_lease() {
    let (book, told) = both(Book::new());
    let ticket = Ticket::from_u128(1);
    book.place(request(ticket)).expect("it is open");
    let losing = thread(move || told.told_lost(ticket, TOKEN, Loss::Gone));
    let kept = lease(ticket, TTLS[2]);
    book.hold(&kept).expect("it is open");
    block_on(kept.told_lost());
    ended([losing]);
    assert_eq!(kept.told_loss(), Some(Loss::Gone));
    assert!(book.page().renewals.is_empty() && book.page().places.is_empty());
}

/// A flush ends, whether the keeper does what was asked for, or dies at some moment.
pub fn a_flush_ends_though_the_keeper_dies() {
    let (book, done) = (Arc::new(Book::new()), Arc::new(Ended::default()));
    let asks = |number: u128| {
        let (book, done) = (Arc::clone(&book), Arc::clone(&done));
        thread(move || {
            let ticket = Ticket::from_u128(number);
            book.leave(request(ticket));
            if block_on(book.flush()).is_ok() {
                assert!(done.has(ticket), "flushed, and not left");
            }
        })
    };
    let asking: Vec<Thread> = (1..=3).map(asks).collect();
    let mut keeper = Keeps::new(&book, &done);
    let dying = Arc::clone(&book);
    let keeping = thread(move || {
        for _ in 0..one_of(3) {
            keeper.turns();
            // Whether it was woken meanwhile or not.
            let _ = keeper.book.woken().now_or_never();
        }
        dying.abandon();
    });
    ended(asking.into_iter().chain([keeping]));
    let page = book.page();
    assert!(page.dead && page.chores.is_empty() && page.flushes.is_empty());
}

/// The keeper ends when nobody writes in the book any more, and not before all of it was done.
pub fn the_keeper_ends_after_its_work() {
    struct Owner(Arc<Book>);
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let (book, done) = (Arc::new(Book::new()), Arc::new(Ended::default()));
    let owner = Arc::new(Owner(Arc::clone(&book)));
    let lets_go = |number: u128| {
        let owner = Arc::clone(&owner);
        thread(move || {
            let kept = lease(Ticket::from_u128(number), any_ttl());
            owner.0.hold(&kept).expect("it is open");
            owner.0.release(&kept);
        })
    };
    let owners: Vec<Thread> = (1..=2).map(lets_go).collect();
    drop(owner);
    let mut keeper = Keeps::new(&book, &done);
    let keeping = thread(move || assert_eq!(keeper.keeps(&Notify::new()), None));
    ended(owners.into_iter().chain([keeping]));
    assert!((1..=2).all(|number| done.has(Ticket::from_u128(number))), "it ended, and left work behind");
}
