//! Answers made comparable. Two things may differ between stores that are both right: the last digits of a
//! token, which depend on the keys that share a counter; and whose end a waiter should watch.

use soloist::protocol::{Answer, Holding, KeyInfo, Published, Queued, Released, Renewed};
use soloist::{Event, FencingToken};

use crate::call::Said;

/// Every step of a case stands in a millisecond of its own, and no step grants a thousand times: so this is
/// the step in which the token was given.
fn step_of(token: &mut FencingToken) {
    token.0 -= token.0 % 1000;
}

fn holding(holding: &mut Holding) {
    step_of(&mut holding.token);
}

fn info(info: &mut KeyInfo) {
    if let Some(held) = &mut info.holding {
        holding(held);
    }
    if let Some(result) = &mut info.result {
        step_of(&mut result.token);
    }
}

pub fn answer(mut answer: Answer) -> Answer {
    match &mut answer {
        Answer::Granted(grant) => step_of(&mut grant.token),
        Answer::Queued(Queued { holding: held, ahead, .. }) => {
            holding(held);
            *ahead = None;
        }
        Answer::Busy(held) => holding(held),
        Answer::Done(outcome) => step_of(&mut outcome.token),
    }
    answer
}

pub fn said(mut said: Said) -> Said {
    match &mut said {
        Said::Acquired(it) => return Said::Acquired(answer(it.clone())),
        Said::Renewed(all) => {
            for one in all {
                match one {
                    Renewed::Renewed { token, .. } => step_of(token),
                    Renewed::NotHeld(Some(held)) => holding(held),
                    Renewed::NotHeld(None) => {}
                }
            }
        }
        Said::Released(Released::Released { token }) => step_of(token),
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
    events.iter_mut().for_each(|event| step_of(&mut event.token));
    events.sort_by(|a, b| a.key.cmp(&b.key));
    events
}
