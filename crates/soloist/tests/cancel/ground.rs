//! What the matrix runs on: two clients on one state, and what must be left of it in the end: nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use soloist::store::local::LocalStore;
use soloist::store::memory::MemoryStore;
use soloist::store::redis::RedisStore;
use soloist::{Client, Store};

use crate::gate::Gated;
use crate::redis_server::RedisServer;

type Opening = Pin<Box<dyn Future<Output = (Arc<dyn Store>, Listening)> + Send>>;
/// How many tickets a store listens for.
pub type Listening = Arc<dyn Fn() -> usize + Send + Sync>;

/// A state, and how it is opened.
pub struct Ground {
    open: Arc<dyn Fn() -> Opening + Send + Sync>,
    pub redis: Option<Arc<RedisServer>>,
    _folder: Option<tempfile::TempDir>,
}

/// Those who ask for the keys of a state.
#[derive(Clone)]
pub struct World {
    /// Whose futures are dropped.
    pub a: Client,
    /// Who crosses them.
    pub b: Client,
    /// The store of `b`.
    pub plain: Arc<dyn Store>,
    pub listening: [Listening; 2],
    open: Arc<dyn Fn() -> Opening + Send + Sync>,
}

macro_rules! opening {
    ($store:expr) => {
        Box::pin(async move {
            let store = Arc::new($store);
            let seen = Arc::clone(&store);
            let listening: Listening = Arc::new(move || seen.listening());
            (store as Arc<dyn Store>, listening)
        })
    };
}

impl Ground {
    pub fn memory() -> Self {
        let root = MemoryStore::new();
        let open = move || -> Opening {
            let store = root.peer();
            opening!(store)
        };
        Ground { open: Arc::new(open), redis: None, _folder: None }
    }

    pub fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let open = move || -> Opening {
            let path = path.clone();
            opening!(LocalStore::open(Some(&path)).unwrap())
        };
        Ground { open: Arc::new(open), redis: None, _folder: Some(folder) }
    }

    pub fn redis() -> Self {
        let server = Arc::new(RedisServer::start());
        let url = server.url();
        let open = move || -> Opening {
            let url = url.clone();
            opening!(RedisStore::connect(&url).await.unwrap())
        };
        Ground { open: Arc::new(open), redis: Some(server), _folder: None }
    }

    pub async fn world(&self) -> World {
        let (gated, a_hears) = (self.open)().await;
        let (plain, b_hears) = (self.open)().await;
        let a = client("a", Arc::new(Gated(gated)));
        let b = client("b", Arc::clone(&plain));
        World { a, b, plain, listening: [a_hears, b_hears], open: Arc::clone(&self.open) }
    }

    /// The names on the server that a user's key has: there must be none in the end.
    pub async fn names(&self) -> Vec<String> {
        let Some(server) = &self.redis else { return Vec::new() };
        let mut admin = server.admin().await;
        let names: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut admin).await.unwrap();
        // What is left is a counter of tokens for each shard, and that somebody watches, as the test does.
        let stays = |name: &String| name.ends_with("}:f") || name == "soloist:1:watched";
        names.into_iter().filter(|name| !stays(name)).collect()
    }
}

impl World {
    /// A client of its own, whose futures pass the gates.
    pub async fn fresh(&self) -> Client {
        client("fresh", Arc::new(Gated((self.open)().await.0)))
    }
}

/// Leases that would outlive the test: whatever ends by its ttl was left behind.
fn client(holder: &str, store: Arc<dyn Store>) -> Client {
    Client::builder().holder(holder).ttl(std::time::Duration::from_secs(3600)).store(store).unwrap()
}
