//! Standing in line, the same on every store: listen for the wake-up, and now and then look again.

use std::time::Duration;

use super::hub::{Hub, Slot};
use super::{Reply, Store};
use crate::clock::Reading;
use crate::error::{Error, Result};
use crate::name::FencingToken;
use crate::observe;
use crate::protocol::{Answer, Micros, Queued, Request, Wake, Want};

/// The longest time between two looks, for the case that a message was lost.
const SLOW_LOOK: Duration = Duration::from_secs(15);
/// By how much longer that is for each place in the line of a lock: a long line must not keep the store busy with
/// looks, and for whoever stands far behind nothing can be lost soon.
const FAR_LOOK: Duration = Duration::from_millis(15);
const FARTHEST: u64 = 20_000;
/// How long the second in line goes without a look, and each place behind it as much longer: the first may be
/// handed the key, with a short ttl, just when it is frozen, and nobody tells the second of that.
const SECOND_LOOK: Duration = Duration::from_millis(3300);
/// The shortest, so that an expired lease which cannot be handed over is not asked for in a tight loop.
const FAST_LOOK: Duration = Duration::from_millis(20);
/// By how much later each place looks at the holder's deadline: the first in line recovers the key, and
/// those behind find it done.
const PER_PLACE: Duration = Duration::from_millis(20);
const MOST_PLACES: u64 = 50;

/// What is known of a place in line until the next look. Small, for there may be very many who wait.
#[derive(Debug)]
struct InLine {
    /// When to look again.
    pause: Duration,
    /// Whose lease it waits behind.
    current: FencingToken,
    read: Reading,
}

impl InLine {
    /// What this answer says of the place, or the answer itself if it is not one that puts a request in line.
    fn of(standing: Reply, want: Want) -> std::result::Result<Self, Box<Reply>> {
        match &standing.answer {
            Answer::Queued(queued) => {
                let (read, current) = (standing.read, queued.holding.token);
                Ok(InLine { pause: next_look(queued, want, read.store), current, read })
            }
            _ => Err(Box::new(standing)),
        }
    }
}

/// Waits for `request`, which stands in line with this answer. Cancel safe: nothing is lost by dropping it.
///
/// The answer is taken in at once, and no room is kept for it: there may be very many who wait.
pub(super) fn wait<'a, S: Store + ?Sized>(
    store: &'a S,
    hub: &'a Hub,
    request: &'a Request,
    standing: Reply,
) -> impl Future<Output = Result<Reply>> + Send + 'a {
    let (mut seen, mut line) = (request.seen, InLine::of(standing, request.want));
    async move {
        loop {
            let slot = hub.listen(request.ticket, &request.key).ok_or(Error::Closed)?;
            let known = match line {
                // No copy of it is kept over the wait.
                Ok(ref known) => known,
                Err(served) => {
                    hub.forget(request.ticket);
                    return Ok(*served);
                }
            };
            seen = seen.or(Some(known.current));
            // What was told counts before the time that has passed meanwhile.
            let wake = tokio::select! {
                biased;
                wake = slot.told() => wake,
                () = tokio::time::sleep(known.pause) => Wake::Look,
            };
            match serves(wake, known) {
                Some(reply) => line = Err(reply),
                // In a box, as few look at any one time.
                None => {
                    if let Some(reply) = Box::pin(look(store, &slot, request, seen)).await? {
                        line = InLine::of(reply, request.want);
                    }
                }
            }
        }
    }
}

/// What was told, if that serves a request which waits behind this lease.
fn serves(wake: Wake, &InLine { current, read, .. }: &InLine) -> Option<Box<Reply>> {
    // What was told before the answer that put the request in line is over: asking again finds out. Tokens
    // tell which came first, whatever the store's clock does.
    let answer = match wake {
        Wake::Granted(grant) if grant.token > current => Answer::Granted(grant),
        Wake::Done(outcome) if outcome.token >= current => Answer::Done(outcome),
        // A place in line was lost to a takeover or a dead server: asking again finds out.
        Wake::Granted(_) | Wake::Done(_) | Wake::Look | Wake::Lost(..) => return None,
    };
    Some(Box::new(Reply { answer, read }))
}

/// Asks again for a request that stands in line; `None` if the store is away.
async fn look<S: Store + ?Sized>(
    store: &S,
    slot: &Slot,
    request: &Request,
    seen: Option<FencingToken>,
) -> Result<Option<Reply>> {
    let again = Request { seen, max_waiting: None, ..request.clone() };
    let look = slot.look();
    let asked = store.acquire(&again).await;
    look.done();
    match asked {
        Ok(reply) => Ok(Some(reply)),
        // Who stands in line keeps standing through an outage; his own `wait` is what ends it.
        Err(Error::Unavailable { store, why }) => {
            observe::still_in_line(request, &store, &why);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// When to look again: when the holder's lease would end unrenewed, the first in line first.
pub(super) fn next_look(queued: &Queued, want: Want, now: Micros) -> Duration {
    let place = queued.place.saturating_sub(1);
    if want == Want::Lock && place > MOST_PLACES {
        // Those in front see to the holder's end.
        return SLOW_LOOK + FAR_LOOK * u32::try_from(place.min(FARTHEST)).unwrap_or(0);
    }
    let places = u32::try_from(place.min(MOST_PLACES)).unwrap_or(0);
    let left = match queued.holding.deadline {
        Some(deadline) => Duration::from_micros(deadline.saturating_sub(now)),
        None => SLOW_LOOK,
    };
    let slowest = if places == 0 { SLOW_LOOK } else { SLOW_LOOK.min(SECOND_LOOK * places) };
    // A pause of a few milliseconds past the deadline: at the deadline itself the lease still stands.
    (left + Duration::from_millis(2)).clamp(FAST_LOOK, slowest) + PER_PLACE * places
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::name::Holder;
    use crate::protocol::Holding;

    #[test]
    fn whoever_stands_behind_a_waiter_that_is_frozen_looks_soon() {
        let holder = Holder::new("h").unwrap();
        let look_as = |want, place, deadline| {
            let holder = holder.clone();
            let token = FencingToken(1);
            let holding = Holding { holder, token, since: 0, deadline, note: None, want };
            next_look(&Queued { place, holding, ahead: None }, want, 0)
        };
        let look = |place, deadline| look_as(Want::Lock, place, deadline);
        let (long, none) = (Some(60_000_000), None);
        for deadline in [long, none] {
            assert_eq!(look(1, deadline), SLOW_LOOK);
            assert!(look(2, deadline) < Duration::from_secs(4));
            assert!(look(3, deadline) > look(2, deadline));
            assert!(look(100, deadline) <= SLOW_LOOK + Duration::from_secs(3));
            assert!(look_as(Want::Flight, 10_000, deadline) <= SLOW_LOOK + Duration::from_secs(1));
        }
        assert!(look(1, Some(1_000_000)) < Duration::from_secs(2));
    }

    #[test]
    fn a_long_line_does_not_keep_its_store_busy_with_looks() {
        let looks = |line: u64| -> f64 {
            let holding = Holding {
                holder: Holder::new("h").unwrap(),
                token: FencingToken(1),
                since: 0,
                deadline: None,
                note: None,
                want: Want::Lock,
            };
            let look =
                |place| next_look(&Queued { place, holding: holding.clone(), ahead: None }, Want::Lock, 0);
            (1..=line).map(|place| look(place).as_secs_f64().recip()).sum()
        };
        let (one, ten) = (looks(1_000), looks(10_000));
        assert!(ten < 200.0 && ten < one * 4.0, "{one} and {ten} looks a second");
    }
}
