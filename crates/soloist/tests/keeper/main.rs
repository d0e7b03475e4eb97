//! What the keeper promises: nothing of the caller's starves it, and whatever is let go of is cleaned up.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod blocked;
mod closing;
#[path = "../client/fleet.rs"]
#[allow(dead_code)]
mod fleet;
mod forked;
mod holding;
mod late;
mod many;
mod odd;
#[path = "../support/redis_server.rs"]
mod redis_server;
