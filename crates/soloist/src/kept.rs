//! A lease that is kept: what its owner and the keeper know of it together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Moment;
use crate::error::{Error, Loss};
use crate::name::{FencingToken, Holder, Key, Ticket};
use crate::observe::{self, Subject};
use crate::protocol::{Renewal, Ttl, Who};

/// How long a sleep may be that has to notice that the machine was suspended: timers stand still meanwhile.
pub(crate) const SUSPEND_CHECK: Duration = Duration::from_secs(1);

/// One lease of this process. Its deadline only ever becomes later by a confirmed renewal, and a loss that was
/// told is final.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) key: Key,
    pub(crate) ticket: Ticket,
    pub(crate) token: FencingToken,
    pub(crate) holder: Holder,
    pub(crate) since: Moment,
    life: Mutex<Life>,
    ending: AtomicBool,
    loss: watch::Sender<Option<Loss>>,
}

#[derive(Debug)]
struct Life {
    /// What the next renewal asks for.
    ttl: Ttl,
    deadline: Option<Moment>,
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
        let (life, ending) = (Mutex::new(Life { ttl, deadline }), AtomicBool::new(false));
        let loss = watch::channel(None).0;
        Kept { key, ticket, token, holder, since: Moment::now(), life, ending, loss }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        // Nothing panics while it is held, and it is whole at every step.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ttl(&self) -> Ttl {
        self.life().ttl
    }

    /// Renewals ask for this ttl from now on. A shorter one counts at once: its answer may be lost, and then
    /// the store counts by it all the same.
    pub(crate) fn set_ttl(&self, ttl: Ttl) {
        let mut life = self.life();
        life.ttl = ttl;
        let end = ttl.duration().map(|ttl| Moment::now().after(ttl));
        if end.is_some_and(|end| life.deadline.is_none_or(|deadline| end < deadline)) {
            life.deadline = end;
        }
    }

    /// When the lease ends unless it is renewed; `None` is never.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.life().deadline
    }

    /// A renewal for `ttl` that was sent at `sent` has been confirmed. Answers whether it counts: it does not
    /// if another ttl was asked for meanwhile, since the store may have carried out either of them last.
    pub(crate) fn renewed(&self, sent: Moment, ttl: Ttl) -> bool {
        let mut life = self.life();
        let counts = life.ttl == ttl;
        if counts {
            // From before sending: the store began the ttl no earlier.
            life.deadline = ttl.duration().map(|ttl| sent.after(ttl));
        }
        counts
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
        if self.deadline().is_some_and(|end| Moment::now() >= end) {
            self.lose(Loss::Expired);
        }
        self.loss.borrow().clone()
    }

    /// Resolves when the lease has ended. Needs no keeper: it watches the deadline itself. Cancel safe.
    pub(crate) async fn lost(&self) -> Loss {
        let mut said = self.loss.subscribe();
        loop {
            if let Some(loss) = self.loss() {
                return loss;
            }
            let left = self.deadline().map_or(SUSPEND_CHECK, |end| end.since(Moment::now()));
            // The sender lives in self, so `changed` cannot fail; a deadline that moved is looked at again.
            tokio::select! {
                biased;
                _ = said.changed() => {}
                () = tokio::time::sleep(left.min(SUSPEND_CHECK)) => {}
            }
        }
    }

    /// Resolves when somebody has said that the lease has ended: the keeper does at its deadline. For the many,
    /// who need no clock of their own. Cancel safe.
    pub(crate) async fn told_lost(&self) {
        // The sender lives in self, so this cannot fail.
        let _ = self.loss.subscribe().wait_for(Option::is_some).await;
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
