//! A request, as most tests ask.
#![allow(unreachable_pub, clippy::unwrap_used)]

use soloist::protocol::{Mode, Request, Ttl, Want};
use soloist::{Holder, Key, Ticket};

/// For the lock `key`, by `who`, that stands in line and lives for `ttl`.
pub(crate) fn lock(key: &str, who: &str, ttl: Ttl) -> Request {
    Request {
        key: Key::new(key).unwrap(),
        ticket: Ticket::mint(),
        holder: Holder::new(who).unwrap(),
        note: None,
        want: Want::Lock,
        mode: Mode::Line,
        ttl,
        bound: false,
        seen: None,
        max_waiting: None,
        tokens: 1,
    }
}
