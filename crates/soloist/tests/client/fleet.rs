//! Several clients on one fresh state, as several processes would have.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use soloist::store::local::LocalStore;
use soloist::store::memory::MemoryStore;
use soloist::store::quorum::QuorumStore;
use soloist::store::redis::RedisStore;
use soloist::{Client, ClientBuilder, Key, Store};

use crate::redis_server::RedisServer;

/// A generous limit for everything that is waited for.
pub const SOON: Duration = Duration::from_secs(30);

type Opening = Pin<Box<dyn Future<Output = Arc<dyn Store>> + Send>>;

pub struct Fleet {
    open: Box<dyn Fn() -> Opening + Send + Sync>,
    /// What the stores live on: a folder, a server. Ended with the fleet.
    _ground: Box<dyn Any + Send + Sync>,
    /// Of a quorum, its nodes.
    nodes: Vec<MemoryStore>,
}

impl Fleet {
    pub fn new<S: Store, F: Future<Output = S> + Send + 'static>(
        ground: impl Any + Send + Sync,
        open: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        let open = move || -> Opening {
            let store = open();
            Box::pin(async move { Arc::new(store.await) as Arc<dyn Store> })
        };
        Fleet { open: Box::new(open), _ground: Box::new(ground), nodes: Vec::new() }
    }

    pub async fn memory() -> Self {
        let root = MemoryStore::new();
        Fleet::new((), move || std::future::ready(root.peer()))
    }

    pub async fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        Fleet::new(folder, move || std::future::ready(LocalStore::open(Some(&path)).unwrap()))
    }

    /// A majority of three in this process.
    #[allow(dead_code)] // not every suite runs on it
    pub async fn quorum() -> Self {
        let roots: Vec<_> = (0..3).map(|_| MemoryStore::new()).collect();
        let nodes = roots.iter().map(MemoryStore::peer).collect();
        let fleet = Fleet::new((), move || {
            let nodes = roots.iter().map(|root| Arc::new(root.peer()) as Arc<dyn Store>).collect();
            async move { QuorumStore::new(nodes).unwrap() }
        });
        Fleet { nodes, ..fleet }
    }

    pub async fn redis() -> Self {
        let server = RedisServer::start();
        let url = server.url();
        Fleet::new(server, move || {
            let url = url.clone();
            async move { RedisStore::connect(&url).await.unwrap() }
        })
    }

    /// A client of its own, as another process would have.
    pub async fn client(&self, holder: &str) -> Client {
        self.client_with(|builder| builder.holder(holder)).await
    }

    /// Waits until so many stand in line for a key, of a quorum at every node: who comes then comes later everywhere.
    #[allow(dead_code)] // not every suite asks for an order
    pub async fn in_line(&self, client: &Client, key: &str, count: u64) {
        in_line(client, key, count).await;
        let name = Key::new(key).unwrap();
        for node in &self.nodes {
            until(|| async { node.inspect(&name).await.unwrap().waiting == count }).await;
        }
    }

    pub async fn client_with(&self, settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        settings(Client::builder()).store((self.open)().await).unwrap()
    }
}

/// Fails instead of hanging.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this should have happened long ago")
}

/// Waits until so many stand in line for a key.
pub async fn in_line(client: &Client, key: &str, count: u64) {
    until(|| async { client.inspect(key).await.unwrap().waiting == count }).await;
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(mut so: impl FnMut() -> F) {
    soon(async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
