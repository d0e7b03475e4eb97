//! The program, driven as a program: on the local store, and where it matters on a real Redis server too.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod bad_input;
#[path = "../../../soloist/tests/support/certificates.rs"]
mod certificates;
mod doctor;
mod killed;
mod leases;
mod once;
mod outside;
mod place;
mod printed;
mod replicas;
mod run;
mod terminal;
mod tls;
mod top;
