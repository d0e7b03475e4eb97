//! What breaks things on purpose, and what notices that something broke: for this crate's own tests, and for those
//! of whoever builds on it. Behind the feature `testing`, of which nothing runs unless it is used.

mod virtual_time;

pub use crate::random::Dice;
pub use virtual_time::{VirtualTime, simulate};
