//! The pure machine, with sessions that live and die as a case wants.

use std::collections::HashMap;

use soloist::protocol::{
    Answer, Effect, Liveness, Micros, Released, Request, Step as MachineStep, Table, Wake,
};
use soloist::{FencingToken, Session, Ticket};

use crate::call::{Call, Heard, Said, Step};
use crate::steps::SESSIONS;

pub struct Machine {
    pub table: Table,
    pub now: Micros,
    alive: Alive,
    seen: Seen,
}

struct Alive(Vec<Session>);

impl Liveness for Alive {
    fn waiter_gone(&self, session: Session) -> bool {
        !self.0.contains(&session)
    }
    fn holder_gone(&self, session: Session) -> bool {
        !self.0.contains(&session)
    }
}

/// Behind which token each request stood first, and behind which it stood last, by the word of one store.
#[derive(Default)]
pub struct Seen {
    first: HashMap<Ticket, FencingToken>,
    last: HashMap<Ticket, FencingToken>,
}

impl Seen {
    fn of(&self, ticket: Ticket) -> Option<FencingToken> {
        self.first.get(&ticket).copied()
    }

    /// What was told before this is late.
    pub fn last(&self, ticket: Ticket) -> Option<FencingToken> {
        self.last.get(&ticket).copied()
    }

    pub fn in_request(&self, request: &Request, wanted: bool) -> Request {
        Request { seen: if wanted { self.of(request.ticket) } else { None }, ..request.clone() }
    }

    pub fn note(&mut self, ticket: Ticket, answer: &Answer) {
        if let Answer::Queued(queued) = answer {
            self.first.entry(ticket).or_insert(queued.holding.token);
            self.last.insert(ticket, queued.holding.token);
        }
    }
}

impl Machine {
    pub fn new(now: Micros) -> Self {
        let alive = Alive((0..SESSIONS).map(|_| Session::mint()).collect());
        Machine { table: Table::default(), now, alive, seen: Seen::default() }
    }

    /// The session at this place ends, and another takes the place.
    pub fn die(&mut self, session: usize) {
        self.alive.0[session] = Session::mint();
    }

    pub fn call(&mut self, by: usize, call: &Call) -> Step {
        let Machine { table, now, alive, seen } = self;
        let session = alive.0[by];
        let mut step = MachineStep::new(*now, alive);
        let said = match call {
            Call::Acquire { request, seen: wanted } => {
                let request = seen.in_request(request, *wanted);
                let answer = table.acquire(&request, session, &mut step);
                seen.note(request.ticket, &answer);
                Said::Acquired(answer)
            }
            Call::Leave(key, ticket) => Said::Left(table.leave(key, *ticket, &mut step)),
            Call::Renew(renewals) => {
                Said::Renewed(renewals.iter().map(|renewal| table.renew(renewal, &mut step)).collect())
            }
            Call::Release(key, who) => Said::Released(table.release(key, who, session, &mut step)),
            Call::Rotate { held, request } => match table.rotate(*held, request, session, &mut step) {
                Ok((token, answer)) => {
                    seen.note(request.ticket, &answer);
                    Said::Rotated(Released::Released { token }, Some(answer))
                }
                Err(holding) => Said::Rotated(Released::NotHeld(holding), None),
            },
            Call::Publish(publication) => Said::Published(table.publish(publication, &mut step)),
            Call::Forget(key) => Said::Forgot(table.forget(key, &mut step)),
            Call::Touch(key) => {
                table.touch(key, &mut step);
                Said::Touched
            }
            Call::Inspect(key) => Said::Info(table.inspect(key, &step)),
            Call::List(prefix) => Said::Infos(table.list(prefix, &step)),
        };
        let (mut heard, mut events) = (Vec::new(), Vec::new());
        for effect in step.effects {
            match effect {
                Effect::Event(event) => events.push(event),
                Effect::Wake(to, ticket, wake) => {
                    let what = match wake {
                        Wake::Granted(grant) => Heard::Served(Answer::Granted(grant)),
                        Wake::Done(outcome) => Heard::Served(Answer::Done(outcome)),
                        Wake::Lost(token, loss) => Heard::Lost(token, loss),
                        Wake::Look => continue,
                    };
                    if let Some(place) = alive.0.iter().position(|session| *session == to) {
                        heard.push((place, ticket, what));
                    }
                }
            }
        }
        Step { said, heard, events }
    }
}
