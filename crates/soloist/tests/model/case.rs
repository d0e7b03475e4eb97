//! A plan made concrete: real keys, tickets and requests, drawn as the steps are taken.

use bytes::Bytes;
use soloist::protocol::{Body, Mode, OutcomeKind, Publication, Renewal, Request, Table, Ttl, Want, Who};
use soloist::{FencingToken, Holder, Key, Note, Ticket};

use crate::call::Call;
use crate::steps::{How, KEYS, Plan, Profile, Step, WhoIs};

/// What a step is to the stores.
pub enum Turn {
    Call(usize, Call),
    /// In microseconds.
    Pass(u64),
    Die(usize),
}

pub struct Case {
    prefix: String,
    profiles: Vec<Profile>,
    tickets: Vec<Ticket>,
    /// Every ticket that was ever used, with its key.
    pub all: Vec<(Key, Ticket)>,
    /// The largest token that a lease was raised to.
    raised: u64,
}

/// Key names with something in them for each store to stumble over.
const KEY_NAMES: [&str; KEYS] = ["a", "{b}\r\n*", "ü: \0"];
const HOLDER_NAMES: [&str; 3] = ["h", "user:20", "{}\0 '\""];

impl Case {
    pub fn new(plan: &Plan, prefix: String) -> Self {
        let profiles = plan.profiles.clone();
        let mut case = Case { prefix, tickets: Vec::new(), all: Vec::new(), profiles, raised: 0 };
        for at in 0..case.profiles.len() {
            let ticket = Ticket::mint();
            case.tickets.push(ticket);
            case.all.push((case.key(case.profiles[at].key), ticket));
        }
        case
    }

    fn key(&self, n: usize) -> Key {
        Key::new(format!("{}{}", self.prefix, KEY_NAMES[n])).unwrap()
    }

    pub fn keys(&self) -> Vec<Key> {
        (0..KEYS).map(|n| self.key(n)).collect()
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn who(&self, who: &WhoIs) -> Who {
        match who {
            WhoIs::Ticket(n) => Who::Ticket(self.tickets[*n]),
            WhoIs::Holder(n) => Who::Holder(Holder::new(HOLDER_NAMES[*n]).unwrap()),
            WhoIs::Any => Who::Any,
        }
    }

    fn request(&self, n: usize, mode: Mode) -> Request {
        let profile = &self.profiles[n];
        Request {
            key: self.key(profile.key),
            ticket: self.tickets[n],
            holder: Holder::new(HOLDER_NAMES[profile.holder]).unwrap(),
            note: profile.note.then(|| Note::new("a note\0\r\n").unwrap()),
            want: if profile.flight { Want::Flight } else { Want::Lock },
            mode,
            ttl: ttl(profile.ttl),
            bound: profile.bound,
            seen: None,
            max_waiting: profile.most,
            tokens: profile.tokens,
        }
    }

    /// The request of a ticket that stands in line.
    pub fn standing(&self, ticket: Ticket) -> Option<Request> {
        let n = self.tickets.iter().position(|t| *t == ticket)?;
        Some(self.request(n, Mode::Line))
    }

    /// The step, at this time, before which the keys stand so.
    pub fn turn(&mut self, step: &Step, now: u64, table: &Table) -> Turn {
        match step {
            Step::Acquire { ticket, how, seen } => {
                let mode = match how {
                    How::Ask if self.profiles[*ticket].tries => Mode::Try,
                    How::Ask => Mode::Line,
                    How::Force => Mode::Force,
                };
                let request = self.request(*ticket, mode);
                Turn::Call(self.profiles[*ticket].session, Call::Acquire { request, seen: *seen })
            }
            Step::Leave { by, ticket } => {
                Turn::Call(*by, Call::Leave(self.key(self.profiles[*ticket].key), self.tickets[*ticket]))
            }
            Step::Renew { by, leases } => {
                // Later than any token so far, also where no time has passed since the last was raised.
                self.raised = (self.raised + 1).max(now + 500);
                let renewals = leases.iter().map(|(key, who, time, detach, raise)| Renewal {
                    // A ticket's own key, so that most renewals meet their lease.
                    key: match who {
                        WhoIs::Ticket(n) => self.key(self.profiles[*n].key),
                        _ => self.key(*key),
                    },
                    who: self.who(who),
                    ttl: ttl(*time),
                    detach: *detach,
                    // Later than none of a later step. Alone: whoever is granted by the first
                    // renewal of a call may hear of it only after the second one has raised his token.
                    at_least: (*raise && leases.len() == 1).then_some(FencingToken(self.raised)),
                });
                Turn::Call(*by, Call::Renew(renewals.collect()))
            }
            Step::Release { by, key, who } => {
                let (by, key) = match who {
                    WhoIs::Ticket(n) => (*by, self.key(self.profiles[*n].key)),
                    _ => (*by, self.key(*key)),
                };
                Turn::Call(by, Call::Release(key, self.who(who)))
            }
            Step::Rotate { held, ticket } => {
                let mode = if self.profiles[*ticket].tries { Mode::Try } else { Mode::Line };
                let request = self.request(*ticket, mode);
                let holder = || table.keys.get(&request.key)?.holders.first().map(|held| held.ticket);
                let held = held.map_or_else(holder, |n| Some(self.tickets[n])).unwrap_or(request.ticket);
                Turn::Call(self.profiles[*ticket].session, Call::Rotate { held, request })
            }
            Step::Publish { ticket, error, size, keep } => {
                let publication = Publication {
                    key: self.key(self.profiles[*ticket].key),
                    ticket: self.tickets[*ticket],
                    kind: if *error { OutcomeKind::Error } else { OutcomeKind::Value },
                    body: Body::Inline(Bytes::from(
                        (0..*size).map(|n| ((n * 31) >> 3) as u8).collect::<Vec<_>>(),
                    )),
                    keep: keep * 1000,
                };
                Turn::Call(self.profiles[*ticket].session, Call::Publish(publication))
            }
            Step::Forget { by, key } => Turn::Call(*by, Call::Forget(self.key(*key))),
            Step::Touch { by, key } => Turn::Call(*by, Call::Touch(self.key(*key))),
            Step::Inspect { by, key } => Turn::Call(*by, Call::Inspect(self.key(*key))),
            Step::List { by } => Turn::Call(*by, Call::List(self.prefix.clone())),
            Step::Pass { time } => Turn::Pass(time * 1000),
            Step::Die { session } => {
                for n in 0..self.profiles.len() {
                    if self.profiles[n].session == *session {
                        self.tickets[n] = Ticket::mint();
                        self.all.push((self.key(self.profiles[n].key), self.tickets[n]));
                    }
                }
                Turn::Die(*session)
            }
        }
    }
}

fn ttl(millis: Option<u64>) -> Ttl {
    millis.map_or(Ttl::Forever, |millis| Ttl::Micros(millis * 1000))
}
