//! Several servers in one URL: the primary is used, whichever it is, and followed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "../support/redis_server.rs"]
mod redis_server;

mod connect;
mod failover;
#[path = "../support/request.rs"]
mod request;
mod trio;
