//! A store inside a simulation: the machine at a server, behind a network that a seed makes fail.
//!
//! It is built as the Redis store is: verbs are asked again with the same ticket until the answer comes or it is
//! given up; wake-ups come by another way, on which they can be lost; whoever comes back looks again.

mod gate;
mod network;
mod planted;
mod session;
mod world;

pub use gate::Gate;
pub use network::Weather;
pub use planted::Planted;
pub use session::SimulatedStore;
pub use world::World;
