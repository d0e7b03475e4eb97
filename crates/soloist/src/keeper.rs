//! The keeper: one background task a client that renews leases before they end, releases those that were
//! dropped, gives up requests that were abandoned, and tells owners of their losses. All keepers of a process
//! live on a thread of their own, so that no runtime of a user's can starve them.

mod batch;
mod book;
mod cleanup;
mod home;
mod renewals;
mod work;

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::error::{Error, Loss, Result};
use crate::kept::Kept;
use crate::name::Ticket;
use crate::observe;
use crate::store::{Notice, Store};
use book::Book;
#[cfg(soloist_shuttle)]
pub use book::interleavings;
use cleanup::{Stores, clean_up};
use home::Home;
use renewals::LOOKS;
use work::{Ended, Work};

pub(crate) use cleanup::Abandoned;

/// How many notices are read in one go.
const NOTICES: usize = 64;

/// The way to a client's keeper. The keeper ends when the last of these is dropped, after it has carried
/// out everything that it was asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Keeper(Arc<Owner>);

#[derive(Debug)]
struct Owner {
    book: Arc<Book>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.book.end();
    }
}

impl Keeper {
    /// Starts a keeper on the thread of all keepers, or where there is none on the current runtime; that one
    /// then owns its task: when the runtime ends, the keeper does, and leases end by their ttl.
    pub(crate) fn start(store: Arc<dyn Store>) -> Result<Self> {
        let book = Arc::new(Book::new());
        // Listening begins here, not in the task: a notice may come before its first poll.
        let notices = store.notices();
        let home = home::home().ok_or_else(|| {
            let why =
                "its leases cannot be renewed: no thread could be started, and this is no tokio runtime";
            Error::Unavailable { store: store.name().into(), why: why.into() }
        })?;
        // The task may never be polled, when its runtime has ended: the guard comes with it.
        let alive = Alive(Arc::clone(&book));
        match home {
            Home::Own(thread) => {
                let stores = Stores { aside: store.aside(), own: store };
                thread.spawn(run(stores, alive, notices));
            }
            Home::Callers(runtime) => {
                let stores = Stores { aside: None, own: store };
                runtime.spawn(run(stores, alive, notices));
            }
        }
        Ok(Keeper(Arc::new(Owner { book })))
    }

    /// Writes a request down before its first byte is sent: [`Error::Closed`] after [`Keeper::close`].
    pub(crate) fn place(&self, request: Abandoned) -> Result<()> {
        self.0.book.place(request)
    }

    /// The request was answered, and holds nothing.
    pub(crate) fn unplace(&self, ticket: Ticket) {
        self.0.book.unplace(ticket);
    }

    /// Keeps a lease. [`Error::Closed`] after [`Keeper::close`]: then it is not kept.
    pub(crate) fn hold(&self, kept: &Arc<Kept>) -> Result<()> {
        self.0.book.hold(kept)
    }

    /// The ttl of a lease was changed.
    pub(crate) fn plan_anew(&self, ticket: Ticket) {
        self.0.book.plan_anew(ticket);
    }

    /// Its owner has ended it himself.
    pub(crate) fn stop(&self, ticket: Ticket) {
        self.0.book.stop(ticket);
    }

    /// Tells the owner of a lease, if it is one of this client's, that it was released by its id.
    pub(crate) fn ended(&self, ticket: Ticket) {
        self.0.book.lost(ticket, Loss::Released);
    }

    /// Releases in the background. Never blocks, so it may be called from a drop.
    pub(crate) fn release(&self, kept: &Arc<Kept>) {
        self.0.book.release(kept);
    }

    /// Leaves in the background. Never blocks, so it may be called from a drop.
    pub(crate) fn leave(&self, request: Abandoned) {
        self.0.book.leave(request);
    }

    /// Whether the client is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.book.is_closed()
    }

    /// Resolves when the client is closed. Cancel safe.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send {
        self.0.book.closing()
    }

    /// Ends every lease and every request under way, and everything that was asked for before; resolves when
    /// that is done. Nothing is granted after this.
    pub(crate) async fn close(&self) {
        self.0.book.close();
        self.flush().await;
    }

    /// Resolves when everything that was asked for before is done or was given up.
    pub(crate) async fn flush(&self) {
        // An error means that the keeper's runtime has ended: nothing is under way any more.
        let _ = self.0.book.flush().await;
    }
}

/// The keeper's task is there. Dropped with it, whoever ends it.
struct Alive(Arc<Book>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

async fn run(stores: Stores, alive: Alive, mut notices: broadcast::Receiver<Notice>) {
    let book = &*alive.0;
    let mut work = Work::default();
    let mut notices_open = true;
    loop {
        // Invariant: each round serves what is due, what was asked for, and a share of what was told; so the
        // order of the select below starves nobody.
        for _ in 0..NOTICES {
            match notices.try_recv() {
                Ok(notice) => heard(book, Ok(notice)).await,
                Err(TryRecvError::Lagged(missed)) => heard(book, Err(RecvError::Lagged(missed))).await,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let turn = book.turn(work.room_for_renewals(), work.room_for_cleanups());
        if turn.end {
            return;
        }
        for kept in turn.due.over.iter().filter(|kept| !kept.is_ending()) {
            // Looks at the clock, and tells.
            kept.loss();
        }
        for (kept, late) in &turn.due.late {
            observe::renewed_late(kept.subject(), *late);
        }
        for batch in turn.due.batches {
            let store = Arc::clone(stores.aside());
            work.renew(async move { batch.send(&*store).await });
        }
        for (number, chore) in turn.chores {
            work.clean_up(number, clean_up(stores.clone(), chore, turn.closing));
        }
        tokio::select! {
            biased;
            notice = notices.recv(), if notices_open => match notice {
                Err(RecvError::Closed) => notices_open = false,
                notice => heard(book, notice).await,
            },
            ended = work.ended() => match ended {
                Ended::Renewal(batch) => book.apply(batch),
                Ended::Cleanup(number) => book.done(number),
                Ended::Slow => {}
            },
            () = book.woken() => {}
            () = tokio::time::sleep(turn.pause) => {}
        }
        // Other keepers live on this thread, too.
        tokio::task::consume_budget().await;
    }
}

/// What the store says about leases without being asked.
async fn heard(book: &Book, notice: std::result::Result<Notice, RecvError>) {
    match notice {
        Ok(Notice::Lost(ticket, token, loss)) => book.told_lost(ticket, token, loss),
        // Notices were missed: ask about every lease.
        Ok(Notice::AskAgain) | Err(RecvError::Lagged(_)) => {
            for (part, some) in book.all().chunks(LOOKS).enumerate() {
                if part > 0 {
                    tokio::task::yield_now().await;
                }
                book.all_due(some);
            }
        }
        Err(RecvError::Closed) => {}
    }
}
