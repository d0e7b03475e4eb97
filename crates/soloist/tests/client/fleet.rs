//! Several clients on one fresh state, as several processes would have.

use std::sync::Arc;
use std::time::Duration;

use soloist::store::memory::MemoryStore;
use soloist::{Client, ClientBuilder, Store};

/// A generous limit for everything that is waited for.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Fleet {
    open: Box<dyn Fn() -> Arc<dyn Store> + Send + Sync>,
}

impl Fleet {
    pub async fn memory() -> Self {
        let root = MemoryStore::new();
        Fleet { open: Box::new(move || Arc::new(root.peer())) }
    }

    /// A client of its own, as another process would have.
    pub fn client(&self, holder: &str) -> Client {
        self.client_with(|builder| builder.holder(holder))
    }

    pub fn client_with(&self, settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        settings(Client::builder()).store((self.open)()).unwrap()
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
