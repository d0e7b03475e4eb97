//! Which leases are due, and what came of asking.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Loss, Result};
use crate::kept::{Kept, SUSPEND_CHECK};
use crate::name::{FencingToken, Ticket};
use crate::observe;
use crate::protocol::{Renewal, Renewed, Ttl};
use crate::store::Store;

/// The leases that are kept, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    leases: BTreeMap<Ticket, Entry>,
    /// Losses of leases that are not here yet: the message about one can overtake its own grant.
    early: VecDeque<(Ticket, FencingToken, Loss)>,
}

/// How long leases are asked for together at most.
const LONGEST_TOGETHER: Duration = Duration::from_secs(10);

/// How many early losses are remembered. Most are of leases that were ended by their owners.
const MOST_EARLY: usize = 256;

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    /// `None`: not to be renewed, it never ends by itself.
    due: Option<Moment>,
    asking: bool,
    /// The loss that was told before the lease was here, for the store to confirm.
    told: Option<Loss>,
    /// Whether it is asked for by itself, since asking for it together with others failed.
    alone: bool,
}

/// Leases that are renewed in one step.
#[derive(Debug)]
pub(super) struct Batch {
    leases: Vec<(Arc<Kept>, Renewal)>,
    sent: Moment,
    answers: Result<Vec<Renewed>>,
}

impl Batch {
    fn of<'a>(entries: impl Iterator<Item = &'a mut Entry>, now: Moment) -> Option<Self> {
        let ask = |entry: &mut Entry| {
            entry.asking = true;
            (Arc::clone(&entry.kept), entry.kept.renewal(false))
        };
        let leases: Vec<_> = entries.map(ask).collect();
        (!leases.is_empty()).then_some(Batch { leases, sent: now, answers: Ok(Vec::new()) })
    }

    /// Asks the store.
    pub(super) async fn send(mut self, store: &dyn Store) -> Self {
        let renewals: Vec<_> = self.leases.iter().map(|(_, renewal)| renewal.clone()).collect();
        self.sent = Moment::now();
        self.answers = match self.limit() {
            None => store.renew(&renewals).await,
            Some(limit) => tokio::time::timeout(limit, store.renew(&renewals)).await.unwrap_or_else(|_| {
                let (store, why) = (store.name().into(), format!("no answer within {limit:?}"));
                Err(Error::Unavailable { store, why })
            }),
        };
        self
    }

    fn is_of_several(&self) -> bool {
        self.leases.len() > 1
    }

    /// Invariant: no lease is lost because the store cannot answer for another. After so long each is asked
    /// for by itself, while there is still time.
    fn limit(&self) -> Option<Duration> {
        let pauses = self.leases.iter().filter_map(|(_, renewal)| pause(renewal.ttl));
        self.is_of_several().then(|| pauses.fold(LONGEST_TOGETHER, Duration::min))
    }
}

/// Renewal at a third of the life: two more tries fit in before the end.
fn pause(ttl: Ttl) -> Option<Duration> {
    ttl.duration().map(|ttl| ttl / 3)
}

impl Renewals {
    pub(super) fn add(&mut self, kept: Arc<Kept>, confirm: bool) {
        let now = Moment::now();
        // Told of this very lease; the store confirms it.
        let early =
            self.early.iter().position(|(ticket, token, _)| *ticket == kept.ticket && *token == kept.token);
        let told = early.and_then(|at| self.early.remove(at)).map(|(.., loss)| loss);
        let due = if confirm || told.is_some() { Some(now) } else { first_due(&kept, now) };
        self.leases.insert(kept.ticket, Entry { kept, due, asking: false, told, alone: false });
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.leases.remove(&ticket);
    }

    /// Invariant: a late message about an earlier grant of the same request never ends a later one.
    pub(super) fn told_lost(&mut self, ticket: Ticket, token: FencingToken, loss: Loss) {
        if self.leases.get(&ticket).is_some_and(|entry| entry.kept.token == token) {
            self.lost(ticket, loss);
            return;
        }
        self.early.truncate(MOST_EARLY - 1);
        self.early.push_front((ticket, token, loss));
    }

    pub(super) fn lost(&mut self, ticket: Ticket, loss: Loss) {
        if let Some(entry) = self.leases.remove(&ticket) {
            entry.kept.lose(loss);
        }
    }

    /// Keeps none any more.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Kept>> {
        std::mem::take(&mut self.leases).into_values().map(|entry| entry.kept).collect()
    }

    /// Makes every lease due, also those that never end by themselves: they may have been taken over.
    pub(super) fn all_due(&mut self) {
        let now = Moment::now();
        for entry in self.leases.values_mut() {
            entry.due = Some(now);
        }
    }

    /// The leases that are due now, and those that would be soon: fewer, larger steps.
    pub(super) fn take_due(&mut self) -> Vec<Batch> {
        let now = Moment::now();
        self.drop_ended(now);
        let is_due = |entry: &Entry| !entry.asking && entry.due.is_some_and(|due| due <= now);
        if !self.leases.values().any(is_due) {
            return Vec::new();
        }
        let is_soon = |entry: &&mut Entry| {
            let ttl = entry.kept.ttl();
            let soon = now.after(ttl.duration().unwrap_or_default() / 12);
            let taken = !entry.asking && entry.due.is_some_and(|due| due <= soon);
            if taken {
                warn_if_late(entry, ttl, now);
            }
            taken
        };
        let soon = self.leases.values_mut().filter(is_soon);
        let (alone, together): (Vec<_>, Vec<_>) = soon.partition(|entry| entry.alone);
        let mut batches: Vec<_> = Batch::of(together.into_iter(), now).into_iter().collect();
        batches.extend(alone.into_iter().filter_map(|entry| Batch::of(std::iter::once(entry), now)));
        batches
    }

    /// Tells the owners of leases whose time is up. What is lost is not renewed, whoever said so first.
    fn drop_ended(&mut self, now: Moment) {
        self.leases.retain(|_, Entry { kept, .. }| match kept.is_ending() {
            // Who ends it has stopped its work, and hears from the store what came of that.
            true => kept.deadline().is_none_or(|end| end > now),
            false => kept.loss().is_none(),
        });
    }

    /// How long until something is due. Short while leases are held, for a suspend that no timer notices.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let now = Moment::now();
        let times = self.leases.values().flat_map(|entry| {
            let due = if entry.asking { None } else { entry.due };
            due.into_iter().chain(entry.kept.deadline())
        });
        times.min().map(|time| time.since(now).min(SUSPEND_CHECK))
    }

    /// Takes the answers in. "Unknown" is not "lost": until the deadline it is asked again.
    pub(super) fn apply(&mut self, batch: Batch) {
        let now = Moment::now();
        let several = batch.is_of_several();
        let answers = match batch.answers {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); batch.leases.len()],
        };
        for ((kept, renewal), answer) in batch.leases.into_iter().zip(answers) {
            let Some(entry) = self.leases.get_mut(&kept.ticket) else {
                continue; // released meanwhile
            };
            entry.asking = false;
            match answer {
                Ok(Renewed::Renewed { .. }) => {
                    let counts = kept.renewed(batch.sent, renewal.ttl);
                    let pause = if counts { pause(kept.ttl()) } else { Some(Duration::ZERO) };
                    entry.due = pause.map(|pause| batch.sent.after(pause));
                    (entry.told, entry.alone) = (None, false);
                    observe::renewed(kept.subject());
                }
                // Its owner, who ends it, hears from the store himself whether it was still his.
                Ok(Renewed::NotHeld(_)) if kept.is_ending() => self.remove(kept.ticket),
                Ok(Renewed::NotHeld(_)) => {
                    let loss = entry.told.take().unwrap_or(Loss::Gone);
                    self.lost(kept.ticket, loss);
                }
                // The session has ended, and with it whatever was held in it.
                Err(Error::Closed) => self.lost(kept.ticket, Loss::Released),
                Err(error) => {
                    entry.alone |= several;
                    entry.due = Some(now.after(retry_pause(&kept, renewal.ttl, &error)));
                }
            }
        }
    }
}

/// When a lease is renewed first: as far from its end as later on, however late its grant was heard.
fn first_due(kept: &Kept, now: Moment) -> Option<Moment> {
    let pause = pause(kept.ttl())?;
    let left = kept.deadline().map_or(pause * 3, |end| end.since(now));
    Some(now.after(left.saturating_sub(pause * 2).min(pause)))
}

fn retry_pause(kept: &Kept, ttl: Ttl, error: &Error) -> Duration {
    observe::not_renewed(kept.subject(), error);
    let pause = ttl.duration().map_or(Duration::from_secs(1), |ttl| ttl / 20);
    pause.clamp(Duration::from_millis(5), Duration::from_secs(1))
}

fn warn_if_late(entry: &Entry, ttl: Ttl, now: Moment) {
    let late = entry.due.map_or(Duration::ZERO, |due| now.since(due));
    if ttl.duration().is_some_and(|ttl| late > ttl / 3) {
        observe::renewed_late(entry.kept.subject(), late);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::name::{Holder, Key};

    /// A lease whose renewal finds nothing at the store.
    fn renewed_in_vain(ending: bool) -> Arc<Kept> {
        let (key, holder, ttl) = (Key::new("k").unwrap(), Holder::new("h").unwrap(), Ttl::Micros(30_000_000));
        let kept = Kept::new((key, Ticket::from_u128(1)), FencingToken(1), holder, ttl, None);
        let (kept, mut renewals) = (Arc::new(kept), Renewals::default());
        renewals.add(Arc::clone(&kept), true);
        let mut batch = renewals.take_due().pop().unwrap();
        if ending {
            kept.begin_end();
        }
        batch.answers = Ok(vec![Renewed::NotHeld(None)]);
        renewals.apply(batch);
        assert!(renewals.leases.is_empty());
        kept
    }

    #[test]
    fn a_late_word_of_an_earlier_grant_does_not_end_a_later_one() {
        let (key, holder, ttl) = (Key::new("k").unwrap(), Holder::new("h").unwrap(), Ttl::Micros(30_000_000));
        let ticket = Ticket::from_u128(1);
        let grant = |token| {
            let kept = Kept::new((key.clone(), ticket), FencingToken(token), holder.clone(), ttl, None);
            Arc::new(kept)
        };
        let (before, here, after) = (FencingToken(6), FencingToken(7), FencingToken(8));
        let mut renewals = Renewals::default();
        renewals.told_lost(ticket, before, Loss::Released);
        let kept = grant(here.0);
        renewals.add(Arc::clone(&kept), false);
        renewals.told_lost(ticket, before, Loss::Released);
        renewals.told_lost(ticket, after, Loss::Released);
        assert_eq!(kept.loss(), None);
        assert!(renewals.take_due().is_empty(), "nor is it asked for before its time");
        renewals.told_lost(ticket, here, Loss::Released);
        assert_eq!(kept.loss(), Some(Loss::Released));
    }

    #[test]
    fn a_renewal_that_crosses_the_owners_release_is_no_loss() {
        assert_eq!(renewed_in_vain(true).loss(), None);
        assert_eq!(renewed_in_vain(false).loss(), Some(Loss::Gone));
    }
}
