//! What several tests share.

pub mod driven;
pub mod redis_server;
