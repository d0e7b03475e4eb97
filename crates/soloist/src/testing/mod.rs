//! What breaks things on purpose, and what notices that something broke: for this crate's own tests, and for those
//! of whoever builds on it. Behind the feature `testing`, of which nothing runs unless it is used.
//!
//! **Virtual time.** [`simulate`] runs a program on a clock that jumps from timer to timer, with ids and chance from
//! a seed: the same seed is the same run.
//!
//! **Histories.** A [`Recorder`] writes what callers asked, heard and believed; a [`Checker`] reads that and says
//! which [promise](Invariant) was broken, with the lines that show it.

mod checker;
mod history;
mod recording;
mod virtual_time;

pub use crate::random::Dice;
pub use checker::{Checker, Invariant, Violation};
pub use history::{At, End, Gave, History, Op, Record, Recorder, Said, What};
pub use recording::RecordingStore;
pub use virtual_time::{VirtualTime, simulate};
