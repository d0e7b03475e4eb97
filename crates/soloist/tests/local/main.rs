//! The local store as several processes use it: real folders, real second processes, real kills.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asking;
mod child;
mod cost;
mod crash;
mod doomed;
mod folder;
mod known;
#[path = "../support/request.rs"]
mod request;
mod store;
