//! Leases that are renewed in one step.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Loss, Result};
use crate::kept::{Asked, Kept};
use crate::observe;
use crate::protocol::{Renewed, Ttl};
use crate::store::Store;

/// The most leases of one step: a store's step is short, and one that fails costs few.
pub(super) const LARGEST: usize = 100;

/// How long leases are asked for together at most.
const LONGEST_TOGETHER: Duration = Duration::from_secs(10);

/// Leases that are asked for together, and what came of it.
#[derive(Debug)]
pub(super) struct Batch {
    leases: Vec<Asked>,
    /// Which question this is: an answer to an older one plans nothing.
    pub(super) number: u64,
    sent: Moment,
    answers: Result<Vec<Renewed>>,
}

/// What a renewal means for the plan.
#[derive(Debug, PartialEq)]
pub(super) enum Fate {
    /// It was confirmed; it is renewed again so long after it was sent.
    Renewed(Option<Duration>),
    /// It is not there any more.
    Ended(Loss),
    /// Unknown: to be asked again after this pause.
    Unknown(Duration),
}

impl Batch {
    pub(super) fn new(leases: Vec<Arc<Kept>>, number: u64, now: Moment) -> Self {
        let leases = leases.iter().map(|kept| kept.renewal(false)).collect();
        Batch { leases, number, sent: now, answers: Ok(Vec::new()) }
    }

    /// Asks the store.
    pub(super) async fn send(mut self, store: &dyn Store) -> Self {
        let renewals: Vec<_> = self.leases.iter().map(|asked| asked.renewal.clone()).collect();
        let settles = store.settles();
        self.leases.iter_mut().for_each(|asked| asked.sending(settles));
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

    pub(super) fn sent(&self) -> Moment {
        self.sent
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    #[cfg(test)]
    pub(super) fn leases(&self) -> impl Iterator<Item = &Kept> {
        self.leases.iter().map(|asked| &*asked.kept)
    }

    #[cfg(any(test, soloist_shuttle))]
    pub(super) fn answered(mut self, answers: Result<Vec<Renewed>>) -> Self {
        self.answers = answers;
        self
    }

    /// Invariant: no lease is lost because the store cannot answer for another. After so long they are asked
    /// for in smaller steps, and at last each by itself: there is time for all of these steps.
    fn limit(&self) -> Option<Duration> {
        let parts = self.leases.iter().filter_map(|asked| third(asked.kept.term()).map(|third| third / 4));
        (self.leases.len() > 1).then(|| parts.fold(LONGEST_TOGETHER, Duration::min))
    }

    /// Takes the answers in. "Unknown" is not "lost": until the deadline it is asked again.
    pub(super) fn fates(self) -> Vec<(Arc<Kept>, Fate)> {
        let answers: Vec<Result<Renewed>> = match self.answers {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); self.leases.len()],
        };
        // Who has waited for the failure has paused already.
        let took = Moment::now().since(self.sent);
        let fate = |kept: &Kept, asked: &mut Asked, answer| match answer {
            Some(Ok(Renewed::Renewed { token, .. })) if kept.can_have(token) => {
                let counts = kept.renewed(self.sent, asked);
                observe::renewed(kept.subject());
                Fate::Renewed(if counts { pause(kept) } else { Some(Duration::ZERO) })
            }
            Some(Ok(Renewed::Renewed { .. } | Renewed::NotHeld(_))) => Fate::Ended(Loss::Gone),
            // The session has ended, and with it whatever was held in it.
            Some(Err(Error::Closed)) => Fate::Ended(Loss::Released),
            Some(Err(error)) => {
                observe::not_renewed(kept.subject(), &error);
                Fate::Unknown(retry_pause(kept, asked).saturating_sub(took))
            }
            // A store that answers for fewer than were asked has not answered.
            Some(Ok(Renewed::Unknown)) | None => Fate::Unknown(retry_pause(kept, asked).saturating_sub(took)),
        };
        let mut answers = answers.into_iter();
        let with_fate = |mut asked: Asked| {
            let kept = Arc::clone(&asked.kept);
            let fate = fate(&kept, &mut asked, answers.next());
            (kept, fate)
        };
        self.leases.into_iter().map(with_fate).collect()
    }
}

/// A third of the life.
fn third(ttl: Ttl) -> Option<Duration> {
    ttl.duration().map(|ttl| ttl / 3)
}

/// How long after one renewal the next is due; `None`: never. At a third of the life two more tries fit in
/// before the end. Leases that were taken at once would be due at once: each is due a little earlier than that,
/// by an eighth at most, and always by the same.
pub(super) fn pause(kept: &Kept) -> Option<Duration> {
    pause_of(kept, kept.term_and_deadline())
}

/// The same, where its term and its end are known.
pub(super) fn pause_of(kept: &Kept, (term, deadline): (Ttl, Option<Moment>)) -> Option<Duration> {
    let third = third(term)?;
    let share = kept.ticket.as_u128() as u16;
    kept.may_live_longer(deadline)
        .then(|| third - (third / 8).mul_f64(f64::from(share) / f64::from(u16::MAX)))
}

/// How long after a question that failed the next is asked.
fn retry_pause(kept: &Kept, asked: &Asked) -> Duration {
    let lives = [kept.term(), asked.renewal.ttl].into_iter().filter_map(Ttl::duration);
    let pause = lives.min().map_or(Duration::from_secs(1), |life| life / 20);
    pause.clamp(Duration::from_millis(5), Duration::from_secs(1))
}
