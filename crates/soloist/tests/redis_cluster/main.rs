//! A cluster whose slots move and whose primaries end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/cluster.rs"]
mod cluster;
mod connect;
mod cost;
mod failover;
mod load;
mod moves;
#[path = "../support/party.rs"]
mod party;
mod places;
#[path = "../support/redis_server.rs"]
mod redis_server;
mod rights;
