//! The checks: what every store must do, each a plain function over the trait.

pub mod bound;
pub mod events;
pub mod expiry;
pub mod flight;
pub mod line;
pub mod lock;
pub mod look;
pub mod rotate;
pub mod session;
pub mod takeover;
pub mod text;
pub mod values;
