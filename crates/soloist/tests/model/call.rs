//! A verb with its arguments, the same for the machine and for every store; and what was said to it.

use soloist::protocol::{
    Answer, KeyInfo, Left, Publication, Published, Released, Renewal, Renewed, Request, Who,
};
use soloist::{Event, FencingToken, Key, Loss, Ticket};

#[derive(Clone, Debug)]
pub enum Call {
    /// With `seen` the store's own memory of whom this request stood behind is told, too.
    Acquire {
        request: Request,
        seen: bool,
    },
    Leave(Key, Ticket),
    Renew(Vec<Renewal>),
    Release(Key, Who),
    /// The lease of this ticket ends, and its key is asked for again.
    Rotate {
        held: Ticket,
        request: Request,
    },
    Publish(Publication),
    Forget(Key),
    Touch(Key),
    Inspect(Key),
    List(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Acquired(Answer),
    Left(Left),
    Renewed(Vec<Renewed>),
    Released(Released),
    /// What came of the release, and of asking again if that was done.
    Rotated(Released, Option<Answer>),
    Published(Published),
    Forgot(bool),
    Touched,
    Info(KeyInfo),
    Infos(Vec<KeyInfo>),
}

impl Call {
    /// The request that it asks, if it is one.
    pub fn asks(&self) -> Option<&Request> {
        match self {
            Call::Acquire { request, .. } | Call::Rotate { request, .. } => Some(request),
            _ => None,
        }
    }
}

impl Said {
    /// The answer to a request, if it is one.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Said::Acquired(answer) | Said::Rotated(_, Some(answer)) => Some(answer),
            _ => None,
        }
    }
}

/// What a session hears without asking, as the machine says it must.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Served(Answer),
    Lost(FencingToken, Loss),
}

/// All that one call leads to.
#[derive(Clone, Debug)]
pub struct Step {
    pub said: Said,
    /// Which session, which of its tickets, and what.
    pub heard: Vec<(usize, Ticket, Heard)>,
    pub events: Vec<Event>,
}
