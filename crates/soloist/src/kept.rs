//! A lease that is kept: what its owner and the keeper know of it together.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Moment;
use crate::error::{Error, Loss};
use crate::name::{FencingToken, Holder, Key, Ticket};
use crate::observe::{self, Subject};
use crate::protocol::{Renewal, Ttl, Who};

const FOREVER: u64 = u64::MAX;

/// How long a sleep may be that has to notice that the machine was suspended: timers stand still meanwhile.
pub(crate) const SUSPEND_CHECK: Duration = Duration::from_secs(1);

/// One lease of this process. The deadline only ever moves by a confirmed renewal.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) key: Key,
    pub(crate) ticket: Ticket,
    pub(crate) token: FencingToken,
    pub(crate) holder: Holder,
    pub(crate) since: Moment,
    ttl: AtomicU64,
    deadline: AtomicU64,
    ending: AtomicBool,
    loss: watch::Sender<Option<Loss>>,
}

impl Kept {
    /// A lease whose first (perhaps short) ttl ends at `deadline` and that is renewed for `ttl` from then on.
    pub(crate) fn new(
        (key, ticket): (Key, Ticket),
        token: FencingToken,
        holder: Holder,
        ttl: Ttl,
        deadline: Option<Moment>,
    ) -> Self {
        let kept = Kept {
            key,
            ticket,
            token,
            holder,
            since: Moment::now(),
            ttl: AtomicU64::new(FOREVER),
            deadline: AtomicU64::new(deadline.map_or(FOREVER, Moment::nanos)),
            ending: AtomicBool::new(false),
            loss: watch::channel(None).0,
        };
        kept.set_ttl(ttl);
        kept
    }

    pub(crate) fn ttl(&self) -> Ttl {
        match self.ttl.load(Ordering::Acquire) {
            FOREVER => Ttl::Forever,
            us => Ttl::Micros(us),
        }
    }

    pub(crate) fn set_ttl(&self, ttl: Ttl) {
        let us = if let Ttl::Micros(us) = ttl { us } else { FOREVER };
        self.ttl.store(us, Ordering::Release);
    }

    /// When the lease ends unless it is renewed; `None` is never.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match self.deadline.load(Ordering::Acquire) {
            FOREVER => None,
            nanos => Some(Moment::from_nanos(nanos)),
        }
    }

    /// A renewal that was sent at `sent` has been confirmed.
    /// From before sending: the store began the ttl no earlier.
    pub(crate) fn renewed(&self, sent: Moment, ttl: Ttl) {
        let deadline = ttl.duration().map_or(FOREVER, |ttl| sent.after(ttl).nanos());
        self.deadline.store(deadline, Ordering::Release);
    }

    /// Its owner asks the store to end it: that a renewal which crosses this finds nothing is no loss.
    pub(crate) fn begin_end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether its owner has asked the store to end it.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Says that the lease has ended, once.
    pub(crate) fn lose(&self, loss: Loss) {
        let first = self.loss.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert_with(|| loss.clone());
            first
        });
        if first {
            observe::lost(self.subject(), &loss);
        }
    }

    /// How the lease ended, if it has. Looks at the clock itself: true at once after a suspend.
    pub(crate) fn loss(&self) -> Option<Loss> {
        let said = self.loss.borrow().clone();
        said.or_else(|| self.deadline().is_some_and(|end| Moment::now() >= end).then_some(Loss::Expired))
    }

    /// Resolves when the lease has ended. Needs no keeper: it watches the deadline itself. Cancel safe.
    pub(crate) async fn lost(&self) -> Loss {
        let mut said = self.loss.subscribe();
        loop {
            if let Some(loss) = self.loss() {
                self.lose(loss.clone());
                return loss;
            }
            let left = self.deadline().map_or(SUSPEND_CHECK, |end| end.since(Moment::now()));
            // The sender lives in self, so `changed` cannot fail; a deadline that moved is looked at again.
            tokio::select! {
                _ = said.changed() => {}
                () = tokio::time::sleep(left.min(SUSPEND_CHECK)) => {}
            }
        }
    }

    /// As it is logged: without its ticket.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { key: &self.key, holder: &self.holder, token: self.token, since: self.since }
    }

    /// The error that says how the lease ended.
    pub(crate) fn lost_error(&self, loss: Loss) -> Error {
        Error::Lost { key: self.key.clone(), token: self.token, loss }
    }

    pub(crate) fn renewal(&self, detach: bool) -> Renewal {
        Renewal { key: self.key.clone(), who: Who::Ticket(self.ticket), ttl: self.ttl(), detach }
    }
}
