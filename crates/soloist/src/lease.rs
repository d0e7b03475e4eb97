//! The fact of holding a key, and the id by which it lives on elsewhere.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::cohort::{self, Handed, Member};
use crate::error::{Error, Loss, Result};
use crate::keeper::Keeper;
use crate::kept::Kept;
use crate::limits;
use crate::name::{FencingToken, Holder, Key, Ticket};
use crate::observe;
use crate::place::Place;
use crate::protocol::{Released, Renewed, Request, Who};
use crate::store::{Reply, Rotated, Store};

/// A key that is held. It renews itself in the background, about a third of its ttl after each renewal, until it
/// is released or dropped. No thread of yours is needed for that, so none that is blocked loses it.
///
/// Dropping it releases the key in the background and never blocks, also where a panic or the end of a runtime drops
/// it, as long as the process lives; [`Lease::release`] says whether that worked. A lease can be lost while it is held (its ttl passes while the store is away, or somebody takes
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
    pub(crate) kept: Arc<Kept>,
    keeper: Keeper,
    store: Arc<dyn Store>,
    finished: bool,
    /// How many fencing tokens its grant took.
    pub(crate) tokens: u8,
    /// Whose it is, while callers of this process hand it to each other.
    pub(crate) member: Option<Box<Member>>,
}

impl Lease {
    /// A lease that the keeper keeps.
    pub(crate) fn new(kept: Arc<Kept>, keeper: Keeper, store: Arc<dyn Store>) -> Self {
        Lease { kept, keeper, store, finished: false, tokens: 1, member: None }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.kept.key
    }

    /// The name under which it is held.
    pub fn holder(&self) -> &Holder {
        self.member.as_ref().map_or(&self.kept.holder, |member| &member.holder)
    }

    /// The fencing token: larger than that of every earlier lease of this key. Send it along with every
    /// write to what the lock protects, and let that refuse a smaller one than it has seen.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let first = client.lock("report:42").await?;
    /// let token = first.token();
    /// first.release().await?;
    /// assert!(client.lock("report:42").await?.token() > token);
    /// # Ok(())
    /// # }
    /// ```
    pub fn token(&self) -> FencingToken {
        self.member.as_ref().map_or(self.kept.token, |member| member.token)
    }

    /// When the lease ends unless a renewal is confirmed before; `None` is never. Counts time during which
    /// the machine sleeps.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use std::time::Duration;
    /// use soloist::Moment;
    ///
    /// let lease = client.lock("report:42").ttl(Duration::from_secs(10)).await?;
    /// let left = lease.deadline().map(|end| end.since(Moment::now()));
    /// assert!(left.is_some_and(|left| left <= Duration::from_secs(10)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(&self) -> Option<Moment> {
        self.kept.deadline()
    }

    /// How long it has been held.
    pub fn held_for(&self) -> Duration {
        Moment::now().since(self.member.as_ref().map_or(self.kept.since, |member| member.since))
    }

    /// The id by which it can be renewed and released from elsewhere. Whoever has it can do so: treat it
    /// like a key to a door. The lease still ends with this value; to let it live on, [`Lease::detach`] it. In a
    /// [cohort](crate::Lock::cohort) nobody else of this process gets this lease after that.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let lease = client.lock("report:42").await?;
    /// client.release(&lease.id()).await?; // from anywhere
    /// assert!(lease.release().await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(&self) -> LeaseId {
        // Invariant: an id is that of one holder, or it would release the next one's lease.
        self.leave_cohort();
        LeaseId { key: self.kept.key.clone(), token: self.token(), ticket: self.kept.ticket }
    }

    /// Whether the lease has ended. Looks at the clock itself, so it is right at once after a pause of the
    /// process or a sleep of the machine. Asks nobody and does not wait: a check right before a write that
    /// cannot be fenced.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// let lease = client.lock("report:42").await?;
    /// assert!(!lease.is_lost());
    /// let taken = client.lock("report:42").force().await?;
    /// lease.lost().await;
    /// assert!(lease.is_lost());
    /// # drop(taken);
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_lost(&self) -> bool {
        self.kept.loss().is_some()
    }

    /// Resolves when the lease is lost: the store said so, or the time before the last confirmed renewal was
    /// sent plus the ttl has passed. A renewal that failed is "unknown", not "lost", until then.
    ///
    /// # Cancel safety
    /// Safe: dropping the future changes nothing. For `select!`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// # async fn work() {}
    /// let lease = client.lock("report:42").await?;
    /// tokio::select! {
    ///     loss = lease.lost() => println!("stopped: {loss}"),
    ///     () = work() => lease.release().await?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
            loss = self.lost() => Err(self.lost_error(loss)),
            out = work => Ok(out),
        }
    }

    /// Begins the ttl anew, with this length from now on. Not needed to stay alive: that goes by itself.
    ///
    /// # Errors
    /// [`Error::BadDuration`] unless it is 10 ms to a year, [`Error::Lost`], or the store's; then it is not
    /// known whether it was carried out, and the earlier of both deadlines holds.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight it is not known whether the renewal was carried out; the earlier of the old and
    /// the new deadline holds, and the keeper asks again for the new ttl.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use std::time::Duration;
    ///
    /// let lease = client.lock("report:42").await?;
    /// lease.renew(Duration::from_secs(300)).await?; // from now on it renews itself for 5 minutes each time
    /// # Ok(())
    /// # }
    /// ```
    pub async fn renew(&self, ttl: Duration) -> Result<()> {
        let ttl = limits::ttl(ttl)?;
        limits::lives(&*self.store, ttl)?;
        // What this holder asks for is not the next one's.
        self.leave_cohort();
        self.kept.set_ttl(ttl);
        // The keeper plans by the ttl: have it plan anew, whatever becomes of this request.
        self.keeper.plan_anew(self.kept.ticket);
        self.renew_now(false).await
    }

    async fn renew_now(&self, detach: bool) -> Result<()> {
        if let Some(loss) = self.kept.loss() {
            return Err(self.lost_error(loss));
        }
        let mut asked = self.kept.renewal(detach);
        // Should this future be dropped, or fail, the store may carry it out for so long.
        asked.sending(self.store.settles());
        let sent = Moment::now();
        match self.store.renew(std::slice::from_ref(&asked.renewal)).await?.pop() {
            Some(Renewed::Renewed { token, .. }) if self.kept.can_have(token) => {
                if !self.kept.renewed(sent, &mut asked) {
                    // Another ttl was asked for at the same time: the next answer tells which one stands.
                    self.keeper.plan_anew(self.kept.ticket);
                }
                observe::renewed(self.kept.subject());
            }
            _ => self.kept.lose(Loss::Gone),
        }
        match self.kept.loss() {
            None => Ok(()),
            Some(loss) => Err(self.lost_error(loss)),
        }
    }

    /// Ends the lease and hands the key to the next in line.
    ///
    /// # Errors
    /// [`Error::Lost`] when it had ended before; [`Error::Unknown`] when that cannot be told;
    /// [`Error::Unavailable`] when the store cannot be reached, and [`Error::Refused`] when it takes no writes: it is not
    /// released then. That is tried again in the background, until the lease ends by itself.
    ///
    /// # Cancel safety
    /// Safe: dropped in flight, the key is released in the background.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> soloist::Result<()> {
    /// # let client = soloist::Client::memory()?;
    /// use soloist::Error;
    ///
    /// let lease = client.lock("report:42").await?;
    /// let taken = client.lock("report:42").force().await?;
    /// assert!(matches!(lease.release().await, Err(Error::Lost { .. }))); // it was not ours any more
    /// taken.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn release(self) -> Result<()> {
        let now = Moment::now();
        if let Some(loss) = self.kept.loss_by(now) {
            // It is ended in the background, should the store take it for alive.
            return Err(self.lost_error(loss));
        }
        match cohort::hand_on(self, now, true) {
            Handed::On => Ok(()),
            Handed::Over(lease) => lease.release_at_store().await,
            Handed::Rotates(lease, rotation) => rotation.run(lease).await,
        }
    }

    pub(crate) async fn release_at_store(mut self) -> Result<()> {
        self.kept.begin_end();
        let released = self.store.release(&self.kept.key, &Who::Ticket(self.kept.ticket)).await;
        match self.ended(released)? {
            Released::Released { token } => self.released(token),
            Released::NotHeld(_) => Err(self.was_gone()),
        }
    }

    /// Ends the lease as [`Lease::release`] does, and asks for its key as another request of this client: what came of the
    /// one, and of the other.
    pub(crate) async fn rotate(mut self, request: &Request) -> Result<Result<Reply>> {
        self.kept.begin_end();
        let rotated = self.store.rotate(self.kept.ticket, request).await;
        match self.ended(rotated)? {
            Rotated::Asked(token, reply) => self.released(token).map(|()| reply),
            Rotated::NotHeld(_) => Err(self.was_gone()),
        }
    }

    /// Whether a rotation of this lease can be one step for this client: it is nobody else's, nor handed on within it.
    pub(crate) fn is_of(&self, store: &Arc<dyn Store>) -> bool {
        self.member.is_none() && Arc::ptr_eq(&self.store, store)
    }

    /// A place in the line of its key, for whoever asks in its stead.
    pub(crate) fn place(&self, request: Request, max_hold: Option<Duration>) -> Place {
        Place::new(Arc::clone(&self.store), self.keeper.clone(), request, max_hold)
    }

    /// Takes in that the store was asked to end it.
    fn ended<T>(&mut self, asked: Result<T>) -> Result<T> {
        // Not released: the drop has it tried again.
        if !matches!(asked, Err(Error::Unavailable { .. } | Error::Refused { .. })) {
            self.finish();
        }
        asked
    }

    /// The lease with this token was released.
    fn released(&self, token: FencingToken) -> Result<()> {
        if !self.kept.can_have(token) {
            return Err(self.was_gone());
        }
        observe::released(self.kept.subject());
        Ok(())
    }

    /// The error of a lease that had ended before.
    fn was_gone(&self) -> Error {
        self.kept.lose(Loss::Gone);
        self.lost_error(self.kept.loss().unwrap_or(Loss::Gone))
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
        self.leave_cohort();
        // The store has to know before this process may end, so this is one request.
        self.renew_now(true).await?;
        self.finish();
        observe::detached(self.kept.subject());
        Ok(self.id())
    }

    /// Nobody else of this process gets this lease.
    fn leave_cohort(&self) {
        if let Some(member) = &self.member {
            member.leaves(self.kept.ticket);
        }
    }

    fn lost_error(&self, loss: Loss) -> Error {
        Error::Lost { key: self.kept.key.clone(), token: self.token(), loss }
    }

    pub(crate) fn kept(&self) -> &Arc<Kept> {
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
        if self.finished {
            return;
        }
        let Some(member) = self.member.take() else { return self.keeper.release(&self.kept) };
        let (kept, keeper, store) = (Arc::clone(&self.kept), self.keeper.clone(), Arc::clone(&self.store));
        let mut lease = Lease::new(kept, keeper, store);
        lease.member = Some(member);
        if let Handed::Over(mut lease) = cohort::hand_on(lease, Moment::now(), false) {
            // It is a member of nothing any more, and its drop releases it.
            lease.member = None;
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, token, holder) = (self.key(), self.token(), self.holder());
        f.debug_struct("Lease").field("key", key).field("token", &token).field("holder", holder).finish()
    }
}

/// The id of a lease: the key, its token, and the secret ticket that proves it. Prints as
/// `KEY@TOKEN.TICKET` and reads back from that; serde does the same. Whoever has it can renew and release the
/// lease ([`Client::renew`](crate::Client::renew), [`Client::release`](crate::Client::release)): keep it secret.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> soloist::Result<()> {
/// # let client = soloist::Client::memory()?;
/// use soloist::LeaseId;
///
/// let id = client.lock("upload:7").await?.detach().await?;
/// let text = id.to_string();
/// assert!(text.starts_with("upload:7@"));
/// assert_eq!(text.parse::<LeaseId>()?, id);
/// assert!("upload:7".parse::<LeaseId>().is_err());
/// client.release(&id).await?;
/// # Ok(())
/// # }
/// ```
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
        // One lease has one id: no sign, no zeros in front.
        let token = token.parse().ok().map(FencingToken).filter(|number| number.to_string() == token);
        let token = token.ok_or(Error::BadLeaseId)?;
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
        for bad in [
            "",
            "a",
            "a@1",
            "a@x.00",
            "a@+7.00000000000000000000000000000000",
            "a@07.00000000000000000000000000000000",
            "@1.00000000000000000000000000000000",
        ] {
            assert!(bad.parse::<LeaseId>().is_err(), "{bad:?}");
        }
    }
}
