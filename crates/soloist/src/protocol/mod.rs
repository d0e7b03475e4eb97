//! The state machine of a key, pure: no clock, no I/O, no async. Everything from outside (the time, who is
//! alive) comes in as an argument; everything to be done outside (wake-ups, events) goes out as a value.
//!
//! ```text
//! free -> held (holder, token, deadline) + a FIFO queue of waiters -> done (result, until) -> free
//! ```
//!
//! A lock is a flight that never publishes. The memory and the local store run this machine; Redis runs the
//! same one in Lua (`store/redis/lua`), and `tests/model` demands the same answers of all three.
//!
//! Users meet only what [`Client::inspect`](crate::Client::inspect) answers: [`KeyInfo`] and its parts. The
//! rest is for those who write a [store](crate::Store).
//!
//! ```
//! use soloist::protocol::{Answer, Liveness, Mode, Request, Step, Table, Ttl, Want};
//! use soloist::{FencingToken, Holder, Key, Session, Ticket};
//!
//! struct AllAlive;
//! impl Liveness for AllAlive {
//!     fn waiter_gone(&self, _: Session) -> bool { false }
//!     fn holder_gone(&self, _: Session) -> bool { false }
//! }
//!
//! let request = Request {
//!     key: Key::new("report:42")?,
//!     ticket: Ticket::mint(),
//!     holder: Holder::new("worker-7")?,
//!     note: None,
//!     want: Want::Lock,
//!     mode: Mode::Line,
//!     ttl: Ttl::Micros(30_000_000),
//!     bound: false,
//!     seen: None,
//!     max_waiting: None,
//!     tokens: 1,
//! };
//! let mut table = Table::default();
//! let mut step = Step::new(1_000_000, &AllAlive); // the time comes in
//! let Answer::Granted(grant) = table.acquire(&request, Session::mint(), &mut step) else { panic!("busy") };
//! assert_eq!(grant.token, FencingToken(1_000_000));
//! assert_eq!(step.effects.len(), 1); // an event goes out
//! # Ok::<(), soloist::Error>(())
//! ```

mod answer;
mod key_state;
mod request;
mod step;
mod table;

pub use answer::{
    Answer, Body, Grant, Holding, KeyInfo, Left, Outcome, OutcomeKind, Published, Queued, Released, Renewed,
    ResultInfo, WaiterInfo,
};
pub use key_state::{Done, Held, KeyState, Waiter};
pub use request::{Mode, Publication, Renewal, Request, Ttl, Want, Who};
pub use step::{Effect, Liveness, Move, Step, Wake};
pub use table::Table;

/// A time on the store's clock: microseconds since 1970.
pub type Micros = u64;

/// How long a lease lives that was handed over to a waiter which has not answered yet, in microseconds.
/// The waiter's confirmation lifts it to the full ttl; a frozen waiter costs the line no more than this.
pub const HANDOVER_TTL: Micros = 3_000_000;

/// How many fencing tokens a grant takes at most.
pub const MOST_TOKENS: u8 = 128;

/// How far a grant of several tokens may take them ahead of the store's clock, in microseconds: less than any store
/// needs to come back without its data.
pub const TOKENS_AHEAD: Micros = 1000;

/// How long a result is kept at the least, in microseconds, for waiters that stood in line when it was
/// published and whose message was lost. Nobody else is served with it once its `keep` has passed.
pub const RESULT_GRACE: Micros = 30_000_000;
