//! The servers that a URL names, and which of them is the primary.
//!
//! With one server, it is that one. With several, all are asked at once, at every connection, and the first in
//! the order of the URL that is a primary and takes a write is used: the same rule for every client. It needs no
//! word between them, so where two servers call themselves primary for a while, clients may be at both. With
//! Sentinels, it is the one that they name, if it is a primary and takes a write.

use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use redis::Client;
use tokio::time::{sleep, timeout};

use super::at::At;
use super::backoff::Backoff;
use super::connection::Connection;
use super::greeting::{self, Expected, Failed};
use super::options::RedisOptions;
use super::sentinel::{self, Named, Sentinels};

/// The servers of a store.
pub(super) struct Nodes {
    pub(super) store: Arc<str>,
    pub(super) options: RedisOptions,
    finder: Finder,
    /// Of the nodes of a cluster, which are only named here to be examined: a shard that each has, if it has any.
    shards: Option<Vec<Option<u8>>>,
}

/// How the servers are found.
pub(super) enum Finder {
    /// They are named: at least one, in the order of the URL.
    Hosts(Vec<Client>),
    /// Sentinels name the primary.
    Sentinels(Box<Sentinels>),
}

/// A connection for the verbs, and at which node it is.
pub(super) type Found = (usize, Connection);

impl Nodes {
    pub(super) fn new(store: Arc<str>, finder: Finder, options: RedisOptions) -> Self {
        Nodes { store, options, finder, shards: None }
    }

    /// The nodes of a cluster, each with a shard that it has, if it has any.
    pub(super) fn of_cluster(
        store: Arc<str>,
        nodes: Vec<(Client, Option<u8>)>,
        options: RedisOptions,
    ) -> Self {
        let (clients, shards) = nodes.into_iter().unzip();
        Nodes { shards: Some(shards), ..Self::new(store, Finder::Hosts(clients), options) }
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.shards.is_some()
    }

    /// A shard that a node of a cluster has, if it has any.
    pub(super) fn shard(&self, node: usize) -> Option<u8> {
        *self.shards.as_ref()?.get(node)?
    }

    /// The Sentinels that name the primary, where some do.
    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        match &self.finder {
            Finder::Hosts(_) => None,
            Finder::Sentinels(sentinels) => Some(sentinels),
        }
    }

    /// Those that its Sentinels have named, and these, only to be examined.
    pub(super) fn with(&self, sentinels: &Sentinels, others: &[At]) -> Result<Self, Failed> {
        let mut clients: Vec<Client> = self.known().filter_map(|node| sentinels.client(node)).collect();
        let addresses: Vec<String> = self.known().map(|node| self.address(node)).collect();
        for at in others.iter().filter(|at| !addresses.contains(&at.to_string())) {
            clients.push(sentinels.client_at(at)?);
        }
        Ok(Self::new(Arc::clone(&self.store), Finder::Hosts(clients), self.options.clone()))
    }

    /// Whether there may be more than one, so that another may be the primary.
    pub(super) fn several(&self) -> bool {
        match &self.finder {
            Finder::Hosts(clients) => clients.len() > 1,
            Finder::Sentinels(_) => true,
        }
    }

    /// The client of a node; an error for one that was forgotten meanwhile.
    pub(super) fn client(&self, node: usize) -> Result<Client, Failed> {
        let client = match &self.finder {
            Finder::Hosts(clients) => clients.get(node).cloned(),
            Finder::Sentinels(sentinels) => sentinels.client(node),
        };
        client.ok_or_else(|| Failed::unavailable(&self.store, "this node is not used any more".into()))
    }

    /// Connects to the primary, for the first time: a wrong password, or what else no waiting helps against, is
    /// an error even where another node would serve, or it would be found at the failover.
    pub(super) async fn first(&self) -> Result<Found, Failed> {
        let found = self.find(sentinel::for_ever).await?;
        if let Finder::Sentinels(sentinels) = &self.finder {
            sentinels.listen();
        }
        Ok(found)
    }

    /// Connects to this node, if it is a primary.
    pub(super) async fn at(&self, node: usize) -> Result<Found, Failed> {
        Ok((node, self.open(&self.client(node)?).await?))
    }

    /// Connects to the primary, whatever the other nodes say.
    pub(super) async fn again(&self) -> Result<Found, Failed> {
        self.find(|_| false).await
    }

    /// Looks for the primary no more.
    pub(super) fn close(&self) {
        if let Finder::Sentinels(sentinels) = &self.finder {
            sentinels.close();
        }
    }

    /// The pause before the next try, cut short when a Sentinel has something to say.
    pub(super) async fn pause(&self, backoff: &mut Backoff) {
        match &self.finder {
            Finder::Hosts(_) => backoff.pause().await,
            Finder::Sentinels(sentinels) => tokio::select! {
                biased;
                () = backoff.pause() => {}
                () = sentinels.hinted(sentinels.hints()) => {}
            },
        }
    }

    async fn find(&self, ends: impl Fn(&Failed) -> bool) -> Result<Found, Failed> {
        match &self.finder {
            Finder::Hosts(clients) => self.among(clients, ends).await,
            Finder::Sentinels(sentinels) => self.named_by(sentinels, ends).await,
        }
    }

    /// Asks the Sentinels, and connects to the node that they name.
    async fn named_by(&self, sentinels: &Sentinels, ends: impl Fn(&Failed) -> bool) -> Result<Found, Failed> {
        loop {
            let (Named { node, client }, hints) = sentinels.primary(&ends).await?;
            let opened = tokio::select! {
                biased;
                opened = self.open(&client) => opened,
                // A dead primary may be silent for long: nobody waits for it when another is named.
                () = sentinels.hinted(hints) => continue,
            };
            return match opened {
                Ok(connection) => Ok((node, connection)),
                Err(failed) => {
                    let at = format!("{}, the primary by its Sentinels", sentinels.address(node));
                    Err(failed.away().at(&at))
                }
            };
        }
    }

    async fn among(&self, clients: &[Client], ends: impl Fn(&Failed) -> bool) -> Result<Found, Failed> {
        // All at once, so that nodes which are silent cost the time of one. Their answers are read in order.
        let mut asked: FuturesOrdered<_> = clients.iter().map(|client| self.open(client)).collect();
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
        Err(Failed::none(&self.store, "none of its nodes is a primary that takes writes", &passed))
    }

    /// All that are known.
    pub(super) fn known(&self) -> Range<usize> {
        match &self.finder {
            Finder::Hosts(clients) => 0..clients.len(),
            Finder::Sentinels(sentinels) => sentinels.nodes(),
        }
    }

    /// A node's name, `host:port`.
    pub(super) fn address(&self, node: usize) -> String {
        match &self.finder {
            Finder::Hosts(clients) => clients[node].get_connection_info().addr().to_string(),
            Finder::Sentinels(sentinels) => sentinels.address(node),
        }
    }

    /// Opens a connection and looks who answers.
    async fn open(&self, client: &Client) -> Result<Connection, Failed> {
        self.in_time(async {
            let mut connection = self.connect(client).await?;
            self.greet(&mut connection).await?;
            Ok(connection)
        })
        .await
    }

    /// Opens a connection to a node, whatever it is.
    pub(super) async fn dial(&self, node: usize) -> Result<Connection, Failed> {
        let client = self.client(node)?;
        self.in_time(self.connect(&client)).await
    }

    async fn connect(&self, client: &Client) -> Result<Connection, Failed> {
        Connection::open(client).await.map_err(|error| greeting::failed(&error, &self.store))
    }

    async fn in_time<T>(&self, opening: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        let limit = self.options.connect_timeout;
        timeout(limit, opening).await.unwrap_or_else(|_| Err(greeting::silent(limit, &self.store)))
    }

    async fn greet(&self, connection: &mut Connection) -> Result<(), Failed> {
        greeting::greet(connection, &self.store, Expected::Server).await?;
        if self.several() {
            greeting::takes_writes(connection, &self.store).await?;
        }
        Ok(())
    }

    /// Asks now and then whether this node still is the primary, for a waiter that sends nothing hears of no
    /// failover. Returns why it is not. A late answer is no answer here: a large result may be on its way in
    /// front of it, and silence is noticed by the verbs and by the connection that hears.
    pub(super) async fn deposed(&self, node: usize, connection: Connection) -> String {
        match &self.finder {
            Finder::Hosts(_) => self.unfit(node, connection).await,
            // The old primary may go on for long as one, and believe it.
            Finder::Sentinels(sentinels) => tokio::select! {
                biased;
                why = self.unfit(node, connection) => why,
                why = sentinels.switched(node) => why,
            },
        }
    }

    async fn unfit(&self, node: usize, mut connection: Connection) -> String {
        loop {
            sleep(self.options.health_check).await;
            if let Err(failed) = self.greet(&mut connection).await {
                return format!("{}: {}", self.address(node), failed.why());
            }
        }
    }
}
