//! Sentinels name the primary, and real ones make another the primary.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "../support/certificates.rs"]
mod certificates;
mod connect;
mod examine;
mod failover;
mod fake;
mod load;
#[path = "../support/redis_server.rs"]
mod redis_server;
mod team;
mod tls;
#[allow(dead_code)]
#[path = "../redis_nodes/trio.rs"]
mod trio;
