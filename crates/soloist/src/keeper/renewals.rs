//! Which leases are due, and what came of asking.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Loss, Result};
use crate::kept::{Kept, SUSPEND_CHECK};
use crate::name::Ticket;
use crate::observe;
use crate::protocol::{Renewed, Ttl};
use crate::store::Store;

/// The leases that are kept, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    leases: HashMap<Ticket, Entry>,
    /// Losses of leases that are not here yet: the message about one can overtake its own grant.
    early: VecDeque<(Ticket, Loss)>,
}

/// How many early losses are remembered. Most are of leases that were ended by their owners.
const MOST_EARLY: usize = 256;

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    /// `None`: not to be renewed, it never ends by itself.
    due: Option<Moment>,
    asking: bool,
}

/// Leases that are renewed in one step.
#[derive(Debug)]
pub(super) struct Batch {
    leases: Vec<(Arc<Kept>, Ttl)>,
    sent: Moment,
    answers: Result<Vec<Renewed>>,
}

impl Batch {
    /// Asks the store.
    pub(super) async fn send(mut self, store: &dyn Store) -> Self {
        let renewals: Vec<_> = self.leases.iter().map(|(kept, _)| kept.renewal(false)).collect();
        self.sent = Moment::now();
        self.answers = store.renew(&renewals).await;
        self
    }
}

/// Renewal at a third of the life: two more tries fit in before the end.
fn pause(ttl: Ttl) -> Option<Duration> {
    ttl.duration().map(|ttl| ttl / 3)
}

impl Renewals {
    pub(super) fn add(&mut self, kept: Arc<Kept>, confirm: bool) {
        if let Some((_, loss)) = self.early.iter().find(|(ticket, _)| *ticket == kept.ticket) {
            kept.lose(loss.clone());
            return;
        }
        let now = Moment::now();
        let due = if confirm { Some(now) } else { pause(kept.ttl()).map(|pause| now.after(pause)) };
        self.leases.insert(kept.ticket, Entry { kept, due, asking: false });
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.leases.remove(&ticket);
    }

    pub(super) fn lost(&mut self, ticket: Ticket, loss: Loss) {
        if let Some(entry) = self.leases.remove(&ticket) {
            entry.kept.lose(loss);
            return;
        }
        self.early.truncate(MOST_EARLY - 1);
        self.early.push_front((ticket, loss));
    }

    /// Keeps none any more.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Kept>> {
        self.leases.drain().map(|(_, entry)| entry.kept).collect()
    }

    /// Makes every lease due, also those that never end by themselves: they may have been taken over.
    pub(super) fn all_due(&mut self) {
        let now = Moment::now();
        for entry in self.leases.values_mut() {
            entry.due = Some(now);
        }
    }

    /// The leases that are due now, and those that would be soon: fewer, larger steps.
    pub(super) fn take_due(&mut self) -> Option<Batch> {
        let now = Moment::now();
        self.drop_ended(now);
        let is_due = |entry: &Entry| !entry.asking && entry.due.is_some_and(|due| due <= now);
        if !self.leases.values().any(is_due) {
            return None;
        }
        let mut leases = Vec::new();
        for entry in self.leases.values_mut().filter(|entry| !entry.asking) {
            let ttl = entry.kept.ttl();
            let soon = now.after(ttl.duration().unwrap_or_default() / 12);
            if entry.due.is_some_and(|due| due <= soon) {
                warn_if_late(entry, ttl, now);
                entry.asking = true;
                leases.push((Arc::clone(&entry.kept), ttl));
            }
        }
        Some(Batch { leases, sent: now, answers: Ok(Vec::new()) })
    }

    /// Tells the owners of leases whose time is up.
    fn drop_ended(&mut self, now: Moment) {
        self.leases.retain(|_, entry| {
            let ended = entry.kept.deadline().is_some_and(|end| end <= now);
            // Who ends it has stopped its work, and hears from the store what came of that.
            if ended && !entry.kept.is_ending() {
                entry.kept.lose(Loss::Expired);
            }
            !ended
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
        let answers = match batch.answers {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); batch.leases.len()],
        };
        for ((kept, ttl), answer) in batch.leases.into_iter().zip(answers) {
            let Some(entry) = self.leases.get_mut(&kept.ticket) else {
                continue; // released meanwhile
            };
            entry.asking = false;
            match answer {
                Ok(Renewed::Renewed { .. }) => {
                    kept.renewed(batch.sent, ttl);
                    entry.due = pause(kept.ttl()).map(|pause| batch.sent.after(pause));
                    observe::renewed(kept.subject());
                }
                // Its owner, who ends it, hears from the store himself whether it was still his.
                Ok(Renewed::NotHeld(_)) if kept.is_ending() => self.remove(kept.ticket),
                Ok(Renewed::NotHeld(_)) => self.lost(kept.ticket, Loss::Gone),
                Err(error) => entry.due = Some(now.after(retry_pause(&kept, ttl, &error))),
            }
        }
    }
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
    use crate::name::{FencingToken, Holder, Key};

    /// A lease whose renewal finds nothing at the store.
    fn renewed_in_vain(ending: bool) -> Arc<Kept> {
        let (key, holder, ttl) = (Key::new("k").unwrap(), Holder::new("h").unwrap(), Ttl::Micros(30_000_000));
        let kept = Kept::new((key, Ticket::from_u128(1)), FencingToken(1), holder, ttl, None);
        let (kept, mut renewals) = (Arc::new(kept), Renewals::default());
        renewals.add(Arc::clone(&kept), true);
        let mut batch = renewals.take_due().unwrap();
        if ending {
            kept.begin_end();
        }
        batch.answers = Ok(vec![Renewed::NotHeld(None)]);
        renewals.apply(batch);
        assert!(renewals.leases.is_empty());
        kept
    }

    #[test]
    fn a_renewal_that_crosses_the_owners_release_is_no_loss() {
        assert_eq!(renewed_in_vain(true).loss(), None);
        assert_eq!(renewed_in_vain(false).loss(), Some(Loss::Gone));
    }
}
