//! A place in the line of a key: asks, waits, and leaves by itself when it is dropped.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::keeper::Keeper;
use crate::kept::Kept;
use crate::lease::Lease;
use crate::name::{Key, Ticket};
use crate::observe;
use crate::protocol::{Answer, Grant, Holding, Outcome, Request, Want};
use crate::store::{Reply, Store};

/// How often in a row a grant may come later than its own ttl before that is an error.
const LATE_GRANTS: u32 = 3;

/// How long a wait that is over may still take to name the holder.
const NAME_IN_TIME: Duration = Duration::from_millis(250);

/// How long a wait that is over may still take to leave the line.
const LEAVE_IN_TIME: Duration = Duration::from_millis(250);

/// What came of a request.
pub(crate) enum Served {
    Lease(Lease),
    Done(Outcome),
    Busy(Holding),
}

/// A request on its way. Dropping it before it was served takes it back in the background: no key stays
/// held and no place in line stays taken.
pub(crate) struct Place {
    store: Arc<dyn Store>,
    keeper: Keeper,
    request: Request,
    began: Moment,
    /// Whether the store may know of the request.
    asked: bool,
    /// Whether the store has said that the request stands in line.
    in_line: bool,
}

impl Place {
    /// Nothing is sent yet.
    pub(crate) fn new(store: Arc<dyn Store>, keeper: Keeper, request: Request) -> Self {
        Place { store, keeper, request, began: Moment::now(), asked: false, in_line: false }
    }

    /// Asks and waits until it is served, or for so long.
    ///
    /// Cancel safe: dropping the future keeps the place, and this may be called again; dropping the `Place`
    /// gives it up.
    pub(crate) async fn served(&mut self, wait: Option<Duration>) -> Result<Served> {
        let Some(limit) = wait else { return self.ask().await };
        let began = Moment::now();
        match tokio::time::timeout(limit, self.ask()).await {
            Ok(served) => served,
            Err(_) if self.in_line => {
                observe::wait_over(&self.request, self.began);
                self.leave_soon().await;
                Err(timed_out(&*self.store, &self.request.key, Moment::now().since(began)).await)
            }
            Err(_) => Err(Error::Unavailable {
                store: self.store.name().into(),
                why: format!("no answer within the wait of {limit:?}"),
            }),
        }
    }

    /// Leaves the line before the caller hears that its wait is over, so that nobody finds it there after
    /// that; in the background if the store takes its time. The place of a flight is left to the next caller.
    async fn leave_soon(&mut self) {
        let Request { key, ticket, want, .. } = &self.request;
        if *want == Want::Lock {
            let left = tokio::time::timeout(LEAVE_IN_TIME, self.store.leave(key, *ticket)).await;
            self.asked = !matches!(left, Ok(Ok(_)));
        }
    }

    async fn ask(&mut self) -> Result<Served> {
        let mut late = 0;
        while late < LATE_GRANTS {
            // Before the first byte is sent: from here on a drop has something to take back.
            self.asked = true;
            let mut reply = self.store.acquire(&self.request).await?;
            if let Answer::Queued(queued) = &reply.answer {
                if !self.in_line {
                    observe::waiting_in_line(&self.request, queued);
                }
                self.in_line = true;
                self.request.stands_behind(queued);
                reply = self.store.wait(&self.request, reply).await?;
            }
            match reply.answer {
                // Asking again confirms it, or finds out that the line has passed this request over.
                Answer::Granted(grant) if self.is_late_hand_over(&reply, &grant) => {}
                Answer::Granted(grant) => match self.lease(&reply, &grant) {
                    Some(lease) => return Ok(Served::Lease(lease)),
                    None => {
                        late += 1;
                        self.give_back().await?;
                    }
                },
                Answer::Done(ref outcome) => {
                    self.asked = false;
                    return Ok(Served::Done(outcome.clone()));
                }
                Answer::Busy(holding) => {
                    self.asked = false;
                    return Ok(Served::Busy(holding));
                }
                Answer::Queued(_) => {} // a store's `wait` does not end so; asking again is safe
            }
        }
        let why = "its grants arrive later than their ttl; ask for a longer one".into();
        Err(Error::Unavailable { store: self.store.name().into(), why })
    }

    /// Whether so much of a hand-over's short ttl has passed on the way that the keeper's confirmation may
    /// come too late: on a starved machine, or over a slow line.
    fn is_late_hand_over(&self, reply: &Reply, grant: &Grant) -> bool {
        let passed = Moment::now().since(reply.began(grant));
        grant.ttl != self.request.ttl && grant.ttl.duration().is_some_and(|ttl| passed > ttl / 3)
    }

    /// The lease of a grant, unless its ttl has passed on the way: then it is no grant.
    fn lease(&mut self, reply: &Reply, grant: &Grant) -> Option<Lease> {
        let deadline = grant.ttl.duration().map(|ttl| reply.began(grant).after(ttl));
        if deadline.is_some_and(|end| Moment::now() >= end) {
            observe::granted_too_late(&self.request, grant);
            return None;
        }
        let Request { key, ticket, holder, ttl, .. } = &self.request;
        // A hand-over comes with a short ttl, which the first renewal lifts to the full one.
        let confirm = grant.ttl != *ttl;
        let kept = Kept::new((key.clone(), *ticket), grant.token, holder.clone(), *ttl, deadline);
        observe::granted(&self.request, grant, self.began);
        self.asked = false;
        Some(Lease::new(kept, self.keeper.clone(), Arc::clone(&self.store), confirm))
    }

    /// Gives a late grant back and begins anew, as another request.
    async fn give_back(&mut self) -> Result<()> {
        self.store.leave(&self.request.key, self.request.ticket).await?;
        self.request.ticket = Ticket::mint();
        Ok(())
    }

    /// Whether another request could go on with this place.
    pub(crate) fn asks_for(&self, other: &Request) -> bool {
        *other == Request { ticket: other.ticket, seen: other.seen, ..self.request.clone() }
    }
}

/// The error of a wait that is over, with the holder's name if the store tells it soon.
pub(crate) async fn timed_out(store: &dyn Store, key: &Key, waited: Duration) -> Error {
    let info = tokio::time::timeout(NAME_IN_TIME, store.inspect(key)).await;
    let holder = info.ok().and_then(Result::ok).and_then(|info| info.holding).map(|now| now.holder);
    Error::TimedOut { key: key.clone(), waited, holder }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.asked {
            self.keeper.leave(self.request.key.clone(), self.request.ticket);
        }
    }
}
