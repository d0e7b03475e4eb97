//! What a keeper has under way: so much at a time, and never so little that what hangs holds up the rest.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::batch::Batch;

/// So many questions for renewals at a time: a server answers others in between.
const RENEWALS: usize = 16;
/// So many clean-ups at a time.
const CLEANUPS: usize = 64;
/// What takes longer than this counts no more: a store that answers for some keys only may never answer for
/// others, and nothing is to wait for those.
const PATIENCE: Duration = Duration::from_millis(50);

/// Something that the keeper had under way has ended.
pub(super) enum Ended {
    Renewal(Batch),
    Cleanup(u64),
    /// Nothing yet, but there is room for more.
    Slow,
}

/// One end, or the word that it takes its time.
enum Event {
    Ended { ended: Ended, counted: bool },
    Slow { renewal: bool, rest: BoxFuture<'static, Ended> },
}

/// The questions and clean-ups under way.
#[derive(Default)]
pub(super) struct Work {
    running: FuturesUnordered<BoxFuture<'static, Event>>,
    renewals: usize,
    cleanups: usize,
}

impl Work {
    /// How many more questions may be begun.
    pub(super) fn room_for_renewals(&self) -> usize {
        RENEWALS.saturating_sub(self.renewals)
    }

    /// How many more clean-ups may be begun.
    pub(super) fn room_for_cleanups(&self) -> usize {
        CLEANUPS.saturating_sub(self.cleanups)
    }

    pub(super) fn renew(&mut self, asking: impl Future<Output = Batch> + Send + 'static) {
        self.renewals += 1;
        self.begin(true, async { Ended::Renewal(asking.await) });
    }

    pub(super) fn clean_up(&mut self, number: u64, cleanup: impl Future<Output = ()> + Send + 'static) {
        self.cleanups += 1;
        self.begin(false, async move {
            cleanup.await;
            Ended::Cleanup(number)
        });
    }

    fn begin(&mut self, renewal: bool, work: impl Future<Output = Ended> + Send + 'static) {
        self.running.push(Box::pin(async move {
            let mut work: BoxFuture<'static, Ended> = Box::pin(work);
            match tokio::time::timeout(PATIENCE, &mut work).await {
                Ok(ended) => Event::Ended { ended, counted: true },
                Err(_) => Event::Slow { renewal, rest: work },
            }
        }));
    }

    /// The next end. Cancel safe. Never resolves while nothing is under way.
    pub(super) async fn ended(&mut self) -> Ended {
        match self.running.next().await {
            None => std::future::pending().await,
            Some(Event::Slow { renewal, rest }) => {
                self.uncount(renewal);
                self.running.push(Box::pin(async {
                    let ended = rest.await;
                    Event::Ended { ended, counted: false }
                }));
                Ended::Slow
            }
            Some(Event::Ended { ended, counted }) => {
                if counted {
                    self.uncount(matches!(ended, Ended::Renewal(_)));
                }
                ended
            }
        }
    }

    fn uncount(&mut self, renewal: bool) {
        let count = if renewal { &mut self.renewals } else { &mut self.cleanups };
        *count = count.saturating_sub(1);
    }
}
