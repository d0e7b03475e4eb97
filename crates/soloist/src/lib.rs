//! Locks and work-once for fleets of processes.
#![forbid(unsafe_code)]

mod clock;
mod error;
mod event;
mod name;
pub mod protocol;
pub mod store;

pub use clock::{Moment, Reading};
pub use error::{Error, Loss, Result};
pub use event::{Event, EventKind};
pub use name::{FencingToken, Holder, Key, MAX_HOLDER, MAX_KEY, MAX_NOTE, Note, Session, Ticket};
pub use store::{Store, StoreUrl};
