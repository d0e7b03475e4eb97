//! Which leases are due, in order. Whatever is done costs as much as there is to do, not as much as is held.
//!
//! Only ordered maps: no order of chance decides anything here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, Fate, LARGEST, pause};
use crate::clock::Moment;
use crate::error::Loss;
use crate::kept::Kept;
use crate::name::Ticket;

/// How many leases are looked at in one go: whoever locks meanwhile waits for it.
const LOOKS: usize = 1000;

/// The leases that are kept, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    leases: BTreeMap<Ticket, Entry>,
    /// When each is to be looked at: it is due then, or at its end.
    times: BTreeSet<(Moment, Ticket)>,
    /// Those that are due, the one that ends first in front.
    ready: BTreeSet<(Moment, Ticket)>,
    /// The number of the last question.
    asked: u64,
}

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    /// `None`: not to be renewed, it never ends by itself or must not be held any longer.
    due: Option<Moment>,
    /// The number of the question under way.
    asking: Option<u64>,
    /// Where it stands in `times`, and in `ready`.
    time: Option<Moment>,
    ready: Option<Moment>,
    /// With how many others it may be asked for: fewer, after that failed.
    together: usize,
}

/// What has come due.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) batches: Vec<Batch>,
    /// Their time is up; their owners are to be told.
    pub(super) over: Vec<Arc<Kept>>,
    /// They are renewed so late.
    pub(super) late: Vec<(Arc<Kept>, Duration)>,
    /// Whether there is more of it, even now.
    pub(super) more: bool,
}

impl Renewals {
    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Keeps a lease from now on. Answers when it is to be looked at.
    pub(super) fn add(&mut self, kept: Arc<Kept>, confirm: bool, now: Moment) -> Option<Moment> {
        let due = if confirm { Some(now) } else { first_due(&kept, now) };
        let ticket = kept.ticket;
        self.remove(ticket);
        let entry = Entry { kept, due, asking: None, time: None, ready: None, together: LARGEST };
        self.leases.insert(ticket, entry);
        self.plan(ticket)
    }

    /// Plans a lease anew whose ttl was changed by its owner, who asks the store for it right now: if he is not
    /// answered there is still time. An answer that is still awaited plans nothing any more.
    pub(super) fn plan_anew(&mut self, ticket: Ticket, now: Moment) -> Option<Moment> {
        self.take_out(ticket);
        let entry = self.leases.get_mut(&ticket)?;
        let left = entry.kept.deadline().map(|end| end.since(now) / 3);
        let pause = pause(&entry.kept).into_iter().chain(left).min();
        (entry.due, entry.asking) = (pause.map(|pause| now.after(pause)), None);
        self.plan(ticket)
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Arc<Kept>> {
        self.take_out(ticket);
        self.leases.remove(&ticket).map(|entry| entry.kept)
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Arc<Kept>> {
        self.leases.get(&ticket).map(|entry| &entry.kept)
    }

    /// Keeps none any more.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Kept>> {
        let leases = std::mem::take(self).leases;
        leases.into_values().map(|entry| entry.kept).collect()
    }

    /// Makes leases due whose ticket is after this one, also those that never end by themselves: they may have
    /// been taken over. Answers from where to go on.
    pub(super) fn all_due(&mut self, after: Option<Ticket>, now: Moment) -> Option<Ticket> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = (after.map_or(Unbounded, Excluded), Unbounded);
        let some: Vec<_> = self.leases.range(from).take(LOOKS).map(|(ticket, _)| *ticket).collect();
        for ticket in &some {
            self.take_out(*ticket);
            if let Some(entry) = self.leases.get_mut(ticket) {
                entry.due = Some(now);
            }
            self.plan(*ticket);
        }
        some.last().copied().filter(|_| some.len() == LOOKS)
    }

    /// What is due now, in so many batches at most.
    pub(super) fn due(&mut self, now: Moment, room: usize) -> Due {
        let mut due = Due::default();
        for _ in 0..LOOKS {
            match self.times.first() {
                Some((time, ticket)) if *time <= now => {
                    let ticket = *ticket;
                    self.look(ticket, now, &mut due);
                }
                _ => break,
            }
        }
        while due.batches.len() < room {
            let Some(batch) = self.batch(now, &mut due) else { break };
            due.batches.push(batch);
        }
        let unlooked = self.times.first().is_some_and(|(time, _)| *time <= now);
        due.more = unlooked || (due.batches.len() < room && !self.ready.is_empty());
        due
    }

    /// When to look again at what is not due yet.
    pub(super) fn next_time(&self) -> Option<Moment> {
        self.times.first().map(|(time, _)| *time)
    }

    /// Plans by what came of a question. Answers how it ended, if it has.
    pub(super) fn apply(&mut self, kept: &Arc<Kept>, fate: Fate, of: &Asking, now: Moment) -> Option<Loss> {
        let entry = self.leases.get_mut(&kept.ticket).filter(|entry| Arc::ptr_eq(&entry.kept, kept))?;
        if let Fate::Ended(loss) = fate {
            self.remove(kept.ticket);
            // Its owner, who ends it, hears from the store himself whether it was still his.
            return (!kept.is_ending()).then_some(loss);
        }
        if entry.asking != Some(of.number) {
            return None;
        }
        entry.asking = None;
        (entry.due, entry.together) = match fate {
            Fate::Unknown(pause) if of.count > 1 => (Some(now.after(pause)), of.count / 8),
            Fate::Unknown(pause) => (Some(now.after(pause)), 1),
            Fate::Renewed(pause) => (pause.map(|pause| of.sent.after(pause)), LARGEST),
            Fate::Ended(_) => (None, LARGEST),
        };
        self.take_out(kept.ticket);
        self.plan(kept.ticket);
        None
    }

    /// Takes it out of the order, but not out of what is kept.
    fn take_out(&mut self, ticket: Ticket) {
        if let Some(entry) = self.leases.get_mut(&ticket) {
            if let Some(time) = entry.time.take() {
                self.times.remove(&(time, ticket));
            }
            if let Some(end) = entry.ready.take() {
                self.ready.remove(&(end, ticket));
            }
        }
    }

    /// Puts it where it is looked at next: it was taken out before.
    fn plan(&mut self, ticket: Ticket) -> Option<Moment> {
        let entry = self.leases.get_mut(&ticket)?;
        let waits = entry.asking.is_some() || entry.ready.is_some();
        let due = entry.due.filter(|_| !waits);
        entry.time = due.into_iter().chain(entry.kept.deadline()).min();
        self.times.extend(entry.time.map(|time| (time, ticket)));
        entry.time
    }

    /// Looks at a lease whose time has come.
    fn look(&mut self, ticket: Ticket, now: Moment, due: &mut Due) {
        if let Some(entry) = self.leases.get_mut(&ticket) {
            let end = entry.kept.deadline();
            if end.is_some_and(|end| end <= now) || is_over(&entry.kept) {
                due.over.extend(self.remove(ticket));
                return;
            }
            if let Some(time) = entry.time.take() {
                self.times.remove(&(time, ticket));
            }
            if entry.asking.is_none() && entry.ready.is_none() && entry.due.is_some_and(|due| due <= now) {
                let end = end.unwrap_or(now.after(Duration::MAX));
                entry.ready = Some(end);
                self.ready.insert((end, ticket));
            }
        }
        self.plan(ticket);
    }

    /// The next leases to be asked for together: those that are due, in the order of their ends, and those that
    /// would be soon: fewer, larger steps.
    fn batch(&mut self, now: Moment, due: &mut Due) -> Option<Batch> {
        let mut together = LARGEST;
        let mut some = Vec::new();
        for (_, ticket) in &self.ready {
            let with = self.leases.get(ticket).map_or(1, |entry| entry.together.max(1));
            if some.len() >= together.min(with) {
                break;
            }
            together = together.min(with);
            some.push(*ticket);
        }
        if !some.is_empty() && some.len() < together {
            let left = together - some.len();
            let soon = self.times.iter().take(2 * LARGEST).filter(|(_, ticket)| {
                self.leases.get(ticket).is_some_and(|entry| entry.together >= together && entry.is_soon(now))
            });
            some.extend(soon.map(|(_, ticket)| *ticket).take(left));
        }
        let mut leases = Vec::with_capacity(some.len());
        for ticket in some {
            self.take_out(ticket);
            if self.leases.get(&ticket).is_some_and(|entry| is_over(&entry.kept)) {
                due.over.extend(self.remove(ticket));
                continue;
            }
            let Some(entry) = self.leases.get_mut(&ticket) else { continue };
            entry.asking = Some(self.asked + 1);
            due.late.extend(entry.lateness(now).map(|late| (Arc::clone(&entry.kept), late)));
            leases.push(Arc::clone(&entry.kept));
            self.plan(ticket);
        }
        if leases.is_empty() {
            return None;
        }
        self.asked += 1;
        Some(Batch::new(leases, self.asked, now))
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let placed = |at: fn(&Entry) -> Option<Moment>| {
            self.leases
                .iter()
                .filter_map(|(ticket, entry)| Some((at(entry)?, *ticket)))
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(self.times, placed(|entry| entry.time));
        assert_eq!(self.ready, placed(|entry| entry.ready));
    }
}

/// What an answer is the answer to.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) number: u64,
    pub(super) count: usize,
    pub(super) sent: Moment,
}

impl Entry {
    /// Whether it may be renewed along with others that are due.
    fn is_soon(&self, now: Moment) -> bool {
        let slack = self.kept.ttl().duration().unwrap_or_default() / 12;
        self.asking.is_none() && self.ready.is_none() && self.due.is_some_and(|due| due <= now.after(slack))
    }

    /// By how much it is late, if that is worth a word.
    fn lateness(&self, now: Moment) -> Option<Duration> {
        let late = now.since(self.due?);
        self.kept.ttl().duration().is_some_and(|ttl| late > ttl / 3).then_some(late)
    }
}

/// What is lost is not renewed, whoever said so first. Who ends it has stopped its work, and hears from the
/// store what came of that.
fn is_over(kept: &Kept) -> bool {
    !kept.is_ending() && kept.told_loss().is_some()
}

/// When a lease is renewed first: as far from its end as later on, however late its grant was heard.
fn first_due(kept: &Kept, now: Moment) -> Option<Moment> {
    let pause = pause(kept)?;
    let ttl = kept.ttl().duration()?;
    let left = kept.deadline().map_or(ttl, |end| end.since(now));
    Some(now.after(left.saturating_sub(ttl - pause).min(pause)))
}
