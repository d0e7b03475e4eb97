//! What breaks things on purpose, and what notices that something broke: for this crate's own tests, and for those
//! of whoever builds on it. Behind the feature `testing`, of which nothing runs unless it is used.
//!
//! **Virtual time.** [`simulate`] runs a program on a clock that jumps from timer to timer, with ids and chance from
//! a seed: the same seed is the same run.
//!
//! **Histories.** A [`Recorder`] writes what callers asked, heard and believed; a [`Checker`] reads that and says
//! which [promise](Invariant) was broken, with the lines that show it.
//!
//! **A world that fails.** A [`World`] is a server behind a network whose [`Weather`] loses, repeats and delays; its
//! sessions are cut off, [stopped](Gate) and killed, and it loses its data and has its clock stepped.

mod checker;
mod history;
mod recording;
mod virtual_time;

pub use crate::random::Dice;
pub use crate::store::simulated::{Gate, Planted, SimulatedStore, Weather, World};
pub use checker::{Checker, Invariant, Violation};
pub use history::{At, End, Gave, History, Op, Record, Recorder, Said, What};
pub use recording::RecordingStore;
pub use virtual_time::{VirtualTime, simulate};
