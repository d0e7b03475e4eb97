//! Which leases are due, in order. Whatever is done costs as much as there is to do, not as much as is held.
//!
//! No order of chance decides anything here: what is gone over in turn is in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, Fate, LARGEST, pause, pause_of};
use crate::by_ticket::{self, ByTicket};
use crate::clock::Moment;
use crate::error::Loss;
use crate::kept::Kept;
use crate::name::Ticket;
use crate::protocol::Ttl;

/// How many leases are looked at in one go: whoever locks meanwhile waits for it.
pub(super) const LOOKS: usize = 1000;

/// The leases that are kept, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    leases: ByTicket<Entry>,
    /// When each is to be looked at: it is due then, or at its end.
    times: BTreeSet<(Moment, Ticket)>,
    /// Those that are due, the one that ends first in front.
    ready: BTreeSet<(Moment, Ticket)>,
    /// Those that a store renews group by group.
    groups: BTreeMap<u16, BTreeSet<Ticket>>,
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
    pub(super) fn add(&mut self, kept: Arc<Kept>, now: Moment) -> Option<Moment> {
        let (term, deadline) = kept.term_and_deadline();
        let due = first_due(&kept, (term, deadline), now);
        let (ticket, group) = (kept.ticket, kept.group);
        let time = due.into_iter().chain(deadline).min();
        let entry = Entry { kept, due, asking: None, time, ready: None, together: LARGEST };
        if let Some(before) = self.leases.insert(ticket, entry) {
            self.put_out(ticket, &before);
        }
        if group != 0 {
            self.groups.entry(group).or_default().insert(ticket);
        }
        self.times.extend(time.map(|time| (time, ticket)));
        time
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
        let entry = by_ticket::take(&mut self.leases, ticket)?;
        self.put_out(ticket, &entry);
        Some(entry.kept)
    }

    /// One that is not kept any more stands in no order.
    fn put_out(&mut self, ticket: Ticket, entry: &Entry) {
        if let Some(time) = entry.time {
            self.times.remove(&(time, ticket));
        }
        if let Some(end) = entry.ready {
            self.ready.remove(&(end, ticket));
        }
        if let Some(group) = self.groups.get_mut(&entry.kept.group) {
            group.remove(&ticket);
            if group.is_empty() {
                self.groups.remove(&entry.kept.group);
            }
        }
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Arc<Kept>> {
        self.leases.get(&ticket).map(|entry| &entry.kept)
    }

    /// Keeps none any more.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Kept>> {
        let leases = std::mem::take(self).leases;
        by_ticket::in_order(leases).into_iter().map(|(_, entry)| entry.kept).collect()
    }

    /// All that are kept, in order.
    pub(super) fn all(&self) -> Vec<Ticket> {
        let mut all: Vec<_> = self.leases.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// Makes these due, also those that never end by themselves: they may have been taken over.
    pub(super) fn all_due(&mut self, some: &[Ticket], now: Moment) {
        for ticket in some {
            self.take_out(*ticket);
            if let Some(entry) = self.leases.get_mut(ticket) {
                entry.due = Some(now);
            }
            self.plan(*ticket);
        }
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

    /// The next leases to be asked for together: those that are due, in the order of their ends, each with those of
    /// its group; and those that would be soon: fewer, larger steps. Of groups only whole ones are asked for early.
    fn batch(&mut self, now: Moment, due: &mut Due) -> Option<Batch> {
        let mut together = LARGEST;
        let mut some = Vec::new();
        for (_, ticket) in &self.ready {
            let with = self.leases.get(ticket).map_or(1, |entry| entry.together.max(1));
            if some.len() >= together.min(with) {
                break;
            }
            together = together.min(with);
            if some.contains(ticket) {
                continue;
            }
            some.push(*ticket);
            let group = self.leases.get(ticket).and_then(|entry| self.groups.get(&entry.kept.group));
            for other in group.into_iter().flatten() {
                if some.len() >= together {
                    break;
                }
                let along = self.leases.get(other).is_some_and(|entry| {
                    entry.together >= together && (entry.ready.is_some() || entry.is_soon(now))
                });
                if along && !some.contains(other) {
                    some.push(*other);
                }
            }
        }
        if !some.is_empty() && some.len() < together {
            let left = together - some.len();
            let soon = self.times.iter().take(2 * LARGEST).filter(|(_, ticket)| {
                let fits = |entry: &Entry| entry.kept.group == 0 && entry.together >= together;
                self.leases.get(ticket).is_some_and(|entry| fits(entry) && entry.is_soon(now))
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
        let grouped = self.leases.iter().filter(|(_, entry)| entry.kept.group != 0);
        let grouped: BTreeSet<_> = grouped.map(|(ticket, entry)| (entry.kept.group, *ticket)).collect();
        let groups = self.groups.iter().flat_map(|(group, all)| all.iter().map(|ticket| (*group, *ticket)));
        assert_eq!(groups.collect::<BTreeSet<_>>(), grouped);
        assert!(self.groups.values().all(|group| !group.is_empty()));
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
    /// Whether it may be renewed along with others that are due. Of one group the slack is half of the time from one
    /// renewal to the next: of two leases one is so soon after the other, and from then on they are renewed together.
    fn is_soon(&self, now: Moment) -> bool {
        let parts = if self.kept.group == 0 { 12 } else { 6 };
        let slack = self.kept.term().duration().unwrap_or_default() / parts;
        self.asking.is_none() && self.ready.is_none() && self.due.is_some_and(|due| due <= now.after(slack))
    }

    /// By how much it is late, if that is worth a word.
    fn lateness(&self, now: Moment) -> Option<Duration> {
        let late = now.since(self.due?);
        self.kept.term().duration().is_some_and(|ttl| late > ttl / 3).then_some(late)
    }
}

/// What is lost is not renewed, whoever said so first. Who ends it has stopped its work, and hears from the
/// store what came of that.
fn is_over(kept: &Kept) -> bool {
    !kept.is_ending() && kept.told_loss().is_some()
}

/// When a lease is renewed first: as far from its end as later on, however late its grant was heard.
fn first_due(kept: &Kept, (term, deadline): (Ttl, Option<Moment>), now: Moment) -> Option<Moment> {
    let pause = pause_of(kept, (term, deadline))?;
    let ttl = term.duration()?;
    let left = deadline.map_or(ttl, |end| end.since(now));
    Some(now.after(left.saturating_sub(ttl - pause).min(pause)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::error::{Error, Result};
    use crate::name::{FencingToken, Holder, Key};
    use crate::protocol::Renewed;

    const TTL: Duration = Duration::from_secs(30);

    fn lease(ticket: u128, ttl: Duration, now: Moment) -> Arc<Kept> {
        let (key, holder) = (Key::new("k").unwrap(), Holder::new("h").unwrap());
        let ticket = (key, Ticket::from_u128(ticket));
        Arc::new(Kept::new(ticket, FencingToken(1), holder, Ttl::new(ttl), (now, Some(now.after(ttl)))))
    }

    fn some(count: u128, now: Moment) -> (Renewals, Vec<Arc<Kept>>) {
        let mut renewals = Renewals::default();
        let leases: Vec<_> = (0..count).map(|n| lease(n * 997, TTL, now)).collect();
        for kept in &leases {
            renewals.add(Arc::clone(kept), now);
        }
        (renewals, leases)
    }

    /// Takes an answer in. Answers who lost its lease.
    fn answer(
        renewals: &mut Renewals,
        batch: Batch,
        answers: Result<Vec<Renewed>>,
        now: Moment,
    ) -> Vec<Loss> {
        let of = Asking { number: batch.number, count: batch.len(), sent: now };
        let fates = batch.answered(answers).fates();
        let lost =
            fates.into_iter().filter_map(|(kept, fate)| renewals.apply(&kept, fate, &of, now)).collect();
        renewals.check();
        lost
    }

    fn confirmed(count: usize) -> Result<Vec<Renewed>> {
        Ok(vec![Renewed::Renewed { token: FencingToken(1), deadline: None }; count])
    }

    fn failed() -> Result<Vec<Renewed>> {
        Err(Error::Unavailable { store: "test".into(), why: "as planned".into() })
    }

    /// What a renewal that finds nothing at the store means for its owner.
    fn renewed_in_vain(ending: bool) -> Vec<Loss> {
        let (now, mut renewals) = (Moment::now(), Renewals::default());
        let kept = lease(1, TTL, now);
        renewals.add(Arc::clone(&kept), now);
        let now = now.after(TTL / 3);
        let batch = renewals.due(now, 1).batches.pop().unwrap();
        if ending {
            kept.begin_end();
        }
        let lost = answer(&mut renewals, batch, Ok(vec![Renewed::NotHeld(None)]), now);
        assert!(renewals.is_empty());
        lost
    }

    #[test]
    fn a_renewal_that_crosses_the_owners_release_is_no_loss() {
        assert_eq!(renewed_in_vain(true), []);
        assert_eq!(renewed_in_vain(false), [Loss::Gone]);
    }

    #[test]
    fn a_short_first_life_is_renewed_in_time_and_not_before() {
        const SHORT: Duration = Duration::from_secs(3);
        let now = Moment::now();
        for (ttl, passed) in [
            (Ttl::new(TTL), Duration::ZERO),
            (Ttl::new(TTL), SHORT / 4),
            (Ttl::new(TTL), SHORT),
            (Ttl::Forever, Duration::ZERO),
        ] {
            let (key, holder) = (Key::new("k").unwrap(), Holder::new("h").unwrap());
            let end = now.after(SHORT);
            let kept = Kept::new((key, Ticket::from_u128(1)), FencingToken(1), holder, ttl, (now, Some(end)));
            let kept = Arc::new(kept.at_first(Ttl::new(SHORT)));
            let mut renewals = Renewals::default();
            let heard = now.after(passed);
            let first = renewals.add(Arc::clone(&kept), heard).unwrap();
            // Two thirds are left for it, however late the grant was heard.
            let latest = now.after((SHORT / 3).max(passed));
            assert!(first <= latest && first >= heard, "{:?} after the grant", first.since(now));
            assert!(passed > SHORT / 4 || first >= now.after(SHORT / 4), "who releases soon saves it");
            if passed == SHORT {
                continue; // lost, and told
            }
            let batch = renewals.due(first, 1).batches.pop().unwrap();
            assert_eq!(answer(&mut renewals, batch, confirmed(1), first), []);
            // From then on by its full ttl.
            let next = renewals.next_time();
            assert_eq!(next.map(|next| next.since(now) > TTL / 4), ttl.duration().map(|_| true));
            assert!(renewals.due(now.after(TTL / 5), 1).batches.is_empty());
        }
    }

    #[test]
    fn leases_taken_at_once_are_not_due_at_once() {
        let now = Moment::now();
        let (renewals, _leases) = some(1000, now);
        let times: Vec<_> = renewals.times.iter().map(|(time, _)| time.since(now)).collect();
        assert!(times[0] >= TTL / 4 && times[999] <= TTL / 3, "{:?} to {:?}", times[0], times[999]);
        assert!(times[999] - times[0] > TTL / 48, "{:?}", times[999] - times[0]);
        // Always by the same: a run that is repeated is the same run.
        let (again, _leases) = some(1000, now);
        assert_eq!(renewals.times, again.times);
    }

    #[test]
    fn batches_are_bounded_and_whatever_ends_first_is_in_the_first() {
        let now = Moment::now();
        let (mut renewals, _leases) = some(1000, now);
        let short = lease(u128::MAX, TTL / 3 * 2, now);
        renewals.add(Arc::clone(&short), now);
        // All are late; the one with the shortest life is not the one with the smallest ticket, nor was it added first.
        let late = now.after(TTL / 2);
        let due = renewals.due(late, 3);
        assert_eq!(due.batches.iter().map(Batch::len).collect::<Vec<_>>(), [LARGEST; 3]);
        let first = due.batches.into_iter().next().unwrap().answered(failed()).fates();
        assert!(Arc::ptr_eq(&first[0].0, &short));
        renewals.check();
    }

    #[test]
    fn those_that_are_due_soon_are_asked_for_along_with_one_that_is_due() {
        let now = Moment::now();
        let (mut renewals, _leases) = some(100, now);
        let first = renewals.next_time().unwrap();
        assert!(renewals.due(now, 9).batches.is_empty(), "before its time nothing is asked");
        let due = renewals.due(first, 9);
        assert_eq!(due.batches.iter().map(Batch::len).collect::<Vec<_>>(), [100]);
        assert_eq!(renewals.due(first, 9).batches.len(), 0, "no lease is asked for twice at a time");
        let ends: BTreeSet<_> = renewals.times.iter().map(|(time, _)| time.since(now)).collect();
        assert_eq!(ends, [TTL].into(), "what is asked for is looked at again at its end");
    }

    /// A lease of a group, taken at some time.
    fn grouped(ticket: u128, group: u16, now: Moment) -> Arc<Kept> {
        let kept = Arc::into_inner(lease(ticket, TTL, now)).unwrap();
        Arc::new(kept.in_group(group))
    }

    #[test]
    fn leases_of_one_group_find_each_other_and_stay_together() {
        const GROUPS: u16 = 50;
        let began = Moment::now();
        let (mut now, mut renewals, mut leases) = (began, Renewals::default(), Vec::new());
        // In steps of a hundredth of the time between renewals; for one of these times some are taken in each step.
        let step = TTL / 300;
        let mut dice = 7u64;
        let mut calls = [0; 5];
        for turn in 0..500 {
            for n in 0..10 {
                if turn < 100 {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let (ticket, group) = (u128::from(dice), (dice >> 40) as u16 % GROUPS + 1);
                    let kept = grouped(ticket << 7 | n, group, now);
                    renewals.add(Arc::clone(&kept), now);
                    leases.push(kept);
                }
            }
            for batch in renewals.due(now, usize::MAX).batches {
                // As a store asks that can renew one group a call.
                let groups: BTreeSet<_> = batch.leases().map(|kept| kept.group).collect();
                assert!(batch.len() <= LARGEST);
                calls[turn / 100] += groups.len();
                let count = batch.len();
                answer(&mut renewals, batch, confirmed(count), now);
            }
            now = now.after(step);
        }
        assert_eq!(leases.len(), 1000);
        assert!(leases.iter().all(|kept| kept.deadline().is_some_and(|end| end.since(now) > TTL / 2)));
        // One a group and time between renewals, which are a little shorter than a third of the ttl.
        assert!(calls[3..].iter().all(|calls| *calls <= usize::from(GROUPS) * 5 / 4), "{calls:?}");
        for kept in leases {
            renewals.remove(kept.ticket);
        }
        renewals.check();
    }

    #[test]
    fn a_group_is_no_larger_than_a_batch() {
        let now = Moment::now();
        let mut renewals = Renewals::default();
        let leases: Vec<_> = (0..250).map(|n| grouped(n * 997, 1 + (n / 125) as u16, now)).collect();
        for kept in &leases {
            renewals.add(Arc::clone(kept), now);
        }
        let due = renewals.due(now.after(TTL / 3), usize::MAX);
        assert_eq!(due.batches.iter().map(Batch::len).sum::<usize>(), 250);
        assert_eq!(due.batches.iter().map(Batch::len).max(), Some(LARGEST));
        renewals.check();
    }

    #[test]
    fn those_that_fail_together_are_asked_for_apart() {
        let mut now = Moment::now();
        let (mut renewals, _leases) = some(100, now);
        let mut sizes = Vec::new();
        for _ in 0..4 {
            now = now.after(TTL / 4);
            let mut due = renewals.due(now, usize::MAX);
            sizes.push(due.batches.iter().map(Batch::len).max().unwrap_or(0));
            for batch in due.batches.drain(..) {
                assert_eq!(answer(&mut renewals, batch, failed(), now), []);
            }
            if due.over.len() == 100 {
                break;
            }
        }
        assert_eq!(sizes[1..3], [100, 12], "{sizes:?}");
        // And together again, once they are answered.
        let now = Moment::now();
        let (mut renewals, _leases) = some(2, now);
        for (size, answers) in [(2, None), (1, None), (1, Some(1)), (2, Some(2))] {
            let time =
                renewals.times.iter().map(|(time, _)| *time).max().unwrap().min(now.after(TTL * 2 / 3));
            let due = renewals.due(time, 9);
            assert_eq!(due.batches[0].len(), size);
            for batch in due.batches {
                let answers = answers.map_or(failed(), confirmed);
                answer(&mut renewals, batch, answers, now);
            }
        }
    }

    #[test]
    fn a_lease_whose_time_is_up_is_told_and_not_renewed() {
        let now = Moment::now();
        let (mut renewals, leases) = some(3, now);
        leases[1].begin_end();
        leases[2].lose(Loss::Released);
        let due = renewals.due(now.after(TTL), 9);
        assert_eq!((due.over.len(), due.batches.len()), (3, 0));
        assert!(renewals.is_empty() && !due.more);
    }

    #[test]
    fn who_is_late_is_told() {
        let now = Moment::now();
        let (mut renewals, _leases) = some(1, now);
        assert!(renewals.due(now.after(TTL / 3), 9).late.is_empty());
        let (mut renewals, _leases) = some(1, now);
        assert_eq!(renewals.due(now.after(TTL * 3 / 4), 9).late.len(), 1);
    }

    #[test]
    fn an_answer_to_an_older_question_plans_nothing() {
        let now = Moment::now();
        let (mut renewals, leases) = some(1, now);
        let batch = renewals.due(now.after(TTL / 3), 9).batches.pop().unwrap();
        leases[0].set_ttl(Ttl::new(TTL / 10));
        let ticket = leases[0].ticket;
        let planned = renewals.plan_anew(ticket, now).unwrap();
        assert!(planned <= now.after(TTL / 30), "by the shorter ttl, whoever is awaited");
        assert_eq!(answer(&mut renewals, batch, confirmed(1), now), []);
        assert_eq!(renewals.next_time(), Some(planned));
        assert!(leases[0].deadline().unwrap() < now.after(TTL / 5), "nor does it count");
    }

    #[test]
    fn asking_about_all_reaches_each_in_parts() {
        let now = Moment::now();
        let (mut renewals, _leases) = some(2 * LOOKS as u128 + 1, now);
        let all = renewals.all();
        assert!(all.is_sorted() && all.len() == 2 * LOOKS + 1);
        all.chunks(LOOKS).for_each(|some| renewals.all_due(some, now));
        assert_eq!(renewals.times.iter().filter(|(time, _)| *time <= now).count(), 2 * LOOKS + 1);
        renewals.check();
    }

    #[test]
    fn the_order_is_whole_whatever_happens() {
        let mut now = Moment::now();
        let (mut renewals, leases) = some(500, now);
        let (mut dice, mut under_way) = (7u64, Vec::new());
        for _ in 0..20_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (what, which) = (dice >> 60, (dice >> 20) as usize % leases.len());
            let kept = &leases[which];
            match what {
                0..4 => drop(renewals.add(Arc::clone(kept), now)),
                4 => drop(renewals.remove(kept.ticket)),
                5 => drop(renewals.plan_anew(kept.ticket, now)),
                6 => renewals.all_due(&[kept.ticket], now),
                7..10 => under_way.extend(renewals.due(now, which % 4).batches),
                10..14 => {
                    if let Some(batch) = under_way.pop() {
                        let count = batch.len();
                        let answers = if what < 13 { confirmed(count) } else { failed() };
                        answer(&mut renewals, batch, answers, now);
                    }
                }
                _ => now = now.after(Duration::from_millis(dice >> 52)),
            }
            renewals.check();
        }
    }
}
