//! The connection to one node, opened when it is first needed and again after it was lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::Client;
use tokio::time::{Instant, timeout};

use crate::error::Error;
use crate::observe;
use crate::store::redis::at::At;
use crate::store::redis::connection::Connection;
use crate::store::redis::greeting::{self, Expected, Failed};
use crate::store::redis::link;
use crate::store::redis::options::RedisOptions;
use crate::store::redis::server_clock::ServerClock;
use crate::store::redis::trouble::Kind;

/// The connection to one node.
pub(super) struct Line {
    pub(super) at: Arc<At>,
    pub(super) client: Client,
    pub(super) clock: Arc<ServerClock>,
    /// What it carries, as it is logged.
    carries: &'static str,
    store: Arc<str>,
    options: RedisOptions,
    state: Mutex<State>,
    /// One opens it for all.
    opening: tokio::sync::Mutex<()>,
}

struct State {
    /// The connection, and its number: no two of a process have the same one.
    up: Option<(u64, Connection)>,
    opened: bool,
    closed: bool,
    /// Why it could not be opened, and when that was.
    failed: Option<(Instant, Error, Kind)>,
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

impl Line {
    pub(super) fn new(
        at: Arc<At>,
        client: Client,
        clock: Arc<ServerClock>,
        carries: &'static str,
        (store, options): (Arc<str>, RedisOptions),
    ) -> Self {
        let state = State { up: None, opened: false, closed: false, failed: None };
        let (state, opening) = (Mutex::new(state), tokio::sync::Mutex::new(()));
        Line { at, client, clock, carries, store, options, state, opening }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and it is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if it is open.
    pub(super) fn now(&self) -> Option<(u64, Connection)> {
        self.state().up.clone()
    }

    /// The connection, opened if it is not.
    ///
    /// Cancel safe: whoever waits for the same goes on with it.
    pub(super) async fn up(&self) -> Result<(u64, Connection), Failed> {
        let began = Instant::now();
        if let Some(up) = self.now() {
            return Ok(up);
        }
        let _one = self.opening.lock().await;
        {
            let state = self.state();
            match (&state.up, &state.failed) {
                (Some(up), _) => return Ok(up.clone()),
                // Another has tried since this one began to wait: it needs not to find out by itself.
                (None, Some((when, error, kind))) if *when >= began => {
                    return Err(Failed { error: error.clone(), kind: *kind });
                }
                (None, _) => {}
            }
        }
        let limit = self.options.connect_timeout;
        let opened = timeout(limit, self.open()).await;
        let opened = opened.unwrap_or_else(|_| Err(greeting::silent(limit, &self.store)));
        self.opened(opened.map_err(|failed| failed.at(&self.at.to_string()).away()))
    }

    fn opened(&self, opened: Result<Connection, Failed>) -> Result<(u64, Connection), Failed> {
        let mut state = self.state();
        match opened {
            Ok(_) if state.closed => Err(Failed { error: Error::Closed, kind: Kind::Never }),
            Ok(connection) => {
                let up = (NUMBER.fetch_add(1, Ordering::Relaxed), connection);
                (state.up, state.failed) = (Some(up.clone()), None);
                if std::mem::replace(&mut state.opened, true) {
                    observe::connected_again(&self.store, self.carries);
                }
                Ok(up)
            }
            Err(failed) => {
                observe::not_connected(&self.store, self.carries, &failed.error);
                state.failed = Some((Instant::now(), failed.error.clone(), failed.kind));
                Err(failed)
            }
        }
    }

    /// Opens a connection and looks who answers.
    async fn open(&self) -> Result<Connection, Failed> {
        let mut connection = self.dial().await?;
        greeting::greet(&mut connection, &self.store, Expected::ClusterNode).await?;
        link::look_at(&self.clock, connection.clone(), self.options.connect_timeout).await;
        Ok(connection)
    }

    /// Opens a connection, whoever answers.
    pub(super) async fn dial(&self) -> Result<Connection, Failed> {
        Connection::open(&self.client).await.map_err(|error| greeting::failed(&error, &self.store))
    }

    /// Drops a connection. One that owes a reply is never used again.
    pub(super) fn lost(&self, broken: u64, error: &Error) {
        let mut state = self.state();
        if state.up.as_ref().is_some_and(|(number, _)| *number == broken) {
            state.up = None;
            observe::connection_lost(&self.store, self.carries, error);
        }
    }

    /// Opens none any more.
    pub(super) fn close(&self) {
        let mut state = self.state();
        (state.up, state.closed) = (None, true);
    }
}
