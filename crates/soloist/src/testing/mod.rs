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
//! **Virtual time.** [`simulate`] runs a program on a clock that jumps from timer to timer, with ids and chance from
//! a seed: the same seed is the same run. [`keepers_here`] has leases renewed on the test's own runtime, as all of
//! them are there.
//!
//! **Histories.** A [`Recorder`] writes what callers asked, heard and believed; a [`Checker`] reads that and says
//! which [promise](Invariant) was broken, with the lines that show it.
//!
//! **A world that fails.** A [`World`] is a server behind a network whose [`Weather`] loses, repeats and delays; its
//! sessions are cut off, [stopped](Gate) and killed, and it loses its data and has its clock stepped.
//!
//! **Crashes.** [`kill_at`] has this very process killed between two system calls of the local store.
//!
//! **Orders.** [`orders`] runs a few futures in every order in which they can be polled and dropped.
//!
//! **Fuzzing.** [`parse`] has one door to each parser.
//!
//! Unlike the rest of the library, what stands here panics when it cannot work: a missing server is a failed test,
//! never one that was skipped.

mod checker;
mod faulty_results;
mod faulty_store;
mod faulty_wire;
mod history;
pub(crate) mod keepers;
pub mod orders;
pub mod parse;
mod pid;
mod recording;
mod redis_server;
mod scratch;
mod second_process;
mod seed;
mod store_faults;
mod store_plan;
mod virtual_time;
mod wire_faults;
mod wire_pipe;

pub use crate::random::Dice;
pub use crate::store::local::points::armed::{KILL_POINTS, kill_at, system_calls};
pub use crate::store::simulated::{Gate, Planted, SimulatedStore, Weather, World};
pub use checker::{Checker, Invariant, Violation};
pub use faulty_store::FaultyStore;
pub use faulty_wire::FaultyWire;
pub use history::{At, End, Gave, History, Op, Record, Recorder, Said, What};
pub use keepers::keepers_here;
pub use recording::RecordingStore;
pub use redis_server::{RedisServer, free_port};
pub use second_process::{SecondProcess, hears, role, says};
pub use store_faults::{Fault, Injected, Rates, Verb};
pub use virtual_time::{VirtualTime, simulate};
pub use wire_faults::{WireCounts, WireFault};
