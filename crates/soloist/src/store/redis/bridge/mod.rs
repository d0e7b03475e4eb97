//! Moving without a stop: a Redis store that also respects, and takes, the key of an older system in that
//! system's own format. While one of theirs holds a key we wait, and while we hold it they are kept out.
//!
//! Their systems tell nobody that a key is free, so whoever is next in our line asks for it several times a
//! second; the others in line wait as always. Between their processes and ours there is no order, and no
//! fencing token protects from theirs. For a single server, not for a Cluster: their keys have no hash tag.
//!
//! This folder is all there is to it. When the last old process is gone, connect without it, and delete it.

mod marker;
mod old;
#[cfg(feature = "testing")]
pub(crate) mod parse;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use self::marker::{Marker, There};
use super::RedisStore;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::name::{FencingToken, Holder, Key, Ticket};
use crate::observe;
use crate::protocol::{
    Answer, Body, Grant, Holding, KeyInfo, Left, Mode, Outcome, OutcomeKind, Publication, Published, Queued,
    Released, Renewal, Renewed, Request, Ttl, Who,
};
use crate::store::{EventStream, Notice, Reply, Results, Rotated, Store, rotate_in_two_steps};

pub use self::old::Old;

/// How often the next in line asks for a key that an old process holds.
const ASK: Duration = Duration::from_millis(100);

/// A Redis store beside an older system; see [the module](self).
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// use std::sync::Arc;
/// use soloist::Client;
/// use soloist::store::redis::RedisStore;
/// use soloist::store::redis::bridge::{BridgeStore, Old};
///
/// let store = RedisStore::connect("redis://127.0.0.1").await?; // the server of the old processes
/// let bridge = BridgeStore::new(store, Old::Locky);
/// let client = Client::builder().holder("user:20").store(Arc::new(bridge))?;
/// let lease = client.lock("article:12").await?; // old processes find locky:lock:article:12 taken
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BridgeStore {
    inner: RedisStore,
    marker: Arc<Marker>,
}

/// Who holds a key of theirs, as far as its value tells, in as much of a name as we keep.
fn somebody(old: &Old, value: &str) -> Result<Holder> {
    Holder::new(old.holder(value).chars().take(60).collect::<String>())
}

impl BridgeStore {
    /// Takes the keys of `old` along with every lease of `inner`, which has to be on the same server.
    pub fn new(mut inner: RedisStore, old: Old) -> Self {
        // An old key is taken for as long as ours, and old processes look at it once.
        inner.options.plain = false;
        BridgeStore { inner, marker: Arc::new(Marker::new(old)) }
    }

    /// What becomes of an answer of ours once the old key is asked for, too.
    async fn admit(&self, request: &Request, reply: Reply) -> Result<Reply> {
        let Answer::Granted(grant) = reply.answer else { return Ok(reply) };
        match self.marker.take(self.inner.way.link()?, request, &grant).await? {
            There::Ours => Ok(reply),
            There::Theirs(value) => {
                let holding = self.theirs(request, &grant, &value, reply.read.store)?;
                if request.mode == Mode::Try {
                    self.inner.leave(&request.key, request.ticket).await?;
                    return Ok(Reply { answer: Answer::Busy(holding), ..reply });
                }
                let queued = Queued { place: 1, holding, ahead: None };
                Ok(Reply { answer: Answer::Queued(queued), ..reply })
            }
            There::Result { json, keep } => {
                // Their leader has computed it: what it found is the result of our flight, too.
                let publication = Publication {
                    key: request.key.clone(),
                    ticket: request.ticket,
                    kind: OutcomeKind::Value,
                    body: Body::Inline(json.clone()),
                    keep,
                };
                self.inner.publish(&publication).await?;
                let outcome = self.outcome(request, &grant, json, keep)?;
                Ok(Reply { answer: Answer::Done(outcome), ..reply })
            }
        }
    }

    fn theirs(&self, request: &Request, grant: &Grant, value: &str, now: u64) -> Result<Holding> {
        Ok(Holding {
            holder: somebody(&self.marker.old, value)?,
            token: grant.token,
            since: now,
            deadline: None,
            note: None,
            want: request.want,
        })
    }

    fn outcome(&self, request: &Request, grant: &Grant, json: Bytes, keep: u64) -> Result<Outcome> {
        Ok(Outcome {
            token: grant.token,
            leader: Holder::new(self.marker.old.holder(""))?,
            at: grant.from,
            until: grant.from.saturating_add(keep),
            kind: OutcomeKind::Value,
            body: Body::Inline(json),
        })
        .inspect(|_| tracing::debug!(key = %request.key, "an old process has the result"))
    }

    /// Gives their key back.
    async fn drop_mark(&self, key: &Key, whose: String) -> Result<()> {
        self.marker.give_back(self.inner.way.link()?, key, whose, None).await
    }
}

#[async_trait]
impl Store for BridgeStore {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn acquire(&self, request: &Request) -> Result<Reply> {
        let reply = self.inner.acquire(request).await?;
        self.admit(request, reply).await
    }

    async fn wait(&self, request: &Request, standing: Reply) -> Result<Reply> {
        let mut request = request.clone();
        if let Answer::Queued(queued) = &standing.answer {
            request.stands_behind(queued);
        }
        // Where ours is ours already and only theirs is in the way, asking again also renews ours.
        let pause = match request.ttl {
            Ttl::Micros(us) => ASK.min(Duration::from_micros(us) / 3),
            Ttl::Forever => ASK,
        };
        loop {
            let admitted = async {
                let reply = self.inner.acquire(&request).await?;
                let served = match reply.answer {
                    Answer::Queued(_) => self.inner.wait(&request, reply).await?,
                    _ => reply,
                };
                self.admit(&request, served).await
            };
            match admitted.await {
                Ok(Reply { answer: Answer::Queued(_), .. }) => {}
                Err(Error::Unavailable { store, why }) => {
                    observe::still_in_line(&request, &store, &why);
                }
                ended => return ended,
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn leave(&self, key: &Key, ticket: Ticket) -> Result<Left> {
        self.drop_mark(key, ticket.to_string()).await?;
        self.inner.leave(key, ticket).await
    }

    async fn renew(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>> {
        let mut answers = self.inner.renew(renewals).await?;
        for (renewal, answer) in renewals.iter().zip(&mut answers) {
            let Renewed::Renewed { token, .. } = *answer else { continue };
            if !self.marker.keep(self.inner.way.link()?, &renewal.key, renewal.ttl, token).await? {
                // An old process has taken it by force: we have lost it, whatever our own store says.
                tracing::warn!(key = %renewal.key, "an old process has taken the key");
                self.inner.release(&renewal.key, &renewal.who).await?;
                *answer = Renewed::NotHeld(None);
            }
        }
        Ok(answers)
    }

    async fn release(&self, key: &Key, who: &Who) -> Result<Released> {
        // Theirs first, so that our next in line finds it free.
        if let Who::Ticket(ticket) = who {
            self.drop_mark(key, ticket.to_string()).await?;
            return self.inner.release(key, who).await;
        }
        // Whose mark it is, only the release itself tells.
        let released = self.inner.release(key, who).await?;
        if let Released::Released { token: FencingToken(token) } = &released {
            self.drop_mark(key, token.to_string()).await?;
        }
        Ok(released)
    }

    async fn rotate(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        rotate_in_two_steps(self, held, request).await
    }

    async fn publish(&self, publication: &Publication) -> Result<Published> {
        let published = self.inner.publish(publication).await?;
        let told = Some(publication).filter(|_| published == Published::Published);
        self.marker
            .give_back(self.inner.way.link()?, &publication.key, publication.ticket.to_string(), told)
            .await?;
        Ok(published)
    }

    async fn forget(&self, key: &Key) -> Result<bool> {
        self.marker.forget(self.inner.way.link()?, key).await?;
        self.inner.forget(key).await
    }

    async fn touch(&self, key: &Key) -> Result<()> {
        self.inner.touch(key).await
    }

    async fn result(&self, key: &Key) -> Result<Option<Outcome>> {
        self.inner.result(key).await
    }

    async fn inspect(&self, key: &Key) -> Result<KeyInfo> {
        self.inner.inspect(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KeyInfo>> {
        self.inner.list(prefix).await
    }

    async fn events(&self) -> Result<EventStream> {
        self.inner.events().await
    }

    async fn results(&self) -> Result<Option<Box<dyn Results>>> {
        self.inner.results().await
    }

    async fn examine(&self, ttl: Duration) -> Result<Vec<Finding>> {
        self.inner.examine(ttl).await
    }

    fn settles(&self) -> Duration {
        self.inner.settles()
    }

    fn aside(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(BridgeStore { inner: self.inner.beside(), marker: Arc::clone(&self.marker) }))
    }

    fn group(&self, key: &Key) -> u16 {
        self.inner.group(key)
    }

    fn longest_ttl(&self) -> Option<Duration> {
        self.inner.longest_ttl()
    }

    fn leases_end_with_sessions(&self) -> bool {
        self.inner.leases_end_with_sessions()
    }

    fn liveness(&self) -> Result<Option<OwnedFd>> {
        self.inner.liveness()
    }

    fn has_replicas(&self) -> bool {
        self.inner.has_replicas()
    }

    async fn replicated(&self, key: &Key, ticket: Ticket, wanted: u32) -> Result<u32> {
        self.inner.replicated(key, ticket, wanted).await
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.inner.notices()
    }

    async fn stop_waiting(&self) {
        self.inner.stop_waiting().await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
