//! What threads share: the locks, flags and wake-ups of the code that must not lose one. In the package
//! `interleavings` they are those of a scheduler that tries orders of threads; here they are what they are.

#[cfg(not(soloist_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(soloist_shuttle))]
pub(crate) use tokio::sync::Notify;

#[cfg(soloist_shuttle)]
mod stepped;
#[cfg(soloist_shuttle)]
pub(crate) use stepped::{Mutex, MutexGuard, Notify, atomic, pass};
