//! Random steps, fed to the pure machine and to the stores, which must answer alike.
//!
//! [`pure`] tests the machine by itself against what must always hold; [`differential`] compares every store
//! with it: each answer, each wake-up, each event. `SOLOIST_SOAK=1` makes the runs long.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, missing_docs)]

mod call;
mod case;
mod differential;
mod machine;
mod normal;
mod peer;
mod pure;
mod steps;
mod stores;
#[path = "../support/mod.rs"]
mod support;

/// How many cases: `usual`, or many times that for a soak.
fn cases(usual: u32) -> u32 {
    if std::env::var_os("SOLOIST_SOAK").is_some() { usual * 50 } else { usual }
}
