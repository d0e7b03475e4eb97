//! The fact of holding a key, and the id by which it lives on elsewhere.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::error::{Error, Loss, Result};
use crate::keeper::Keeper;
use crate::kept::Kept;
use crate::limits;
use crate::name::{FencingToken, Holder, Key, Ticket};
use crate::observe;
use crate::protocol::{Released, Renewed, Who};
use crate::store::Store;

/// A key that is held. It renews itself in the background, a third of its ttl after each renewal, until it
/// is released or dropped.
///
/// Dropping it releases the key in the background and never blocks; [`Lease::release`] says whether that
/// worked. A lease can be lost while it is held (its ttl passes while the store is away, or somebody takes
/// the key over): [`Lease::lost`] tells. What the lock protects should check [`Lease::token`], for no lease
/// can stop a process that was frozen past its ttl.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// let lease = client.lock("report:42").await?;
/// println!("token {}", lease.token());
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a lease releases the key"]
pub struct Lease {
    kept: Arc<Kept>,
    keeper: Keeper,
    store: Arc<dyn Store>,
    finished: bool,
}

impl Lease {
    pub(crate) fn new(kept: Kept, keeper: Keeper, store: Arc<dyn Store>, confirm: bool) -> Self {
        let kept = Arc::new(kept);
        keeper.hold(Arc::clone(&kept), confirm);
        Lease { kept, keeper, store, finished: false }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.kept.key
    }

    /// The name under which it is held.
    pub fn holder(&self) -> &Holder {
        &self.kept.holder
    }

    /// The fencing token: larger than that of every earlier lease of this key.
    pub fn token(&self) -> FencingToken {
        self.kept.token
    }

    /// When the lease ends unless a renewal is confirmed before; `None` is never. Counts time during which
    /// the machine sleeps.
    pub fn deadline(&self) -> Option<Moment> {
        self.kept.deadline()
    }

    /// How long it has been held.
    pub fn held_for(&self) -> Duration {
        Moment::now().since(self.kept.since)
    }

    /// The id by which it can be renewed and released from elsewhere. Whoever has it can do so: treat it
    /// like a key to a door.
    pub fn id(&self) -> LeaseId {
        LeaseId { key: self.kept.key.clone(), token: self.kept.token, ticket: self.kept.ticket }
    }

    /// Whether the lease has ended. Looks at the clock itself, so it is right at once after a pause of the
    /// process or a sleep of the machine.
    pub fn is_lost(&self) -> bool {
        self.kept.loss().is_some()
    }

    /// Resolves when the lease is lost: the store said so, or the time before the last confirmed renewal was
    /// sent plus the ttl has passed. A renewal that failed is "unknown", not "lost", until then.
    ///
    /// # Cancel safety
    /// Safe: dropping the future changes nothing. For `select!`.
    pub async fn lost(&self) -> Loss {
        self.kept.lost().await
    }

    /// Does the work, and drops it the moment the lease is lost.
    ///
    /// # Errors
    /// [`Error::Lost`]; the work's future was dropped at one of its awaits.
    ///
    /// # Cancel safety
    /// Safe for the lease; the work's future is dropped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let lease = client.lock("counter").await?;
    /// assert_eq!(lease.run_until_lost(async { 6 * 7 }).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_until_lost<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            loss = self.lost() => Err(self.kept.lost_error(loss)),
            out = work => Ok(out),
        }
    }

    /// Begins the ttl anew, with this length from now on. Not needed to stay alive: that goes by itself.
    ///
    /// # Errors
    /// [`Error::BadDuration`], [`Error::Lost`], or the store's.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight it is not known whether the renewal was carried out; the old deadline holds.
    pub async fn renew(&self, ttl: Duration) -> Result<()> {
        let ttl = limits::ttl(ttl)?;
        self.kept.set_ttl(ttl);
        self.renew_now(false).await?;
        // The keeper plans by the ttl: have it plan anew.
        self.keeper.hold(Arc::clone(&self.kept), false);
        Ok(())
    }

    async fn renew_now(&self, detach: bool) -> Result<()> {
        if let Some(loss) = self.kept.loss() {
            return Err(self.kept.lost_error(loss));
        }
        let renewal = self.kept.renewal(detach);
        let sent = Moment::now();
        match self.store.renew(std::slice::from_ref(&renewal)).await?.pop() {
            Some(Renewed::Renewed { .. }) => {
                self.kept.renewed(sent, renewal.ttl);
                observe::renewed(self.kept.subject());
                Ok(())
            }
            _ => {
                self.kept.lose(Loss::Gone);
                Err(self.kept.lost_error(Loss::Gone))
            }
        }
    }

    /// Ends the lease and hands the key to the next in line.
    ///
    /// # Errors
    /// [`Error::Lost`] when it had ended before; [`Error::Unknown`] when that cannot be told;
    /// [`Error::Unavailable`] when the store cannot be reached: the release is then tried again in the
    /// background, until the lease ends by itself.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight, the key is released in the background.
    pub async fn release(mut self) -> Result<()> {
        if let Some(loss) = self.kept.loss() {
            if loss != Loss::Expired {
                self.finish();
            } // else it is ended in the background, should the store take it for alive
            return Err(self.kept.lost_error(loss));
        }
        self.kept.begin_end();
        let released = self.store.release(&self.kept.key, &Who::Ticket(self.kept.ticket)).await;
        if !matches!(released, Err(Error::Unavailable { .. })) {
            self.finish();
        }
        match released? {
            Released::Released { .. } => {
                observe::released(self.kept.subject());
                Ok(())
            }
            Released::NotHeld(_) => {
                self.kept.lose(Loss::Gone);
                Err(self.kept.lost_error(self.kept.loss().unwrap_or(Loss::Gone)))
            }
        }
    }

    /// Lets the lease live on without this process, for its ttl from now: renew and release it by the id, in
    /// another request or another process.
    ///
    /// # Errors
    /// [`Error::Lost`], or the store's; the key is then released in the background.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight, the key is released in the background.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let id = client.lock("article:12").await?.detach().await?;
    /// let text = id.to_string(); // to a cookie, a file, another process
    /// client.release(&text.parse()?).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn detach(mut self) -> Result<LeaseId> {
        // The store has to know before this process may end, so this is one request.
        self.renew_now(true).await?;
        self.finish();
        observe::detached(self.kept.subject());
        Ok(self.id())
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The lease has ended otherwise: neither renew nor release it any more.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
        self.keeper.stop(self.kept.ticket);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.finished {
            self.keeper.release(Arc::clone(&self.kept));
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kept { key, token, holder, .. } = &*self.kept;
        f.debug_struct("Lease").field("key", key).field("token", token).field("holder", holder).finish()
    }
}

/// The id of a lease: the key, its token, and the secret ticket that proves it. Prints as
/// `KEY@TOKEN.TICKET` and reads back from that; serde does the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LeaseId {
    pub(crate) key: Key,
    pub(crate) token: FencingToken,
    pub(crate) ticket: Ticket,
}

impl LeaseId {
    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The fencing token.
    pub fn token(&self) -> FencingToken {
        self.token
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}.{}", self.key, self.token, self.ticket)
    }
}

impl FromStr for LeaseId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The key may hold any character: what follows its last @ is the rest.
        let (key, proof) = text.rsplit_once('@').ok_or(Error::BadLeaseId)?;
        let (token, ticket) = proof.split_once('.').ok_or(Error::BadLeaseId)?;
        let token = token.parse().map(FencingToken).map_err(|_| Error::BadLeaseId)?;
        Ok(LeaseId { key: Key::new(key)?, token, ticket: ticket.parse()? })
    }
}

impl From<LeaseId> for String {
    fn from(id: LeaseId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for LeaseId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let key = Key::new("user@host:{1}@2.x").unwrap();
        let id = LeaseId { key, token: FencingToken(7), ticket: Ticket::mint() };
        assert_eq!(id.to_string().parse::<LeaseId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<LeaseId>(&json).unwrap(), id);
        for bad in ["", "a", "a@1", "a@x.00", "@1.00000000000000000000000000000000"] {
            assert!(bad.parse::<LeaseId>().is_err(), "{bad:?}");
        }
    }
}
