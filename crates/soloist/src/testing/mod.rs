//! What breaks things on purpose, and what notices that something broke: for this crate's own tests, and for those
//! of whoever builds on it. Behind the feature `testing`, of which nothing runs unless it is used. A page about
//! it: `docs/testing.md`.
//!
//! ```toml
//! [dev-dependencies]
//! soloist = { version = "0.1", features = ["testing"] }
//! ```
//!
//! **Faults.** [`FaultyStore`] is a store whose calls and answers are lost, late or doubled, by plan or by seed: in
//! memory, and on virtual time. [`FaultyWire`] stands before a real server and cuts, stalls or loses what passes,
//! be it the reply alone. [`RedisServer`] is a server of a test's own, to be killed, frozen and started again.
//! [`SecondProcess`] is the test binary once more, to be frozen past its ttl and woken, or killed.
//!
//! Unlike the rest of the library, what stands here panics when it cannot work: a missing server is a failed test,
//! never one that was skipped.

mod faulty_store;
mod faulty_wire;
mod pid;
mod redis_server;
mod scratch;
mod second_process;
mod seed;
mod store_faults;
mod wire_faults;
mod wire_pipe;

pub use faulty_store::FaultyStore;
pub use faulty_wire::FaultyWire;
pub use redis_server::{RedisServer, free_port};
pub use second_process::{SecondProcess, hears, role, says};
pub use store_faults::{Fault, Injected, Rates, Verb};
pub use wire_faults::{WireCounts, WireFault};
