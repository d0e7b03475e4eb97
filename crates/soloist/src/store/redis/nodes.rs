//! The servers that a URL names, and which of them is the primary.
//!
//! With one server, it is that one. With several, all are asked at once, at every connection, and the first in
//! the order of the URL that is a primary and takes a write is used: the same rule for every client. It needs no
//! word between them, so where two servers call themselves primary for a while, clients may be at both.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use tokio::time::{sleep, timeout};

use super::greeting::{self, Failed};
use super::options::RedisOptions;
use super::trouble::Kind;

/// The servers of a store, in the order of its URL.
pub(super) struct Nodes {
    pub(super) store: Arc<str>,
    pub(super) options: RedisOptions,
    clients: Vec<Client>,
}

/// A connection for the verbs, and at which node it is.
pub(super) type Found = (usize, MultiplexedConnection);

impl Nodes {
    /// At least one client.
    pub(super) fn new(store: Arc<str>, clients: Vec<Client>, options: RedisOptions) -> Self {
        Nodes { store, options, clients }
    }

    /// Whether there is more than one, so that another may be the primary.
    pub(super) fn several(&self) -> bool {
        self.clients.len() > 1
    }

    /// The client of a node.
    pub(super) fn client(&self, node: usize) -> &Client {
        &self.clients[node]
    }

    /// Connects to the primary, for the first time: a wrong password, or what else no waiting helps against, is
    /// an error even where another node would serve, or it would be found at the failover.
    pub(super) async fn first(&self) -> Result<Found, Failed> {
        self.find(|failed| failed.kind == Kind::Never).await
    }

    /// Connects to this node, if it is a primary.
    pub(super) async fn at(&self, node: usize) -> Result<Found, Failed> {
        Ok((node, self.open(&self.clients[node]).await?))
    }

    /// Connects to the primary, whatever the other nodes say.
    pub(super) async fn again(&self) -> Result<Found, Failed> {
        self.find(|_| false).await
    }

    async fn find(&self, ends: impl Fn(&Failed) -> bool) -> Result<Found, Failed> {
        // All at once, so that nodes which are silent cost the time of one. Their answers are read in order.
        let mut asked: FuturesOrdered<_> = self.clients.iter().map(|client| self.open(client)).collect();
        let mut passed = Vec::new();
        while let Some(opened) = asked.next().await {
            let node = passed.len();
            match opened {
                Ok(connection) => return Ok((node, connection)),
                Err(failed) if !self.several() => return Err(failed),
                Err(failed) if ends(&failed) => return Err(failed.at(&self.address(node))),
                Err(failed) => passed.push((self.address(node), failed)),
            }
        }
        Err(Failed::none(&self.store, &passed))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// A node's name, `host:port`.
    pub(super) fn address(&self, node: usize) -> String {
        self.clients[node].get_connection_info().addr().to_string()
    }

    /// Opens a connection and looks who answers.
    async fn open(&self, client: &Client) -> Result<MultiplexedConnection, Failed> {
        self.in_time(async {
            let mut connection = self.connect(client).await?;
            self.greet(&mut connection).await?;
            Ok(connection)
        })
        .await
    }

    /// Opens a connection to a node, whatever it is.
    pub(super) async fn dial(&self, node: usize) -> Result<MultiplexedConnection, Failed> {
        self.in_time(self.connect(&self.clients[node])).await
    }

    async fn connect(&self, client: &Client) -> Result<MultiplexedConnection, Failed> {
        // The limits are ours: a reply that is late must not be taken for the next one's.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(|error| greeting::failed(&error, &self.store))
    }

    async fn in_time<T>(&self, opening: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        let limit = self.options.connect_timeout;
        timeout(limit, opening).await.unwrap_or_else(|_| Err(greeting::silent(limit, &self.store)))
    }

    async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<(), Failed> {
        greeting::greet(connection, &self.store).await?;
        if self.several() {
            greeting::takes_writes(connection, &self.store).await?;
        }
        Ok(())
    }

    /// Asks now and then whether this node still is the primary, for a waiter that sends nothing hears of no
    /// failover. Returns why it is not. A late answer is no answer here: a large result may be on its way in
    /// front of it, and silence is noticed by the verbs and by the connection that hears.
    pub(super) async fn deposed(&self, node: usize, mut connection: MultiplexedConnection) -> String {
        loop {
            sleep(self.options.health_check).await;
            if let Err(failed) = self.greet(&mut connection).await {
                return format!("{}: {}", self.address(node), failed.why());
            }
        }
    }
}
