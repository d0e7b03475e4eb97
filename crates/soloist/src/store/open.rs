//! A store by its URL.

use std::sync::Arc;
use std::time::Duration;

use super::local::LocalStore;
use super::memory::MemoryStore;
use super::quorum::QuorumStore;
use super::redis::{RedisOptions, RedisStore};
use super::{Store, StoreUrl};
use crate::error::Result;

/// Opens it. `boot_guard` is for a server whose URL names none.
pub(crate) async fn open(url: &StoreUrl, boot_guard: Option<Duration>) -> Result<Arc<dyn Store>> {
    Ok(match url {
        StoreUrl::Local(path) => Arc::new(LocalStore::open(path.as_deref())?),
        StoreUrl::Memory => Arc::new(MemoryStore::new()),
        StoreUrl::Redis(url) => {
            let options = RedisOptions::default();
            let options = match boot_guard {
                Some(longest) => options.boot_guard(longest),
                None => options,
            };
            Arc::new(RedisStore::connect_with(url, options).await?)
        }
        StoreUrl::Quorum(nodes) => Arc::new(Box::pin(QuorumStore::open(nodes)).await?),
    })
}
