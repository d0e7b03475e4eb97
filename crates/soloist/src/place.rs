//! A place in the line of a key: asks, waits, and leaves by itself when it is dropped.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::Either;

use crate::clock::{Moment, Reading};
use crate::error::{Error, Result};
use crate::keeper::{Abandoned, Keeper};
use crate::kept::Kept;
use crate::lease::Lease;
use crate::limits;
use crate::name::{Key, Ticket};
use crate::observe;
use crate::protocol::{Answer, Grant, Holding, Mode, Outcome, Request, Want};
use crate::replicas;
use crate::store::{Reply, Store};

/// How often in a row a grant may come later than its own ttl before that is an error.
const LATE_GRANTS: u32 = 3;

/// A boot guard that is nearly over is not asked again in a tight loop.
const SHORTEST_GUARD: Duration = Duration::from_millis(5);

/// How long a wait that is over may still take to name the holder.
const NAME_IN_TIME: Duration = Duration::from_millis(250);

/// How long a wait that is over may still take to leave the line.
const LEAVE_IN_TIME: Duration = Duration::from_millis(250);

/// What came of a request.
pub(crate) enum Served {
    Lease(Lease),
    /// The result, and both clocks when it was answered.
    Done(Outcome, Reading),
    Busy(Holding),
}

/// What an answer leads to.
enum Step {
    Served(Served),
    /// A lease that counts when enough replicas have it.
    Counts(Lease),
    /// A grant whose ttl has passed on the way.
    Late,
    Again,
}

/// What came of an answer.
enum Came {
    Served(Served),
    /// To nothing, since it came too late to be a lease.
    TooLate,
    Again,
}

/// What few answers need and takes time, so in a box: there may be very many who wait without it.
type Later<'a> = Pin<Box<dyn Future<Output = Result<Came>> + Send + 'a>>;

/// A request on its way. Dropping it before it was served takes it back in the background: no key stays
/// held and no place in line stays taken.
pub(crate) struct Place {
    store: Arc<dyn Store>,
    keeper: Keeper,
    request: Request,
    /// When it was asked for, where that may be told.
    began: Option<Moment>,
    /// How long its lease is held at most.
    max_hold: Option<Duration>,
    /// Whether the store may know of the request.
    asked: bool,
    /// Whether an answer is owed, so that the store may carry the request out when nobody expects it.
    unanswered: bool,
    /// How many replicas have to have the lease.
    replicas: u32,
    /// Whether the store has said that the request stands in line.
    in_line: bool,
    /// Until when the store's boot guard has said that it grants nothing.
    guarded: Option<Moment>,
    /// Whether a wait was over before the store had answered.
    ran_out: bool,
    /// What the store has said already. In a box: few have that.
    begun: Option<Box<Result<Reply>>>,
}

impl Place {
    /// Nothing is sent yet.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        keeper: Keeper,
        request: Request,
        max_hold: Option<Duration>,
    ) -> Self {
        Place {
            store,
            keeper,
            request,
            began: observe::began(),
            max_hold,
            asked: false,
            unanswered: false,
            replicas: 0,
            in_line: false,
            guarded: None,
            ran_out: false,
            begun: None,
        }
    }

    /// What is asked for.
    pub(crate) fn key(&self) -> &Key {
        &self.request.key
    }

    /// Its lease counts when so many replicas have it.
    pub(crate) fn replicas(&mut self, replicas: u32) -> &mut Self {
        self.replicas = replicas;
        self
    }

    /// Ends this lease of the same client and key, in the step in which this is asked for. Answers what came of that; what
    /// came of asking, [`Place::served`] says.
    ///
    /// Cancel safe: dropped, the lease is released in the background, and dropping the `Place` takes the request back.
    pub(crate) async fn rotate(&mut self, lease: Lease, wait: Option<Duration>) -> Result<()> {
        if self.sends().is_err() {
            return lease.release_at_store().await; // nothing is asked for any more, as is said to whoever waits for it
        }
        let ending = lease.rotate(&self.request);
        let ended = match wait {
            None => ending.await,
            Some(limit) => match tokio::time::timeout(limit, ending).await {
                Ok(ended) => ended,
                Err(_) => return Err(self.no_answer(limit)),
            },
        };
        self.unanswered = matches!(ended, Err(Error::Unavailable { .. }));
        self.begun = Some(Box::new(ended?));
        Ok(())
    }

    fn no_answer(&self, wait: Duration) -> Error {
        let (store, why) = (self.store.name().into(), format!("no answer within the wait of {wait:?}"));
        Error::Unavailable { store, why }
    }

    /// Whether the last wait was over before the store had answered: that need not be an outage.
    pub(crate) fn ran_out(&self) -> bool {
        self.ran_out
    }

    /// Asks and waits until it is served, or for so long.
    ///
    /// Cancel safe: dropping the future keeps the place, and this may be called again; dropping the `Place`
    /// gives it up.
    pub(crate) fn served(&mut self, wait: Option<Duration>) -> impl Future<Output = Result<Served>> + Send {
        match wait {
            None => Either::Left(self.ask_until_closed()),
            // In a box, as much of what follows: there may be very many who wait without all of it.
            Some(limit) => Either::Right(Box::pin(self.served_within(limit))),
        }
    }

    async fn served_within(&mut self, limit: Duration) -> Result<Served> {
        let began = Moment::now();
        self.ran_out = false;
        match tokio::time::timeout(limit, self.ask_until_closed()).await {
            Ok(served) => served,
            Err(_) if self.guarded.is_some() => {
                let left = self.guarded.map_or(Duration::ZERO, |end| end.since(Moment::now()));
                Err(Error::Guarded { store: self.store.name().into(), left })
            }
            Err(_) if self.in_line => {
                observe::wait_over(&self.request.key, &self.request.holder, self.began);
                self.leave_soon().await;
                Err(timed_out(&*self.store, &self.request.key, Moment::now().since(began)).await)
            }
            Err(_) => {
                self.ran_out = true;
                Err(self.no_answer(limit))
            }
        }
    }

    /// Leaves the line before the caller hears that its wait is over, so that nobody finds it there after
    /// that; in the background if the store takes its time. The place of a flight is left to the next caller.
    async fn leave_soon(&mut self) {
        let Request { key, ticket, want, .. } = &self.request;
        if *want == Want::Lock {
            let left = tokio::time::timeout(LEAVE_IN_TIME, self.store.leave(key, *ticket)).await;
            if matches!(left, Ok(Ok(_))) {
                self.settled();
            }
        }
    }

    /// Nothing of the request is left at the store.
    fn settled(&mut self) {
        self.asked = false;
        self.keeper.unplace(self.request.ticket);
    }

    /// Asks until the client is closed. Invariant: nothing is sent after that, for its end has taken back
    /// whatever was sent before.
    async fn ask_until_closed(&mut self) -> Result<Served> {
        let keeper = self.keeper.clone();
        let (mut closing, mut asking) = (pin!(keeper.closing()), pin!(self.ask()));
        poll_fn(|cx| {
            if keeper.is_closed() {
                return Poll::Ready(Err(Error::Closed));
            }
            match asking.as_mut().poll(cx) {
                Poll::Pending => closing.as_mut().poll(cx).map(|()| Err(Error::Closed)),
                served => served,
            }
        })
        .await
    }

    /// Asks, and waits if that is the answer.
    async fn answered(&mut self) -> Result<Reply> {
        let asked = match self.begun.take() {
            None => self.store.acquire(&self.request).await,
            Some(asked) => *asked,
        };
        // A no is an answer, too: then nothing is carried out later.
        self.unanswered = matches!(asked, Err(Error::Unavailable { .. }));
        // No answer is kept beside the wait: there may be very many who wait.
        let waiting = {
            let reply = asked?;
            let Answer::Queued(queued) = &reply.answer else { return Ok(reply) };
            if !self.in_line {
                observe::waiting_in_line(&self.request, queued);
            }
            self.in_line = true;
            self.request.stands_behind(queued);
            self.store.wait(&self.request, reply)
        };
        waiting.await
    }

    /// Before the first byte is sent: from here on a drop has something to take back.
    fn sends(&mut self) -> Result<()> {
        self.keeper.place(self.abandoned(true))?;
        (self.asked, self.unanswered) = (true, true);
        Ok(())
    }

    async fn ask(&mut self) -> Result<Served> {
        limits::lives(&*self.store, self.request.ttl)?;
        let mut late = 0;
        while late < LATE_GRANTS {
            self.sends()?;
            let answered = self.answered().await;
            let later = match self.came_of(answered)? {
                Either::Left(served) => return Ok(served),
                Either::Right(later) => later,
            };
            match later.await? {
                Came::Served(served) => return Ok(served),
                Came::TooLate => late += 1,
                Came::Again => {}
            }
        }
        let why = "its grants arrive later than their ttl; ask for a longer one".into();
        Err(Error::Unavailable { store: self.store.name().into(), why })
    }

    /// What came of an answer, or what is to be done before that can be said.
    fn came_of(&mut self, answered: Result<Reply>) -> Result<Either<Served, Later<'_>>> {
        let step = match answered {
            // A place in line, if there still is one, is kept meanwhile.
            Err(Error::Guarded { left, .. }) if self.request.mode == Mode::Line => {
                return Ok(Either::Right(Box::pin(self.guard_is_over(left))));
            }
            answered => self.step(answered?)?,
        };
        Ok(match step {
            Step::Served(served) => Either::Left(served),
            Step::Again => Either::Right(Box::pin(async { Ok(Came::Again) })),
            Step::Late => Either::Right(Box::pin(self.give_back())),
            Step::Counts(lease) => Either::Right(Box::pin(self.counted(lease))),
        })
    }

    /// Waits until the store's boot guard may be over.
    async fn guard_is_over(&mut self, left: Duration) -> Result<Came> {
        observe::not_granted_yet(&self.request, self.store.name(), left);
        self.guarded = Some(Moment::now().after(left));
        tokio::time::sleep(left.max(SHORTEST_GUARD)).await;
        self.guarded = None;
        Ok(Came::Again)
    }

    /// Waits until enough replicas have the lease.
    async fn counted(&mut self, lease: Lease) -> Result<Came> {
        // Where it does not count, its end may come late, and must not be that of another lease.
        self.request.ticket = Ticket::mint();
        let counted = replicas::counted(lease, self.replicas).await?;
        Ok(counted.map_or(Came::TooLate, |lease| Came::Served(Served::Lease(lease))))
    }

    /// What an answer leads to.
    fn step(&mut self, reply: Reply) -> Result<Step> {
        Ok(match reply.answer {
            Answer::Granted(grant) => {
                let now = Moment::now();
                let began = reply.began_by(&grant, now);
                // Asking again confirms it, or finds out that the line has passed this request over.
                if self.is_late_hand_over(&grant, now.since(began)) {
                    return Ok(Step::Again);
                }
                match self.lease(&grant, began, now)? {
                    Some(lease) if self.replicas == 0 => Step::Served(Served::Lease(lease)),
                    Some(lease) => Step::Counts(lease),
                    None => Step::Late,
                }
            }
            Answer::Done(outcome) => {
                self.settled();
                Step::Served(Served::Done(outcome, reply.read))
            }
            Answer::Busy(holding) => {
                self.settled();
                Step::Served(Served::Busy(holding))
            }
            Answer::Full { holding, waiting } => {
                self.settled();
                return Err(Error::LineFull {
                    key: self.request.key.clone(),
                    waiting,
                    max: self.request.max_waiting.unwrap_or(waiting),
                    holder: holding.holder,
                });
            }
            Answer::Queued(_) => Step::Again, // a store's `wait` does not end so; asking again is safe
        })
    }

    /// Whether so much of a hand-over's short ttl has passed on the way that the keeper's first renewal may
    /// come too late: on a starved machine, or over a slow line.
    fn is_late_hand_over(&self, grant: &Grant, passed: Duration) -> bool {
        grant.ttl != self.request.ttl && grant.ttl.duration().is_some_and(|ttl| passed > ttl / 3)
    }

    /// The lease of a grant that began then, unless its ttl has passed on the way: then it is no grant.
    fn lease(&mut self, grant: &Grant, began: Moment, now: Moment) -> Result<Option<Lease>> {
        let deadline = grant.ttl.duration().map(|ttl| began.after(ttl));
        if deadline.is_some_and(|end| now >= end) {
            observe::granted_too_late(&self.request, grant);
            return Ok(None);
        }
        let Request { key, ticket, holder, ttl, .. } = &self.request;
        let kept = Kept::new((key.clone(), *ticket), grant.token, holder.clone(), *ttl, (now, deadline));
        // A hand-over comes with a short ttl, which the first renewal lifts to the full one, when it is due: whoever
        // has released by then has saved it.
        let kept = Arc::new(kept.at_first(grant.ttl).at_most(self.max_hold).in_group(self.store.group(key)));
        // From here on the keeper has it in place of the request; a closed one takes the request back.
        self.keeper.hold(&kept)?;
        self.asked = false;
        observe::granted(&self.request, grant, self.began);
        let mut lease = Lease::new(kept, self.keeper.clone(), Arc::clone(&self.store));
        lease.tokens = grant.tokens;
        Ok(Some(lease))
    }

    /// Gives a late grant back and begins anew, as another request.
    async fn give_back(&mut self) -> Result<Came> {
        self.store.leave(&self.request.key, self.request.ticket).await?;
        self.settled();
        self.request.ticket = Ticket::mint();
        Ok(Came::TooLate)
    }

    fn abandoned(&self, unanswered: bool) -> Abandoned {
        let Request { key, ticket, ttl, .. } = &self.request;
        Abandoned { key: key.clone(), ticket: *ticket, ttl: *ttl, unanswered }
    }

    /// Whether another request could go on with this place.
    pub(crate) fn asks_for(&self, other: &Request, max_hold: Option<Duration>) -> bool {
        let Request { ticket, seen, max_waiting, .. } = *other;
        self.max_hold == max_hold && *other == Request { ticket, seen, max_waiting, ..self.request.clone() }
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
            self.keeper.leave(self.abandoned(self.unanswered));
        }
    }
}
