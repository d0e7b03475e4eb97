//! Locks and work-once for fleets of processes.
#![forbid(unsafe_code)]

mod builder;
mod client;
mod clock;
mod error;
mod event;
mod flights;
mod glob;
mod keeper;
mod kept;
mod leader;
mod lease;
mod limits;
mod lock;
mod name;
mod observe;
mod once;
mod payload;
mod place;
pub mod protocol;
pub mod store;
mod watch;

pub use builder::ClientBuilder;
pub use client::{APP_KEY, Client};
pub use clock::{Moment, Reading};
pub use error::{Error, Loss, Result};
pub use event::{Event, EventKind};
pub use glob::Glob;
pub use leader::{Flight, Leader};
pub use lease::{Lease, LeaseId};
pub use lock::{Lock, TryLock};
pub use name::{FencingToken, Holder, Key, MAX_HOLDER, MAX_KEY, MAX_NOTE, MAX_PREFIX, Note, Session, Ticket};
pub use once::{OnError, Once};
pub use payload::{Payload, Raw};
pub use protocol::{Holding, KeyInfo, OutcomeKind, ResultInfo, WaiterInfo, Want};
pub use store::{EventStream, Store, StoreUrl, Told};

/// The snippets of this page are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/moving.md")]
struct Moving;
