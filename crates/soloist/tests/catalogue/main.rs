//! Each way in which locks and flights are known to break, done to the whole client: real servers, real wires, real
//! second processes. The table that says which test is about which is in docs/safety.md.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod answers_lost;
#[path = "../client/fleet.rs"]
#[allow(dead_code)]
mod fleet;
mod herd;
mod leaders;
mod local_store;
mod partition;
mod processes;
#[path = "../observing/recorder.rs"]
#[allow(dead_code)]
mod recorder;
#[path = "../support/redis_server.rs"]
mod redis_server;
mod refused;
mod role;
mod scripts;
mod secrets;
mod suspended;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use redis_server::RedisServer;
use soloist::Client;
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::testing::FaultyWire;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn wire(server: &RedisServer) -> FaultyWire {
    FaultyWire::before(("127.0.0.1", server.port())).unwrap()
}

/// Options of a caller who has not much time. The ear asks so seldom that what it says never is what a planned
/// fault meets.
fn hasty() -> RedisOptions {
    RedisOptions::default().response_timeout(MS(300)).connect_timeout(MS(1000)).health_check(MS(3_600_000))
}

async fn client_with(url: &str, holder: &str, options: RedisOptions) -> Client {
    let store = RedisStore::connect_with(url, options).await.unwrap();
    Client::builder().holder(holder).store(Arc::new(store)).unwrap()
}

async fn client(url: &str, holder: &str) -> Client {
    Client::builder().holder(holder).connect(url).await.unwrap()
}

/// A store that second processes share, and what it stands on.
struct Ground {
    url: String,
    _server: Option<RedisServer>,
    _folder: Option<tempfile::TempDir>,
}

impl Ground {
    fn redis() -> Self {
        let server = RedisServer::start();
        Ground { url: server.url(), _server: Some(server), _folder: None }
    }

    fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("local:{}", folder.path().join("store").display());
        Ground { url, _server: None, _folder: Some(folder) }
    }

    async fn client(&self, holder: &str) -> Client {
        client(&self.url, holder).await
    }
}
