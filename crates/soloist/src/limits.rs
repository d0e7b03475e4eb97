//! Which durations make sense. Everything else is refused before anything is sent.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::protocol::{Micros, Ttl};
use crate::store::Store;

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
const SHORTEST_TTL: Duration = Duration::from_millis(10);

/// The life of a lease: 10 ms to a year.
pub(crate) fn ttl(got: Duration) -> Result<Ttl> {
    if (SHORTEST_TTL..=YEAR).contains(&got) {
        return Ok(Ttl::new(got));
    }
    let range = "a ttl is 10 ms to 366 days; use no_expiry for a lease that never ends by itself";
    Err(Error::BadDuration { what: "ttl", got, range })
}

/// How long to hold a lease at most: 10 ms to a year.
pub(crate) fn max_hold(got: Duration) -> Result<Duration> {
    if (SHORTEST_TTL..=YEAR).contains(&got) {
        return Ok(got);
    }
    let range = "the longest hold is 10 ms to 366 days; leave it out to hold for as long as it takes";
    Err(Error::BadDuration { what: "max_hold", got, range })
}

/// How long to stand in line: up to a year.
pub(crate) fn wait(got: Duration) -> Result<Duration> {
    if got <= YEAR {
        return Ok(got);
    }
    let range = "a wait is at most 366 days; leave it out to wait for as long as it takes";
    Err(Error::BadDuration { what: "wait", got, range })
}

/// How long to keep a result: up to a year.
pub(crate) fn keep(got: Duration) -> Result<Micros> {
    if got <= YEAR {
        return Ok(u64::try_from(got.as_micros()).unwrap_or(u64::MAX));
    }
    Err(Error::BadDuration { what: "keep", got, range: "a result is kept for at most 366 days" })
}

/// Whether a lease of this ttl may be had of this store. Invariant: no ttl goes out unchecked, or it would outlive
/// the store's boot guard.
pub(crate) fn lives(store: &dyn Store, ttl: Ttl) -> Result<()> {
    let Some(longest) = store.longest_ttl() else { return Ok(()) };
    let range = "the store's boot guard has to outlast every lease: ask for less, or raise boot_guard at every client";
    match ttl.duration() {
        Some(got) if got > longest => Err(Error::BadDuration { what: "ttl", got, range }),
        Some(_) => Ok(()),
        None => Err(Error::Refused {
            store: store.name().into(),
            why: "a lease without an end would outlive its boot guard".into(),
            hint: "give the lease a ttl, or leave boot_guard out",
        }),
    }
}
