//! A store that puts a prefix before every key, and takes it off again on the way back.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::broadcast;

use super::{EventStream, Notice, Reply, Results, Rotated, Store, Told};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::name::{Key, Ticket};
use crate::protocol::{
    KeyInfo, Left, Outcome, Publication, Published, Released, Renewal, Renewed, Request, Who,
};

/// Another store, seen through a prefix. A client has one by
/// [`ClientBuilder::prefix`](crate::ClientBuilder::prefix).
#[derive(Debug)]
pub struct PrefixStore {
    inner: Arc<dyn Store>,
    prefix: Arc<str>,
}

impl PrefixStore {
    /// Puts `prefix` before every key of `inner`. Prefix and key together are at most 640 bytes, or the verb
    /// answers [`Error::LongName`].
    pub fn new(inner: Arc<dyn Store>, prefix: &str) -> Self {
        PrefixStore { inner, prefix: prefix.into() }
    }

    fn down(&self, key: &Key) -> Result<Key> {
        Key::stored(format!("{}{key}", self.prefix))
    }

    fn request_down(&self, request: &Request) -> Result<Request> {
        Ok(Request { key: self.down(&request.key)?, ..request.clone() })
    }

    /// Errors name the key as the caller knows it.
    fn up<T>(&self, answer: Result<T>) -> Result<T> {
        answer.map_err(|mut error| {
            if let Error::Unknown { key, .. } | Error::NotHeld { key, .. } | Error::TooLarge { key, .. } =
                &mut error
                && let Some(short) = strip(&self.prefix, key)
            {
                *key = short;
            }
            error
        })
    }
}

fn strip(prefix: &str, key: &Key) -> Option<Key> {
    Key::new(key.as_str().strip_prefix(prefix)?).ok()
}

/// Checks that what is put before a key is taken off again, and nothing else is; see `testing::parse`.
#[cfg(feature = "testing")]
pub(crate) fn taken_off(prefix: &str, key: &str) {
    let (Ok(key), Ok(stored)) = (Key::new(key), Key::stored(format!("{prefix}{key}"))) else { return };
    assert_eq!(strip(prefix, &stored), Some(key.clone()));
    assert!(strip(prefix, &key).is_none_or(|short| format!("{prefix}{short}") == key.as_str()));
}

/// What becomes of results under a prefix.
#[derive(Debug)]
struct PrefixResults {
    inner: Box<dyn Results>,
    prefix: Arc<str>,
}

impl Results for PrefixResults {
    fn complete(&self) -> Option<Moment> {
        self.inner.complete()
    }

    fn hear(&mut self) -> Option<Told> {
        loop {
            match self.inner.hear()? {
                Told::Event(mut event) => {
                    if let Some(key) = strip(&self.prefix, &event.key) {
                        event.key = key;
                        return Some(Told::Event(event));
                    }
                }
                other => return Some(other),
            }
        }
    }
}

#[async_trait]
impl Store for PrefixStore {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn acquire(&self, request: &Request) -> Result<Reply> {
        self.up(self.inner.acquire(&self.request_down(request)?).await)
    }

    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        self.up(self.inner.wait(&self.request_down(request)?, standing).await)
    }

    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        self.up(self.inner.leave(&self.down(key)?, ticket).await)
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let down = |renewal: &Renewal| Ok(Renewal { key: self.down(&renewal.key)?, ..renewal.clone() });
        let renewals = renewals.iter().map(down).collect::<Result<Vec<_>>>()?;
        self.up(self.inner.renew(&renewals).await)
    }

    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        self.up(self.inner.release(&self.down(key)?, who).await)
    }

    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        Ok(match self.up(self.inner.rotate(held, &self.request_down(request)?).await)? {
            Rotated::Asked(token, reply) => Rotated::Asked(token, self.up(reply)),
            not_held => not_held,
        })
    }

    async fn publish(&self, publication: &Publication) -> Result<Published> {
        let publication = Publication { key: self.down(&publication.key)?, ..publication.clone() };
        self.up(self.inner.publish(&publication).await)
    }

    async fn forget(&self, key: &Key) -> Result<bool> {
        self.up(self.inner.forget(&self.down(key)?).await)
    }

    async fn touch(&self, key: &Key) -> Result<()> {
        self.up(self.inner.touch(&self.down(key)?).await)
    }

    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        self.up(self.inner.result(&self.down(key)?).await)
    }

    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        let info = self.up(self.inner.inspect(&self.down(key)?).await)?;
        Ok(KeyInfo { key: key.clone(), ..info })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        let infos = self.up(self.inner.list(&format!("{}{prefix}", self.prefix)).await)?;
        let short = |info: KeyInfo| Some(KeyInfo { key: strip(&self.prefix, &info.key)?, ..info });
        Ok(infos.into_iter().filter_map(short).collect())
    }

    async fn events(&self) -> Result<EventStream> {
        let prefix = Arc::clone(&self.prefix);
        let short = move |told| {
            let told = match told {
                Told::Event(mut event) => strip(&prefix, &event.key).map(|key| {
                    event.key = key;
                    Told::Event(event)
                }),
                other => Some(other),
            };
            std::future::ready(told)
        };
        Ok(self.inner.events().await?.filter_map(short).boxed())
    }

    async fn results(&self) -> Result<Option<Box<dyn Results>>> {
        let Some(inner) = self.inner.results().await? else { return Ok(None) };
        Ok(Some(Box::new(PrefixResults { inner, prefix: Arc::clone(&self.prefix) })))
    }

    async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        self.inner.examine(ttl).await
    }

    fn settles(&self) -> Duration {
        self.inner.settles()
    }

    fn aside(&self) -> Option<Arc<dyn Store>> {
        let inner = self.inner.aside()?;
        Some(Arc::new(PrefixStore { inner, prefix: Arc::clone(&self.prefix) }))
    }

    fn leases_end_with_sessions(&self) -> bool {
        self.inner.leases_end_with_sessions()
    }

    fn group(&self, key: &Key) -> u16 {
        self.down(key).map_or(0, |key| self.inner.group(&key))
    }

    fn longest_ttl(&self) -> Option<Duration> {
        self.inner.longest_ttl()
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.inner.notices()
    }

    fn has_replicas(&self) -> bool {
        self.inner.has_replicas()
    }

    async fn replicated(&self, key: &Key, ticket: Ticket, wanted: u32) -> Result<u32> {
        self.up(self.inner.replicated(&self.down(key)?, ticket, wanted).await)
    }

    fn liveness(&self) -> Result<Option<OwnedFd>> {
        self.inner.liveness()
    }

    async fn stop_waiting(&self) {
        self.inner.stop_waiting().await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
