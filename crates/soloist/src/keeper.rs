//! The keeper: one background task a client that renews leases before they end, releases those that were
//! dropped, gives up requests that were abandoned, and tells owners of their losses.

mod cleanup;
mod renewals;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::error::Loss;
use crate::kept::Kept;
use crate::name::{Key, Ticket};
use crate::store::{Notice, Store};
use renewals::{Batch, Renewals};

/// What the keeper is asked to do.
#[derive(Debug)]
enum Order {
    /// Renew this lease from now on; at once, if its grant waits for a confirmation.
    Hold { kept: Arc<Kept>, confirm: bool },
    /// Its owner ends it himself.
    Stop(Ticket),
    /// It was released by its id, on this very client.
    Ended(Ticket),
    /// Its owner dropped it.
    Release(Arc<Kept>),
    /// A request was abandoned on its way.
    Leave(Key, Ticket),
    /// The client is closed: end every lease, those of its clones too.
    Close,
    /// Tell when all releases so far are done.
    Flush(oneshot::Sender<()>),
}

/// The way to a client's keeper. The keeper ends when the last of these is dropped, after it has carried
/// out everything that it was asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    orders: mpsc::UnboundedSender<Order>,
}

impl Keeper {
    /// Starts a keeper on the current runtime, which owns its task: when the runtime ends, the keeper does,
    /// and leases end by their ttl.
    pub(crate) fn start(store: Arc<dyn Store>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        // Listening begins here, not in the task: a notice may come before its first poll.
        let notices = store.notices();
        tokio::spawn(run(store, inbox, notices));
        Keeper { orders }
    }

    pub(crate) fn hold(&self, kept: Arc<Kept>, confirm: bool) {
        self.post(Order::Hold { kept, confirm });
    }

    pub(crate) fn stop(&self, ticket: Ticket) {
        self.post(Order::Stop(ticket));
    }

    /// Tells the owner of a lease, if it is one of this client's, that it was released by its id.
    pub(crate) fn ended(&self, ticket: Ticket) {
        self.post(Order::Ended(ticket));
    }

    /// Releases in the background. Never blocks, so it may be called from a drop.
    pub(crate) fn release(&self, kept: Arc<Kept>) {
        self.post(Order::Release(kept));
    }

    /// Leaves in the background. Never blocks, so it may be called from a drop.
    pub(crate) fn leave(&self, key: Key, ticket: Ticket) {
        self.post(Order::Leave(key, ticket));
    }

    /// Ends every lease and everything that was posted before; resolves when that is done. A lease that is
    /// granted after this is ended at once.
    pub(crate) async fn close(&self) {
        self.post(Order::Close);
        self.flush().await;
    }

    /// Resolves when everything that was posted before is done or was given up.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        self.post(Order::Flush(done));
        // An error means that the keeper's runtime has ended: nothing is under way any more.
        let _ = flushed.await;
    }

    fn post(&self, order: Order) {
        // Fails only when the keeper's runtime has ended; then the lease ends by its ttl.
        let _ = self.orders.send(order);
    }
}

/// Something that the keeper had under way has ended.
enum Ended {
    Renewal(Batch),
    Cleanup(u64),
}

/// What the keeper has under way.
#[derive(Default)]
struct Work {
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// The cleanups that are not done, numbered in the order in which they were asked for.
    cleanups: BTreeSet<u64>,
    asked: u64,
    /// Who waits until every cleanup up to that number is done.
    flushes: Vec<(u64, oneshot::Sender<()>)>,
}

impl Work {
    fn clean_up(&mut self, cleanup: impl Future<Output = ()> + Send + 'static) {
        self.asked += 1;
        let number = self.asked;
        self.cleanups.insert(number);
        self.running.push(Box::pin(async move {
            cleanup.await;
            Ended::Cleanup(number)
        }));
    }

    /// Tells whose cleanups are all done. Those that were asked for later do not keep him waiting.
    fn tell_flushed(&mut self) {
        let first = self.cleanups.first().copied().unwrap_or(u64::MAX);
        for (_, flushed) in self.flushes.extract_if(.., |(number, _)| *number < first) {
            let _ = flushed.send(());
        }
    }
}

async fn run(
    store: Arc<dyn Store>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    mut notices: broadcast::Receiver<Notice>,
) {
    let mut notices_open = true;
    let mut renewals = Renewals::default();
    let mut work = Work::default();
    let mut open = true;
    let mut closed = false;
    while open || !work.cleanups.is_empty() {
        work.tell_flushed();
        for batch in renewals.take_due() {
            let store = Arc::clone(&store);
            work.running.push(Box::pin(async move { Ended::Renewal(batch.send(&*store).await) }));
        }
        let pause = renewals.next_due().unwrap_or(Duration::from_secs(3600));
        tokio::select! {
            biased;
            order = inbox.recv(), if open => match order {
                Some(Order::Hold { kept, confirm }) if !closed => renewals.add(kept, confirm),
                Some(Order::Hold { kept, .. }) => end(&mut work, &store, kept),
                Some(Order::Stop(ticket)) => renewals.remove(ticket),
                Some(Order::Ended(ticket)) => renewals.lost(ticket, Loss::Released),
                Some(Order::Release(kept)) => {
                    renewals.remove(kept.ticket);
                    let store = Arc::clone(&store);
                    work.clean_up(async move { cleanup::release(&*store, &kept).await });
                }
                Some(Order::Leave(key, ticket)) => {
                    let store = Arc::clone(&store);
                    work.clean_up(async move { cleanup::leave(&*store, &key, ticket).await });
                }
                Some(Order::Close) => {
                    closed = true;
                    renewals.take_all().into_iter().for_each(|kept| end(&mut work, &store, kept));
                }
                Some(Order::Flush(flushed)) => work.flushes.push((work.asked, flushed)),
                None => open = false,
            },
            notice = notices.recv(), if notices_open => match notice {
                Ok(Notice::Lost(ticket, token, loss)) => renewals.told_lost(ticket, token, loss),
                // Notices were missed: ask about every lease.
                Ok(Notice::AskAgain) | Err(RecvError::Lagged(_)) => renewals.all_due(),
                Err(RecvError::Closed) => notices_open = false,
            },
            Some(ended) = work.running.next(), if !work.running.is_empty() => match ended {
                Ended::Renewal(batch) => renewals.apply(batch),
                Ended::Cleanup(number) => drop(work.cleanups.remove(&number)),
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Ends the lease of a client that is closed. The owner is told first, so that his work stops before the
/// next holder's may begin.
fn end(work: &mut Work, store: &Arc<dyn Store>, kept: Arc<Kept>) {
    if kept.loss().is_none() {
        kept.lose(Loss::Released);
        let store = Arc::clone(store);
        work.clean_up(async move {
            cleanup::end(&*store, &kept).await;
        });
    }
}
