//! Standing in line at all nodes at once. Each serves its own line; where they serve different requests, whoever has
//! the first of the nodes goes on, and the others give way and stand in line again.
//!
//! Nobody polls: between wake-ups of the nodes only those ask who have a part of them, and that for a second at
//! most. Each who gives way comes back later than the last time, so that a node that the holder does not have, but
//! all others can reach, is not handed round without an end.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::contend::{about, gives_way};
use super::settle::first;
use super::{QuorumStore, judge};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::name::FencingToken;
use crate::protocol::{Answer, Holding, Micros, Request};
use crate::store::{Reply, Store};

/// How long whoever has a part of the nodes waits for the others at first, before it looks at them: twice the time in
/// which a majority answers, but no less and no more than this.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// How long that grows, for whoever goes on.
const LONGEST_PATIENCE: Duration = Duration::from_millis(300);
/// How long it waits for their word then.
const LOOK: Duration = Duration::from_millis(300);
/// How long it keeps its part at most: long enough for the others' parts to end by themselves should they be dead.
const KEEP: Duration = Duration::from_secs(8);
/// How long whoever gave way stays away: doubled each time, up to the slow look of who stands in line.
const AWAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));
/// The pause after an error of a node, doubled likewise.
const AFTER_ERROR: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

type Work = BoxFuture<'static, Result<Reply>>;

/// One node, as one that stands in line sees it.
struct Seat {
    node: Arc<dyn Store>,
    request: Request,
    state: State,
    work: Option<Work>,
    /// Whether it has said so itself that it granted the key. Otherwise it may still listen for that there.
    heard: bool,
    /// Whether it has answered since the last look.
    fresh: bool,
    error: Option<Error>,
    pause: Duration,
    /// When it was asked, and how long the last answer took.
    asked: Option<Moment>,
    took: Option<Duration>,
    /// Its clock when it answered last.
    clock: Micros,
    /// Whether it stays away from there, having given way.
    away: bool,
}

enum State {
    /// It stands there in no line.
    Out,
    /// Somebody else holds the key there.
    Held(Holding),
    /// It has granted the key.
    Mine(FencingToken),
}

impl Seat {
    fn new(node: &Arc<dyn Store>, request: &Request) -> Self {
        let (node, request) = (Arc::clone(node), first(request));
        let (state, work, fresh, error, pause) = (State::Out, None, false, None, AFTER_ERROR.0);
        let (heard, asked, took, clock, away) = (false, None, None, 0, false);
        let mut seat =
            Seat { node, request, state, work, heard, fresh, error, pause, asked, took, clock, away };
        seat.ask(Duration::ZERO);
        seat
    }

    /// Asks, after a pause.
    fn ask(&mut self, pause: Duration) {
        let (node, request) = (Arc::clone(&self.node), self.request.clone());
        (self.heard, self.asked, self.away) = (false, pause.is_zero().then(Moment::now), false);
        self.work = Some(
            async move {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                node.acquire(&request).await
            }
            .boxed(),
        );
    }

    fn listen(&mut self, standing: Reply) {
        let (node, request) = (Arc::clone(&self.node), self.request.clone());
        self.work = Some(async move { node.wait(&request, standing).await }.boxed());
    }

    /// Gives back what it has granted, and comes back after a pause.
    fn give_way(&mut self, away: Duration) {
        let (node, request) = (Arc::clone(&self.node), self.request.clone());
        (self.state, self.heard, self.asked, self.away) = (State::Out, false, None, true);
        self.work = Some(
            async move {
                node.leave(&request.key, request.ticket).await?;
                tokio::time::sleep(away).await;
                node.acquire(&request).await
            }
            .boxed(),
        );
    }

    fn token(&self) -> Option<FencingToken> {
        match self.state {
            State::Mine(token) => Some(token),
            _ => None,
        }
    }

    /// Takes an answer in.
    fn hear(&mut self, answer: Result<Reply>) -> Result<()> {
        (self.fresh, self.away) = (true, false);
        self.took = self.asked.take().map(|asked| Moment::now().since(asked)).or(self.took);
        let reply = match answer {
            Ok(reply) => reply,
            Err(Error::Closed) => return Err(Error::Closed),
            Err(error) => {
                let pause = match &error {
                    Error::Guarded { left, .. } => (*left).max(AFTER_ERROR.0),
                    _ => about(self.pause),
                };
                self.pause = (self.pause * 2).min(AFTER_ERROR.1);
                (self.state, self.error) = (State::Out, Some(error));
                self.ask(pause);
                return Ok(());
            }
        };
        (self.error, self.pause, self.clock) = (None, AFTER_ERROR.0, reply.read.store);
        match reply.answer {
            Answer::Granted(grant) => (self.state, self.heard) = (State::Mine(grant.token), true),
            Answer::Queued(ref queued) => {
                self.request.stands_behind(queued);
                self.state = State::Held(queued.holding.clone());
                self.listen(reply);
            }
            Answer::Busy(holding) | Answer::Full { holding, .. } => {
                self.state = State::Held(holding);
                self.ask(about(AFTER_ERROR.1));
            }
            Answer::Done(_) => {
                // Not for a lock.
                self.state = State::Out;
                self.ask(about(AFTER_ERROR.1));
            }
        }
        Ok(())
    }
}

/// What one that has a part of the nodes is at.
#[derive(Clone, Copy)]
enum Phase {
    /// It has none.
    Waiting,
    /// It hopes for more, until then.
    Hoping(Moment),
    /// It looks at the others, until then.
    Looking(Moment),
}

struct Standing<'a> {
    store: &'a QuorumStore,
    request: &'a Request,
    seats: Vec<Seat>,
    phase: Phase,
    patience: Duration,
    /// Since when it has had a part.
    since: Moment,
    away: Duration,
}

impl QuorumStore {
    /// Waits until a majority of the nodes has served the request. Dropping this only stops listening.
    pub(super) async fn stand(&self, request: &Request) -> Result<Reply> {
        let seats = self.nodes.iter().map(|node| Seat::new(node, request)).collect();
        let (phase, patience, since, away) = (Phase::Waiting, PATIENCE.0, Moment::now(), AWAY.0);
        let mut standing = Standing { store: self, request, seats, phase, patience, since, away };
        loop {
            standing.next().await?;
            if let Some(reply) = standing.think().await? {
                return Ok(reply);
            }
        }
    }
}

impl Standing<'_> {
    /// Until something happens: an answer, or the end of patience.
    async fn next(&mut self) -> Result<()> {
        let end = match self.phase {
            Phase::Waiting => None,
            Phase::Hoping(end) | Phase::Looking(end) => Some(end),
        };
        let seats = &mut self.seats;
        let answers = poll_fn(|cx| {
            let mut some = Poll::Pending;
            for seat in seats.iter_mut() {
                let Some(work) = &mut seat.work else { continue };
                if let Poll::Ready(answer) = work.as_mut().poll(cx) {
                    seat.work = None;
                    if let Err(error) = seat.hear(answer) {
                        return Poll::Ready(Err(error));
                    }
                    // What it does next has to be polled, too, before anybody wakes this.
                    some = Poll::Ready(Ok(()));
                }
            }
            some
        });
        let pause = async {
            match end {
                Some(end) => tokio::time::sleep(end.since(Moment::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answered = answers => answered,
            () = pause => Ok(()),
        }
    }

    /// What to do now.
    async fn think(&mut self) -> Result<Option<Reply>> {
        let nodes = &self.store.nodes;
        let mine = self.seats.iter().filter(|seat| seat.token().is_some()).count();
        if mine >= nodes.majority() {
            return Ok(self.settle().await);
        }
        let errors: Vec<&Error> = self.seats.iter().filter_map(|seat| seat.error.as_ref()).collect();
        let stops = |error: &&&Error| !matches!(error, Error::Unavailable { .. });
        // Who stands in line keeps standing through an outage; his own `wait` is what ends it.
        if errors.iter().filter(stops).count() >= nodes.blocking() {
            return Err(judge::undecided(&self.store.name, nodes, &errors));
        }
        if mine == 0 {
            self.phase = Phase::Waiting;
            return Ok(None);
        }
        let now = Moment::now();
        match self.phase {
            Phase::Waiting => {
                self.patience = self.first_patience();
                (self.since, self.phase) = (now, Phase::Hoping(now.after(about(self.patience))));
                // Its turn has come: it asks for the rest wherever it stayed away.
                self.seats.iter_mut().filter(|seat| seat.away).for_each(|seat| seat.ask(Duration::ZERO));
            }
            Phase::Hoping(end) if now >= end => {
                // What is its own is asked for, too: to hear that it still is, and have its short ttl begin anew.
                for seat in self.seats.iter_mut().filter(|seat| !matches!(seat.state, State::Out)) {
                    seat.fresh = false;
                    // Who takes long to answer is not asked anew.
                    if seat.asked.is_none() {
                        seat.ask(Duration::ZERO);
                    }
                }
                self.phase = Phase::Looking(now.after(LOOK));
            }
            Phase::Hoping(_) => {}
            Phase::Looking(end) => {
                let looked = self.seats.iter().all(|seat| seat.fresh || matches!(seat.state, State::Out));
                if looked || now >= end {
                    self.decide(now);
                }
            }
        }
        Ok(None)
    }

    /// Goes on, or gives way.
    fn decide(&mut self, now: Moment) {
        let others = self.seats.iter().enumerate().filter_map(|(at, seat)| match &seat.state {
            State::Held(holding) if seat.fresh => Some((at, holding)),
            _ => None,
        });
        let mine = |at: usize| self.seats[at].token().is_some();
        let gives_way = gives_way(mine, others, self.store.nodes.majority());
        if gives_way || now.since(self.since) > KEEP {
            self.give_way();
            return;
        }
        self.patience = (self.patience * 2).min(LONGEST_PATIENCE);
        self.phase = Phase::Hoping(now.after(about(self.patience)));
    }

    fn give_way(&mut self) {
        let away = about(self.away);
        self.away = (self.away * 2).min(AWAY.1);
        self.seats.iter_mut().filter(|seat| seat.token().is_some()).for_each(|seat| seat.give_way(away));
        self.phase = Phase::Waiting;
    }

    /// Twice the time in which a majority answers.
    fn first_patience(&self) -> Duration {
        let mut took: Vec<Duration> = self.seats.iter().filter_map(|seat| seat.took).collect();
        took.sort();
        let majority = took.get(self.store.nodes.majority() - 1).copied().unwrap_or(PATIENCE.1);
        (majority * 2).clamp(PATIENCE.0, PATIENCE.1)
    }

    async fn settle(&mut self) -> Option<Reply> {
        let mut mine: Vec<_> = self.seats.iter().map(Seat::token).collect();
        let heard = self.seats.iter().map(|seat| seat.heard).collect();
        let now = self.seats.iter().filter(|seat| seat.token().is_some()).map(|seat| seat.clock).max();
        let now = now.unwrap_or(0);
        let reply = self.store.settle(self.request, now, &mut mine, heard, &mut None).await;
        if reply.is_none() {
            // Some have ended meanwhile: whoever does not have the key asks again.
            let pause = about(self.first_patience());
            for (seat, mine) in self.seats.iter_mut().zip(mine) {
                match (&seat.state, mine) {
                    (_, Some(token)) => (seat.state, seat.work) = (State::Mine(token), None),
                    (State::Mine(_), None) => {
                        seat.state = State::Out;
                        seat.ask(pause);
                    }
                    _ => {}
                }
            }
            self.phase = Phase::Waiting;
        }
        reply
    }
}
