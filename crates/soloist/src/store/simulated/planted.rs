//! Faults of a store or its client that are built in on purpose, to see that a checker finds them.

use crate::name::{Key, Session, Ticket};
use crate::protocol::{Done, Left, Publication, Renewal, Request, Table, Ttl, Who};

/// A fault that is built in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Planted {
    /// A release ends whoever's lease the key has.
    ReleaseWithoutComparing,
    /// Tokens count from one again when the data is lost.
    BareCounter,
    /// Who leaves goes out of the line, and does not look whether it was just granted.
    LeaveWithoutLooking,
    /// A replaced leader's result is taken.
    BlindPublish,
    /// A script that the server has forgotten is not sent again.
    NoFallback,
    /// A holder believes for ever in a lease that the store ends: one asked for without expiry.
    NoDeadline,
    /// A lease counts from when its grant was heard.
    DeadlineFromReply,
    /// All requests of a session have the same ticket.
    OneTicket,
    /// Who waits trusts the message, and never looks.
    MessageAlone,
}

/// How long a lease lives that its holder believes in for ever.
const SECRETLY: Ttl = Ttl::Micros(1_000_000);

impl Planted {
    /// The request as it is sent.
    pub(super) fn request(planted: Option<Self>, request: &Request, session: Session) -> Request {
        let mut request = request.clone();
        match planted {
            Some(Planted::OneTicket) => request.ticket = the_one(session),
            Some(Planted::NoDeadline) => request.ttl = secretly(request.ttl),
            _ => {}
        }
        request
    }

    pub(super) fn renewal(planted: Option<Self>, renewal: &Renewal, session: Session) -> Renewal {
        let mut renewal = renewal.clone();
        match (planted, &renewal.who) {
            (Some(Planted::OneTicket), Who::Ticket(_)) => renewal.who = Who::Ticket(the_one(session)),
            (Some(Planted::NoDeadline), _) => renewal.ttl = secretly(renewal.ttl),
            _ => {}
        }
        renewal
    }

    pub(super) fn ticket(planted: Option<Self>, ticket: Ticket, session: Session) -> Ticket {
        if planted == Some(Planted::OneTicket) { the_one(session) } else { ticket }
    }

    pub(super) fn who(planted: Option<Self>, who: &Who, session: Session) -> Who {
        match (planted, who) {
            (Some(Planted::ReleaseWithoutComparing), _) => Who::Any,
            (_, Who::Ticket(ticket)) => Who::Ticket(Planted::ticket(planted, *ticket, session)),
            (_, who) => who.clone(),
        }
    }
}

fn the_one(session: Session) -> Ticket {
    Ticket::from_u128(session.as_u128())
}

fn secretly(ttl: Ttl) -> Ttl {
    if ttl == Ttl::Forever { SECRETLY } else { ttl }
}

/// Leaves the line without a look at who holds.
pub(super) fn leave_blindly(table: &mut Table, key: &Key, ticket: Ticket) -> Left {
    let Some(state) = table.keys.get_mut(key) else { return Left::Absent };
    let before = state.queue.len();
    state.queue.retain(|waiter| waiter.ticket != ticket);
    if state.queue.len() < before { Left::Line } else { Left::Absent }
}

/// Puts a result in place without asking whose turn it is.
pub(super) fn publish_blindly(table: &mut Table, publication: &Publication) {
    let state = table.keys.entry(publication.key.clone()).or_default();
    if let Some(info) = state.done.as_ref().map(|done| done.info.clone()) {
        state.done = Some(Done { ticket: publication.ticket, info, body: publication.body.clone() });
    }
}
