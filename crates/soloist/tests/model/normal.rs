//! Answers made comparable. Two things may differ between stores that are both right: the last digits of a
//! token, which depend on the keys that share a counter; and whose end a waiter should watch.

use soloist::protocol::{Answer, Holding, KeyInfo, Published, Queued, Released, Renewed};
use soloist::{Event, FencingToken};

use crate::call::Said;

/// The tokens of a row end with the step's time where the counter has stood still for so long: the first of 128 is so much
/// before it.
const BEFORE: u64 = 250;

/// Every step of a case stands in a millisecond of its own, and no step grants a thousand times: so this is
/// the step in which the token was given.
pub fn step_of(token: FencingToken) -> FencingToken {
    let token = token.0 + BEFORE;
    FencingToken(token - token % 1000)
}

#[test]
fn tokens_of_one_step_are_alike_whoever_shared_the_counter() {
    let now = 1_700_000_000_131_000;
    let step = step_of(FencingToken(now));
    // A row of 128 alone, another grant before it, and one behind a raised token.
    for token in [now - 127, now + 1, now + 129, now + 501, now + 501 + 128] {
        assert_eq!(step_of(FencingToken(token)), step, "{token}");
    }
    assert_ne!(step_of(FencingToken(now - 1000)), step);
    assert_ne!(step_of(FencingToken(now + 1000 - 127)), step);
}

fn shorten(token: &mut FencingToken) {
    *token = step_of(*token);
}

fn holding(holding: &mut Holding) {
    shorten(&mut holding.token);
}

fn released(released: &mut Released) {
    match released {
        Released::Released { token } => shorten(token),
        Released::NotHeld(Some(held)) => holding(held),
        Released::NotHeld(None) => {}
    }
}

fn info(info: &mut KeyInfo) {
    if let Some(held) = &mut info.holding {
        holding(held);
    }
    if let Some(result) = &mut info.result {
        shorten(&mut result.token);
    }
}

pub fn answer(mut answer: Answer) -> Answer {
    match &mut answer {
        Answer::Granted(grant) => shorten(&mut grant.token),
        Answer::Queued(Queued { holding: held, ahead, .. }) => {
            holding(held);
            *ahead = None;
        }
        Answer::Busy(held) | Answer::Full { holding: held, .. } => holding(held),
        Answer::Done(outcome) => shorten(&mut outcome.token),
    }
    answer
}

pub fn said(mut said: Said) -> Said {
    match &mut said {
        Said::Acquired(it) => return Said::Acquired(answer(it.clone())),
        Said::Renewed(all) => {
            for one in all {
                match one {
                    Renewed::Renewed { token, .. } => shorten(token),
                    Renewed::NotHeld(Some(held)) => holding(held),
                    Renewed::NotHeld(None) | Renewed::Unknown => {}
                }
            }
        }
        Said::Rotated(one, again) => {
            released(one);
            *again = again.take().map(answer);
        }
        Said::Released(one) => released(one),
        Said::Published(Published::Refused(Some(held))) => holding(held),
        Said::Info(it) => info(it),
        Said::Infos(all) => all.iter_mut().for_each(info),
        _ => {}
    }
    said
}

/// Events in the order in which each key saw them: between keys there is none to keep.
pub fn events(mut events: Vec<Event>) -> Vec<Event> {
    events.iter_mut().for_each(|event| shorten(&mut event.token));
    events.sort_by(|a, b| a.key.cmp(&b.key));
    events
}
