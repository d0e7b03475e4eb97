//! Answers made comparable. Two things may differ between stores that are both right: the last digits of a
//! token, which depend on the keys that share a counter; and whose end a waiter should watch.

use soloist::protocol::{Answer, Holding, KeyInfo, Published, Queued, Released, Renewed};
use soloist::{Event, FencingToken};

use crate::call::Said;

/// Every step of a case stands in a millisecond of its own, and no step grants a thousand times: so this is
/// the step in which the token was given.
pub fn step_of(token: FencingToken) -> FencingToken {
    FencingToken(token.0 - token.0 % 1000)
}

fn shorten(token: &mut FencingToken) {
    *token = step_of(*token);
}

fn holding(holding: &mut Holding) {
    shorten(&mut holding.token);
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
        Said::Released(Released::Released { token }) => shorten(token),
        Said::Released(Released::NotHeld(Some(held))) | Said::Published(Published::Refused(Some(held))) => {
            holding(held);
        }
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
