//! A session of a simulation: the store that one process has.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::gate::Gate;
use super::planted::{Planted, leave_blindly, publish_blindly};
use super::world::{Ran, World};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::name::{Key, Session, Ticket};
use crate::protocol::{
    Answer, KeyInfo, Left, Micros, Mode, Outcome, Publication, Published, Released, Renewal, Renewed,
    Request, Step, Table, Wake, Who,
};
use crate::store::hub::Hub;
use crate::store::{EventStream, Notice, Reply, Rotated, Store, Told, waiting};

/// How long to wait for a reply, and for how long to ask again.
const RESPONSE: Duration = Duration::from_millis(1000);
const GIVE_UP: Duration = Duration::from_secs(4);

/// What the server and the network know of a session.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) hub: Arc<Hub>,
    pub(super) gate: Arc<Gate>,
    /// Whether wake-ups have somebody to hear them, as the server sees it.
    pub(super) heard: bool,
    /// Whether nothing passes.
    pub(super) cut: bool,
    /// When the last request arrives: those of one session do so in order.
    last: Instant,
}

/// A session on a [`World`].
#[derive(Debug)]
pub struct SimulatedStore {
    world: World,
    session: Session,
    hub: Arc<Hub>,
    gate: Arc<Gate>,
}

struct Answered<T> {
    value: T,
    sent: Moment,
    now: Micros,
    /// Whether an earlier try may have been carried out.
    unsure: bool,
}

impl SimulatedStore {
    pub(super) fn new(world: World) -> Self {
        let (session, hub, gate) = (Session::mint(), Arc::new(Hub::new()), Arc::new(Gate::default()));
        let (last, cut, heard) = (Instant::now(), false, true);
        let seat = Seat { hub: Arc::clone(&hub), gate: Arc::clone(&gate), heard, cut, last };
        world.state().seats.insert(session, seat);
        SimulatedStore { world, session, hub, gate }
    }

    /// What stops this process; its tasks have to [run behind it](Gate::run).
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Cuts it off from the server, or has it back.
    pub fn set_cut(&self, cut: bool) {
        let mut state = self.world.state();
        state.count("cut off", cut);
        if let Some(seat) = state.seats.get_mut(&self.session) {
            seat.cut = cut;
        }
        drop(state);
        if !cut {
            self.world.comes_back(self.session);
        }
    }

    /// kill -9: the server hears at once that the connection ended, and nothing else from it ever.
    pub fn kill(&self) {
        self.world.state().count("killed", true);
        self.end();
    }

    fn end(&self) {
        let hubs: Vec<_> = {
            let mut state = self.world.state();
            state.seats.remove(&self.session);
            state.subscribers.retain(|(session, _)| *session != self.session);
            let told = state.seats.values().filter(|_| state.bound);
            told.map(|seat| Arc::clone(&seat.hub)).collect()
        };
        self.hub.close();
        hubs.iter().for_each(|hub| hub.look_all(false));
    }

    /// Runs a verb at the server: asks again until the answer is there.
    async fn ask<T: Send + 'static>(
        &self,
        verb: &'static str,
        run: impl Fn(&mut Table, &mut Step<'_>) -> T + Clone + Send + 'static,
    ) -> Result<Answered<T>> {
        let give_up = Instant::now() + GIVE_UP;
        let (mut unsure, mut pause) = (false, 5_000);
        loop {
            self.gate.passed().await;
            let sent = Moment::now();
            let reply = self.send(verb, run.clone())?;
            let ran = timeout(RESPONSE, reply).await;
            self.gate.passed().await;
            match ran {
                Ok(Ran::Answer(value, now)) => return Ok(Answered { value, sent, now, unsure }),
                Ok(Ran::NoScript) => return Err(self.refused("NOSCRIPT")),
                Err(_) => unsure = true,
            }
            if Instant::now() >= give_up {
                let (store, why) = (self.name().into(), "no answer".into());
                return Err(Error::Unavailable { store, why });
            }
            let wait = self.world.state().dice.between(pause / 2, pause);
            tokio::time::sleep(Duration::from_micros(wait)).await;
            pause = (pause * 2).min(1_000_000);
        }
    }

    /// Sends a request. It goes on its way whatever becomes of the caller, who may get the answer.
    fn send<T: Send + 'static>(
        &self,
        verb: &'static str,
        run: impl Fn(&mut Table, &mut Step<'_>) -> T + Send + 'static,
    ) -> Result<BoxFuture<'static, Ran<T>>> {
        let (world, session) = (self.world.clone(), self.session);
        let mut state = world.state();
        let (weather, life) = (state.weather.clone(), state.life);
        let fate = weather.fate(&mut state.dice);
        let seat = state.seats.get_mut(&session).ok_or(Error::Closed)?;
        let arrival = seat.last.max(Instant::now() + fate.there);
        seat.last = arrival;
        for (kind, happened) in [
            ("requests lost", !fate.arrives),
            ("requests twice", fate.twice),
            ("replies lost", fate.arrives && !fate.answered),
            ("late", fate.there.max(fate.back) > Duration::from_micros(weather.way)),
        ] {
            state.count(kind, happened);
        }
        drop(state);
        let (answer, reply) = oneshot::channel();
        tokio::spawn(async move {
            tokio::time::sleep_until(arrival).await;
            // Another life of the server, or an end of this session: what was on its way is gone.
            let passes = |world: &World| {
                let state = world.state();
                state.life == life && !state.down && state.seats.get(&session).is_some_and(|seat| !seat.cut)
            };
            if !fate.arrives || !passes(&world) {
                return;
            }
            let ran = world.run(verb, &run);
            if fate.twice {
                world.run(verb, &run);
            }
            tokio::time::sleep(fate.back).await;
            if fate.answered && passes(&world) {
                // An error means that nobody waits for it any more.
                let _ = answer.send(ran);
            }
        });
        Ok(Box::pin(async move {
            match reply.await {
                Ok(ran) => ran,
                Err(_) => pending().await,
            }
        }))
    }

    fn planted(&self) -> Option<Planted> {
        self.world.state().planted
    }

    /// Waits for the message and nothing else. Planted: no store does this.
    async fn message_alone(&self, request: &Request, standing: Reply) -> Result<Reply> {
        let slot = self.hub.listen(request.ticket, &request.key).ok_or(Error::Closed)?;
        loop {
            let answer = match slot.told().await {
                Wake::Granted(grant) => Answer::Granted(grant),
                Wake::Done(outcome) => Answer::Done(outcome),
                Wake::Look | Wake::Lost(..) if self.hub.listen(request.ticket, &request.key).is_some() => {
                    continue;
                }
                Wake::Look | Wake::Lost(..) => return Err(Error::Closed),
            };
            return Ok(Reply { answer, ..standing });
        }
    }

    /// Takes in the answer to a request, with what is planted in it.
    fn asked(&self, request: &Request, mut reply: Reply) -> Reply {
        match (self.planted(), &mut reply.answer) {
            (Some(Planted::DeadlineFromReply), _) => reply.read.client = Moment::now(),
            (Some(Planted::NoDeadline), Answer::Granted(grant)) => grant.ttl = request.ttl,
            _ => {}
        }
        if !matches!(reply.answer, Answer::Queued(_)) {
            self.hub.forget(request.ticket);
        }
        reply
    }

    fn refused(&self, why: &str) -> Error {
        Error::Refused { store: self.name().into(), why: why.into(), hint: "none" }
    }
}

impl Drop for SimulatedStore {
    fn drop(&mut self) {
        self.end();
    }
}

#[async_trait]
impl Store for SimulatedStore {
    fn name(&self) -> &str {
        "simulated:"
    }

    async fn acquire(&self, request: &Request) -> Result<Reply> {
        if request.mode == Mode::Line {
            self.hub.listen(request.ticket, &request.key).ok_or(Error::Closed)?;
        }
        let (planted, session) = (self.planted(), self.session);
        let asked = Planted::request(planted, request, session);
        let verb = move |table: &mut Table, step: &mut Step<'_>| table.acquire(&asked, session, step);
        let Answered { value, sent, now, .. } = self.ask("acquire", verb).await?;
        Ok(self.asked(request, Reply::new(value, sent, now)))
    }

    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        if self.planted() == Some(Planted::MessageAlone) {
            return self.message_alone(request, standing).await;
        }
        let reply = waiting::wait(self, &self.hub, request, standing).await;
        self.gate.passed().await;
        reply
    }

    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        self.hub.forget(ticket);
        let (key, planted) = (key.clone(), self.planted());
        let ticket = Planted::ticket(planted, ticket, self.session);
        let verb = move |table: &mut Table, step: &mut Step<'_>| match planted {
            Some(Planted::LeaveWithoutLooking) => leave_blindly(table, &key, ticket),
            _ => table.leave(&key, ticket, step),
        };
        Ok(self.ask("leave", verb).await?.value)
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let (planted, session) = (self.planted(), self.session);
        let sent = |renewal| Planted::renewal(planted, renewal, session);
        let renewals: Vec<Renewal> = renewals.iter().map(sent).collect();
        let verb = move |table: &mut Table, step: &mut Step<'_>| {
            renewals.iter().map(|renewal| table.renew(renewal, step)).collect()
        };
        Ok(self.ask("renew", verb).await?.value)
    }

    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        let (at, session) = (key.clone(), self.session);
        let who = Planted::who(self.planted(), who, session);
        let verb = move |table: &mut Table, step: &mut Step<'_>| table.release(&at, &who, session, step);
        let Answered { value, unsure, .. } = self.ask("release", verb).await?;
        if unsure && matches!(value, Released::NotHeld(_)) {
            // The first try may have released it, or it had ended before.
            return Err(Error::Unknown { verb: "release", key: key.clone(), why: "no answer".into() });
        }
        Ok(value)
    }

    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        let stood = self.hub.place(request.ticket).is_some();
        self.hub.listen(request.ticket, &request.key).ok_or(Error::Closed)?;
        let (planted, session) = (self.planted(), self.session);
        let asked = Planted::request(planted, request, session);
        let held = Planted::ticket(planted, held, session);
        let verb = move |table: &mut Table, step: &mut Step<'_>| table.rotate(held, &asked, session, step);
        let Answered { value, sent, now, unsure } = self.ask("rotate", verb).await?;
        Ok(match value {
            Ok((token, answer)) => {
                Rotated::Asked(token, Ok(self.asked(request, Reply::new(answer, sent, now))))
            }
            // As of a release; and the request may stand in line.
            Err(_) if unsure => {
                let (key, why) = (request.key.clone(), "no answer".into());
                return Err(Error::Unknown { verb: "release", key, why });
            }
            Err(holding) => {
                // Nothing was asked for, but before.
                if !stood {
                    self.hub.forget(request.ticket);
                }
                Rotated::NotHeld(holding)
            }
        })
    }

    async fn publish(&self, publication: &Publication) -> Result<Published> {
        let (mut publication, planted) = (publication.clone(), self.planted());
        publication.ticket = Planted::ticket(planted, publication.ticket, self.session);
        let verb = move |table: &mut Table, step: &mut Step<'_>| {
            let published = table.publish(&publication, step);
            if planted == Some(Planted::BlindPublish) && matches!(published, Published::Refused(_)) {
                publish_blindly(table, &publication);
                return Published::Published;
            }
            published
        };
        Ok(self.ask("publish", verb).await?.value)
    }

    async fn forget(&self, key: &Key) -> Result<bool> {
        let key = key.clone();
        Ok(self.ask("forget", move |table, step| table.forget(&key, step)).await?.value)
    }

    async fn touch(&self, key: &Key) -> Result<()> {
        let key = key.clone();
        self.ask("touch", move |table, step| table.touch(&key, step)).await.map(drop)
    }

    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        let key = key.clone();
        Ok(self.ask("result", move |table, step| table.result(&key, step)).await?.value)
    }

    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        let key = key.clone();
        Ok(self.ask("inspect", move |table, step| table.inspect(&key, step)).await?.value)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        let prefix = prefix.to_owned();
        Ok(self.ask("list", move |table, step| table.list(&prefix, step)).await?.value)
    }

    async fn events(&self) -> Result<EventStream> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut state = self.world.state();
        if !state.seats.contains_key(&self.session) {
            return Err(Error::Closed);
        }
        state.subscribers.push((self.session, sender));
        let next = move |cx: &mut std::task::Context<'_>| receiver.poll_recv(cx).map(|e| e.map(Told::Event));
        Ok(Box::pin(futures_util::stream::poll_fn(next)))
    }

    fn leases_end_with_sessions(&self) -> bool {
        self.world.state().bound
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.hub.notices()
    }

    async fn stop_waiting(&self) {
        let left = self.hub.close();
        self.world.state().forgotten += left.len() as u64;
        let left = left.into_iter().map(|(key, ticket, _)| async move { self.leave(&key, ticket).await });
        let _ = timeout(RESPONSE, futures_util::future::join_all(left)).await;
    }

    async fn close(&self) {
        self.stop_waiting().await;
        self.end();
    }
}
