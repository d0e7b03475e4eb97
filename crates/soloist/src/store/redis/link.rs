//! The connection that carries the verbs, and their repetition over its failures.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisResult, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::backoff::Backoff;
use super::greeting::{self, Failed};
use super::options::RedisOptions;
use super::scripts::Verb;
use super::trouble::{Kind, No, Trouble};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::observe;
use crate::store::hub::Hub;

/// How the connection is.
enum State {
    Up {
        generation: u64,
        connection: MultiplexedConnection,
    },
    /// Why; `told` when waiting for it would not help.
    Down {
        error: Error,
        told: bool,
    },
    Closed,
}

/// The connection, kept up by a task.
pub(super) struct Link {
    store: Arc<str>,
    options: RedisOptions,
    state: watch::Sender<State>,
    keeper: JoinHandle<()>,
}

/// What a verb got.
pub(super) struct Answered {
    /// The answer.
    pub(super) value: Value,
    /// The client's clock before the request that was answered was sent.
    pub(super) sent: Moment,
    /// What went wrong with an earlier try that may have been carried out too.
    pub(super) unsure: Option<String>,
}

/// Adds a request's keys and arguments to a command; told whether an earlier try may have been carried out.
pub(super) type Build<'a> = &'a (dyn Fn(&mut Cmd, bool) + Send + Sync);

impl Link {
    /// Connects, once.
    pub(super) async fn connect(
        store: Arc<str>,
        client: Client,
        options: RedisOptions,
        hub: Arc<Hub>,
    ) -> Result<Self> {
        let connection = open(&client, &options, &store).await.map_err(|failed| failed.error)?;
        let state = watch::Sender::new(State::Up { generation: 1, connection });
        let keeper = tokio::spawn(keep_up(Arc::clone(&store), client, options.clone(), state.clone(), hub));
        Ok(Link { store, options, state, keeper })
    }

    /// Runs a verb, again and again until it is answered or the time for it is over.
    pub(super) async fn call(&self, verb: &Verb, build: Build<'_>) -> Result<Answered> {
        self.call_sized(verb, 0, build).await
    }

    /// Runs a verb that carries so many bytes.
    pub(super) async fn call_sized(&self, verb: &Verb, size: usize, build: Build<'_>) -> Result<Answered> {
        // A large result takes its time on a slow line: a second for each MiB.
        let limit = self.options.response_timeout + Duration::from_secs((size >> 20) as u64);
        self.repeat(limit, |connection, again| evaluate(connection, verb, build, again)).await
    }

    /// Runs a plain command that only reads.
    pub(super) async fn command(&self, cmd: &Cmd) -> Result<Value> {
        let run =
            |mut connection: MultiplexedConnection, _| async move { cmd.query_async(&mut connection).await };
        Ok(self.repeat(self.options.response_timeout, run).await?.value)
    }

    async fn repeat<F>(
        &self,
        limit: Duration,
        run: impl Fn(MultiplexedConnection, bool) -> F,
    ) -> Result<Answered>
    where
        F: Future<Output = RedisResult<Value>>,
    {
        let give_up = Instant::now() + self.options.give_up;
        let mut backoff = Backoff::new();
        let mut unsure = None;
        loop {
            let (generation, connection) = self.up(give_up).await?;
            let sent = Moment::now();
            // No answer in time, or a lost connection: unknown. Asking again with the same ticket is the
            // same request.
            let error = match timeout(limit, run(connection, unsure.is_some())).await {
                Ok(Ok(value)) => return Ok(Answered { value, sent, unsure }),
                Err(_) => {
                    let why = format!("no answer within {limit:?}");
                    unsure = Some(why.clone());
                    self.lost(generation, self.unavailable(why))
                }
                Ok(Err(error)) => match Trouble::of(&error) {
                    Trouble::Lost(why) => {
                        unsure = Some(why.clone());
                        self.lost(generation, self.unavailable(why))
                    }
                    Trouble::No(No { kind: Kind::Never, why, hint }) => return Err(self.refused(why, hint)),
                    // Behind the same address another server may answer soon.
                    Trouble::No(No { kind: Kind::NotNow, why, hint }) => {
                        self.lost(generation, self.refused(why, hint))
                    }
                    Trouble::No(No { kind: Kind::Away, why, hint }) => {
                        self.unavailable(format!("{why} ({hint})"))
                    }
                    // A script that was sent as a source cannot be unknown; if it is, sending it again is right.
                    Trouble::NoScript => {
                        self.unavailable("the server forgets scripts while it runs them".into())
                    }
                },
            };
            if Instant::now() >= give_up {
                return Err(error);
            }
            backoff.pause().await;
        }
    }

    /// The connection, once it is up.
    async fn up(&self, give_up: Instant) -> Result<(u64, MultiplexedConnection)> {
        let mut states = self.state.subscribe();
        let settled = states.wait_for(|state| !matches!(state, State::Down { told: false, .. }));
        let settled = timeout_at(give_up, settled).await.map(|state| {
            state.map(|state| match &*state {
                State::Up { generation, connection } => Ok((*generation, connection.clone())),
                State::Down { error, .. } => Err(error.clone()),
                State::Closed => Err(Error::Closed),
            })
        });
        match settled {
            Ok(Ok(outcome)) => outcome,
            // The sender lives as long as this link.
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => match &*self.state.borrow() {
                State::Down { error, .. } => Err(error.clone()),
                _ => Err(self.unavailable(format!("no connection within {:?}", self.options.give_up))),
            },
        }
    }

    /// Drops a connection. One that owes a reply is never used again.
    fn lost(&self, broken: u64, error: Error) -> Error {
        let lost = self.state.send_if_modified(|state| {
            let current = matches!(state, State::Up { generation, .. } if *generation == broken);
            if current {
                *state = State::Down { error: error.clone(), told: false };
            }
            current
        });
        // One connection is lost once, however many requests it carried.
        if lost {
            observe::connection_lost(&self.store, "verbs", &error);
        }
        error
    }

    pub(super) fn unavailable(&self, why: String) -> Error {
        Error::Unavailable { store: self.store.to_string(), why }
    }

    pub(super) fn refused(&self, why: String, hint: &'static str) -> Error {
        Error::Refused { store: self.store.to_string(), why, hint }
    }

    /// Ends the connection; everybody who waits for it is told.
    pub(super) fn close(&self) {
        self.keeper.abort();
        self.state.send_replace(State::Closed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs a script by its hash, and by its source where the server does not know it.
async fn evaluate(
    mut connection: MultiplexedConnection,
    verb: &Verb,
    build: Build<'_>,
    again: bool,
) -> RedisResult<Value> {
    let mut cmd = verb.by_hash();
    build(&mut cmd, again);
    match cmd.query_async(&mut connection).await {
        Err(error) if Trouble::of(&error) == Trouble::NoScript => {
            let mut cmd = verb.by_source();
            build(&mut cmd, again);
            cmd.query_async(&mut connection).await
        }
        answer => answer,
    }
}

/// Opens a connection and looks who answers.
async fn open(client: &Client, options: &RedisOptions, store: &str) -> Result<MultiplexedConnection, Failed> {
    // The limits are ours: a reply that is late must not be taken for the next one's.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let opening = async {
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| greeting::failed(&error, store))?;
        greeting::greet(&mut connection, store).await?;
        Ok(connection)
    };
    timeout(options.connect_timeout, opening)
        .await
        .unwrap_or_else(|_| Err(greeting::silent(options.connect_timeout, store)))
}

/// Connects again whenever the connection is lost, without a limit of tries.
async fn keep_up(
    store: Arc<str>,
    client: Client,
    options: RedisOptions,
    state: watch::Sender<State>,
    hub: Arc<Hub>,
) {
    let mut states = state.subscribe();
    let mut generation = 1;
    while states.wait_for(|state| matches!(state, State::Down { .. })).await.is_ok() {
        let mut backoff = Backoff::new();
        loop {
            backoff.pause().await;
            let next = match open(&client, &options, &store).await {
                Ok(connection) => {
                    generation += 1;
                    State::Up { generation, connection }
                }
                Err(failed) => {
                    observe::not_connected(&store, "verbs", &failed.error);
                    State::Down { told: failed.kind == Kind::Never, error: failed.later() }
                }
            };
            let up = matches!(next, State::Up { .. });
            state.send_if_modified(|state| {
                let open = !matches!(state, State::Closed);
                if open {
                    *state = next;
                }
                open
            });
            if up {
                observe::connected_again(&store, "verbs");
                hub.look_all(true);
                break;
            }
        }
    }
}
