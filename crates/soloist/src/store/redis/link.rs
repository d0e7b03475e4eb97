//! The connection that carries the verbs, and their repetition over its failures.

use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::command::Cmd;
use super::connection::Connection;
use super::nodes::Nodes;
use super::scripts::Verb;
use super::seat::{Seat, State};
use super::server_clock::ServerClock;
use super::trouble::{Kind, No, Trouble};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::observe;
use crate::protocol::Micros;
use crate::store::hub::Hub;

/// The connection, kept up by a task.
pub(super) struct Link {
    seat: Seat,
    clock: Arc<ServerClock>,
    /// The task that keeps it up.
    keeper: OnceLock<JoinHandle<()>>,
    /// Where the verbs go, for a link beside that one, which opens when it is first used.
    beside: Option<Seat>,
}

/// What a verb got.
pub(super) struct Answered {
    /// The answer.
    pub(super) value: Value,
    /// The client's clock before the request that was answered was sent.
    pub(super) sent: Moment,
    /// What went wrong with an earlier try that may have been carried out too.
    pub(super) unsure: Option<String>,
    /// The clock of the node that answered, where there are several.
    pub(super) clock: Option<Arc<ServerClock>>,
}

impl Answered {
    /// The answer, which is read once.
    pub(super) fn take(&mut self) -> Value {
        std::mem::replace(&mut self.value, Value::Nil)
    }
}

/// Adds a request's keys and arguments to a command; told whether an earlier try may have been carried out.
pub(super) type Build<'a> = &'a (dyn Fn(&mut Cmd, bool) + Send + Sync);

/// What is asked.
#[derive(Clone, Copy)]
enum What<'a> {
    Verb(&'a Verb, Build<'a>),
    Plain(&'a Cmd),
}

/// One try of a request.
#[derive(Clone, Copy, Debug)]
struct Try {
    /// Whether an earlier one may have been carried out.
    again: bool,
    /// When it is given up, on the server's clock; `None` if it may be carried out later, or nothing is known of
    /// that clock.
    until: Option<Micros>,
}

impl Link {
    /// Connects, once.
    pub(super) async fn connect(nodes: Arc<Nodes>, clock: Arc<ServerClock>, hub: Arc<Hub>) -> Result<Self> {
        let (node, connection) = nodes.first().await.map_err(|failed| failed.error)?;
        look_at(&clock, connection.clone(), nodes.options.connect_timeout).await;
        let seat = Seat::new(nodes, (node, connection));
        let keeper = tokio::spawn(keep_up(seat.clone(), Arc::clone(&clock), hub)).into();
        Ok(Link { seat, clock, keeper, beside: None })
    }

    /// A link beside this one that goes to the same node. It opens when it is first used, on the runtime that
    /// uses it, and needs no other.
    pub(super) fn aside(&self) -> Self {
        let (seat, clock) = (self.seat.beside(), Arc::clone(&self.clock));
        Link { seat, clock, keeper: OnceLock::new(), beside: Some(self.seat.clone()) }
    }

    /// Where the verbs go.
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// The clock of the server.
    pub(super) fn clock(&self) -> &ServerClock {
        &self.clock
    }

    /// Runs a verb, again and again until it is answered or the time for it is over. It may be carried out even
    /// later.
    pub(super) async fn call(&self, verb: &Verb, build: Build<'_>) -> Result<Answered> {
        self.call_sized(verb, 0, build).await
    }

    /// Runs a verb that must not be carried out once it was given up.
    pub(super) async fn call_in_time(&self, verb: &Verb, build: Build<'_>) -> Result<Answered> {
        let limit = self.seat.nodes().options.response_timeout;
        self.repeat(limit, true, What::Verb(verb, build)).await
    }

    /// Runs a verb that carries so many bytes.
    pub(super) async fn call_sized(&self, verb: &Verb, size: usize, build: Build<'_>) -> Result<Answered> {
        // A large result takes its time on a slow line: a second for each MiB.
        let limit = self.seat.nodes().options.response_timeout + Duration::from_secs((size >> 20) as u64);
        self.repeat(limit, false, What::Verb(verb, build)).await
    }

    /// Runs a plain command that only reads.
    pub(super) async fn command(&self, cmd: &Cmd) -> Result<Value> {
        Ok(self.repeat(self.seat.nodes().options.response_timeout, false, What::Plain(cmd)).await?.value)
    }

    /// Asks two plain commands once, in one write. `None`: what came of them is not known, or nothing at all.
    pub(super) async fn ask_two(&self, both: [Cmd; 2]) -> Option<Value> {
        let (generation, connection) = self.seat.now()?;
        let limit = self.seat.nodes().options.response_timeout;
        match connection.ask_two(both, limit).await {
            // An old primary's answers do not count.
            Ok(answers) => (!self.seat.is_deposed(generation)).then_some(answers),
            Err(error) => {
                if let Trouble::Lost(why) = Trouble::of(&error) {
                    self.seat.lost(generation, self.seat.unavailable(why));
                }
                None
            }
        }
    }

    async fn repeat(&self, limit: Duration, in_time: bool, what: What<'_>) -> Result<Answered> {
        let began = Moment::now();
        let give_up = began.after(self.seat.nodes().options.give_up);
        let mut backoff = Backoff::new();
        let mut unsure = None;
        if let Some(verbs) = &self.beside {
            self.keeper.get_or_init(|| tokio::spawn(keep_up_beside(self.seat.clone(), verbs.clone())));
        }
        let mut sent = began;
        loop {
            let (generation, connection) = match self.seat.now() {
                Some(up) => up,
                // In a box, as all that only an outage needs: there may be very many who ask.
                None => {
                    let up = Box::pin(self.seat.up(Instant::now() + give_up.since(Moment::now()))).await?;
                    sent = Moment::now();
                    up
                }
            };
            let until = if in_time { self.clock.at(sent.after(limit)) } else { None };
            let one = Try { again: unsure.is_some(), until };
            // No answer in time, or a lost connection: unknown. Asking again with the same ticket is the
            // same request.
            let mut answer = connection.ask(what.by_hash(one), limit).await;
            if let Err(error) = &answer
                && Trouble::is_no_script(error)
            {
                answer = Box::pin(connection.ask(what.by_source(one), limit)).await;
            }
            let error = match answer {
                // It was answered by a server that was not the primary any more: the next one may not know of it.
                Ok(_) if self.seat.is_deposed(generation) => {
                    let why = "it was answered by an old primary".to_owned();
                    unsure = Some(why.clone());
                    self.seat.unavailable(why)
                }
                Ok(value) => return Ok(Answered { value, sent, unsure, clock: None }),
                Err(error) => match Trouble::of(&error) {
                    Trouble::Lost(why) => {
                        unsure = Some(why.clone());
                        self.seat.lost(generation, self.seat.unavailable(why))
                    }
                    Trouble::No(No { kind: Kind::Never, why, hint }) => return Err(self.refused(why, hint)),
                    // Another node is the primary, or will be soon: an outage.
                    Trouble::No(No { kind: Kind::NotNow, why, .. }) if self.seat.nodes().several() => {
                        self.seat.lost(generation, self.seat.unavailable(why))
                    }
                    // Behind the same address another server may answer soon.
                    Trouble::No(No { kind: Kind::NotNow, why, hint }) => {
                        self.seat.lost(generation, self.refused(why, hint))
                    }
                    Trouble::No(No { kind: Kind::Away, why, hint }) => {
                        self.seat.unavailable(format!("{why} ({hint})"))
                    }
                    // What the answer says of the server's clock gives the next try all of its time.
                    Trouble::TooLate(now) => {
                        self.clock.read(sent, now);
                        self.seat.unavailable("requests arrive there when they are given up already".into())
                    }
                    // A script that was sent as a source cannot be unknown; if it is, sending it again is right.
                    Trouble::NoScript => {
                        self.seat.unavailable("the server forgets scripts while it runs them".into())
                    }
                },
            };
            if Moment::now() >= give_up {
                return Err(error);
            }
            Box::pin(backoff.pause()).await;
            sent = Moment::now();
        }
    }

    pub(super) fn refused(&self, why: String, hint: &'static str) -> Error {
        self.seat.refused(why, hint)
    }

    /// Ends the connection; everybody who waits for it is told.
    pub(super) fn close(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.abort();
        }
        if self.beside.is_none() {
            self.seat.nodes().close();
        }
        self.seat.close();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

impl What<'_> {
    /// A script by its hash.
    fn by_hash(self, one: Try) -> Cmd {
        self.command(one, Verb::by_hash)
    }

    /// A script by its source, where the server does not know it.
    fn by_source(self, one: Try) -> Cmd {
        self.command(one, Verb::by_source)
    }

    fn command(self, one: Try, begin: fn(&Verb) -> Cmd) -> Cmd {
        match self {
            What::Plain(cmd) => cmd.clone(),
            What::Verb(verb, build) => {
                let mut cmd = begin(verb);
                build(&mut cmd, one.again);
                verb.until(&mut cmd, one.until);
                cmd
            }
        }
    }
}

/// Reads the clock of a server that has just been connected to, so that already the first request has a bound. Where
/// it cannot be read, that has none, and whoever asks next finds out what is wrong.
pub(super) async fn look_at(clock: &ServerClock, mut connection: Connection, limit: Duration) {
    let time = redis::cmd("TIME");
    if !clock.is_servers() {
        return;
    }
    clock.connected();
    let sent = Moment::now();
    let asked = time.query_async::<(u64, u64)>(&mut connection);
    if let Ok(Ok((secs, us))) = timeout(limit, asked).await {
        clock.read(sent, secs.saturating_mul(1_000_000).saturating_add(us));
    }
}

/// Connects again whenever the connection is lost, without a limit of tries.
async fn keep_up(seat: Seat, clock: Arc<ServerClock>, hub: Arc<Hub>) {
    let mut generation = 1;
    while down(&seat).await {
        let mut backoff = Backoff::new();
        loop {
            seat.nodes().pause(&mut backoff).await;
            match seat.nodes().again().await {
                Ok((node, connection)) => {
                    generation += 1;
                    look_at(&clock, connection.clone(), seat.nodes().options.connect_timeout).await;
                    seat.change(State::Up { generation, node, connection });
                    break;
                }
                Err(failed) => {
                    observe::not_connected(&seat.nodes().store, "verbs", &failed.error);
                    seat.change(State::Down { told: failed.kind == Kind::Never, error: failed.later() });
                }
            }
        }
        observe::connected_again(&seat.nodes().store, "verbs");
        hub.look_all(true);
    }
}

/// Keeps a connection up beside the one for the verbs: at the same node, or where that one cannot be had at the
/// primary, wherever it is by now; whoever moves the verbs may be blocked. It hears nothing, so nobody asks again
/// for its sake.
async fn keep_up_beside(seat: Seat, verbs: Seat) {
    let (mut generation, mut backoff) = (0, Backoff::new());
    let mut moves = verbs.subscribe();
    while !seat.is_closed() {
        let there = verbs.at(&moves.borrow_and_update());
        let found = match there {
            Some(node) if seat.nodes().several() => match seat.nodes().at(node).await {
                Ok(found) => Ok(found),
                Err(_) => seat.nodes().again().await,
            },
            _ => seat.nodes().again().await,
        };
        match found {
            Ok((node, connection)) => {
                generation += 1;
                seat.change(State::Up { generation, node, connection });
                if generation > 1 {
                    observe::connected_again(&seat.nodes().store, seat.carries);
                }
                backoff = Backoff::new();
                let mut states = seat.subscribe();
                let lost = states.wait_for(|state| !matches!(state, State::Up { .. }));
                tokio::select! {
                    biased;
                    _ = lost => {}
                    () = moved(&verbs, &mut moves, node) => {
                        let why = "another node is the primary now";
                        seat.depose((generation, node), seat.unavailable(why.into()));
                    }
                }
            }
            Err(failed) => {
                observe::not_connected(&seat.nodes().store, seat.carries, &failed.error);
                seat.change(State::Down { told: failed.kind == Kind::Never, error: failed.later() });
            }
        }
        backoff.pause().await;
    }
}

/// Returns when the verbs have moved to another node than this, or left it since it is not the primary any more.
async fn moved(verbs: &Seat, moves: &mut watch::Receiver<State>, from: usize) {
    loop {
        if moves.changed().await.is_err() {
            pending().await // the store is being dropped, and this task with it
        }
        let state = moves.borrow_and_update();
        if verbs.at(&state).is_some_and(|node| node != from) || verbs.has_left(&state, from) {
            return;
        }
    }
}

/// Waits until the connection is lost, or its node is the primary no more. `false`: there is none any more.
async fn down(seat: &Seat) -> bool {
    let mut states = seat.subscribe();
    let current = match &*states.borrow() {
        State::Up { generation, node, connection } => Some((*generation, *node, connection.clone())),
        State::Down { .. } => return true,
        State::Closed => return false,
    };
    let deposed = async {
        match current {
            Some((generation, node, connection)) if seat.nodes().several() => {
                ((generation, node), seat.nodes().deposed(node, connection).await)
            }
            _ => pending().await,
        }
    };
    tokio::select! {
        biased;
        down = async { states.wait_for(|state| matches!(state, State::Down { .. })).await.is_ok() } => down,
        (old, why) = deposed => {
            seat.depose(old, seat.unavailable(why));
            true
        }
    }
}
