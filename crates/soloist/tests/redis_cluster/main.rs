//! A cluster whose slots move and whose primaries end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/cluster.rs"]
mod cluster;
mod connect;
mod cost;
mod failover;
mod free;
mod load;
mod moves;
#[path = "../support/party.rs"]
mod party;
mod places;
mod plain;
#[path = "../support/redis_server.rs"]
mod redis_server;
#[path = "../support/request.rs"]
mod request;
mod rights;
