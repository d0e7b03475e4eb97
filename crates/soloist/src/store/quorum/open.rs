//! A quorum of stores that are named by their URLs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::late::LateStore;
use super::{QuorumStore, judge};
use crate::error::{Error, Result};
use crate::store::{Store, StoreUrl, open};

/// The boot guard of a server whose URL names none: it is enough for the usual ttl of 30 s, and what is added to it
/// for the drift of clocks.
const GUARD: Duration = Duration::from_secs(31);

impl QuorumStore {
    /// Opens all nodes at once. A Redis among them has a [boot guard](crate::store::redis::RedisOptions::boot_guard) in
    /// any case, of 31 s if its URL names none: one that has lost its data would grant what others hold. A minority
    /// may be unreachable, and is tried again in the background.
    ///
    /// # Errors
    /// [`Error::BadUrl`] for a wrong number of nodes; what a node says that can be reached and refuses; and
    /// [`Error::Unavailable`] when a majority cannot be reached.
    ///
    /// # Cancel safety
    /// Safe: nothing stays open.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// use soloist::StoreUrl;
    /// use soloist::store::quorum::QuorumStore;
    ///
    /// let three = ["memory:".parse::<StoreUrl>()?, "memory:".parse()?, "memory:".parse()?];
    /// assert!(QuorumStore::open(&three).await.is_ok());
    /// assert!(QuorumStore::open(&three[..2]).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(urls: &[StoreUrl]) -> Result<Self> {
        Self::check(urls.len(), || urls.iter().map(StoreUrl::to_string).collect())?;
        let opened = join_all(urls.iter().map(|url| open::open(url, Some(GUARD)))).await;
        let (mut nodes, mut errors): (Vec<Arc<dyn Store>>, _) = (Vec::new(), Vec::new());
        for (url, opened) in urls.iter().zip(opened) {
            nodes.push(match opened {
                Ok(node) => node,
                Err(error @ Error::Unavailable { .. }) => {
                    let late = late(url, &error);
                    errors.push(error);
                    Arc::new(late)
                }
                Err(error) => return Err(error),
            });
        }
        let store = Self::new(nodes)?;
        match errors.len() >= store.nodes.blocking() {
            true => Err(judge::undecided(&store.name, &store.nodes, &errors.iter().collect::<Vec<_>>())),
            false => Ok(store),
        }
    }
}

/// A node that cannot be reached yet.
fn late(url: &StoreUrl, why: &Error) -> LateStore {
    // What its URL says instead is known to the other nodes, which should have the same.
    let longest = Some(GUARD).filter(|_| matches!(url, StoreUrl::Redis(url) if !url.contains("boot_guard=")));
    let again = url.clone();
    let open = move || {
        let url = again.clone();
        let opening: futures_util::future::BoxFuture<'static, _> =
            Box::pin(async move { open::open(&url, Some(GUARD)).await });
        opening
    };
    LateStore::new(&url.to_string(), why, longest, Box::new(open))
}
