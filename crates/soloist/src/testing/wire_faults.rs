//! What can happen on a wire, when, and how often it did.

use std::collections::VecDeque;
use std::time::Duration;

use super::seed::{draw, pick};

/// What happens to a request, or to what the server says to it.
///
/// A request is what arrives at once: usually one command, or some that were sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireFault {
    /// The connection is cut before the request arrives.
    CutRequest,
    /// The request arrives, and the connection is cut in place of the reply.
    CutReply,
    /// The request arrives, and so many bytes of the reply; then the connection is cut.
    CutInReply(usize),
    /// The request arrives, and nothing that the server says from then on: a connection that is half open.
    Silence,
    /// The request arrives so much later.
    LateRequest(Duration),
    /// The request arrives at once, and the reply so much later.
    LateReply(Duration),
}

/// What a [`FaultyWire`](super::FaultyWire) did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WireCounts {
    /// Connections that came.
    pub connections: u64,
    /// Those of them that were turned away.
    pub refused: u64,
    /// Requests that came.
    pub requests: u64,
    /// Connections that were cut.
    pub cut: u64,
    /// Connections on which the server is no more heard.
    pub silenced: u64,
    /// Requests and replies that were late by a fault of their own.
    pub late: u64,
}

/// Which faults come next.
#[derive(Default)]
pub(super) struct WirePlan {
    /// Each with the bytes that a request has to contain.
    pub(super) on_request: VecDeque<(Vec<u8>, WireFault)>,
    pub(super) on_reply: VecDeque<(Vec<u8>, WireFault)>,
    /// The seed, and out of how many of a thousand requests something happens.
    pub(super) weather: Option<(u64, u16)>,
    drawn: u64,
}

impl WirePlan {
    /// What happens to these bytes from the client.
    pub(super) fn request(&mut self, bytes: &[u8]) -> Option<WireFault> {
        planned(&mut self.on_request, bytes).or_else(|| self.chance())
    }

    /// What happens to these bytes from the server.
    pub(super) fn reply(&mut self, bytes: &[u8]) -> Option<WireFault> {
        planned(&mut self.on_reply, bytes)
    }

    fn chance(&mut self) -> Option<WireFault> {
        let (seed, rate) = self.weather?;
        let number = self.drawn;
        self.drawn += 1;
        let drawn = |stream| draw(seed, stream, number);
        let late = Duration::from_millis(drawn(1) % 500);
        pick(drawn(0), &[((), rate)])?;
        // The rarer one leaves a connection that is noticed by its silence only.
        Some(match drawn(2) % 11 {
            0 => WireFault::Silence,
            1 | 2 => WireFault::CutRequest,
            3 | 4 => WireFault::CutReply,
            5 | 6 => WireFault::CutInReply((drawn(3) % 16) as usize),
            7 | 8 => WireFault::LateRequest(late),
            _ => WireFault::LateReply(late),
        })
    }
}

fn planned(plan: &mut VecDeque<(Vec<u8>, WireFault)>, bytes: &[u8]) -> Option<WireFault> {
    let (pattern, fault) = plan.front()?;
    let fault = *fault;
    let found = pattern.is_empty() || bytes.windows(pattern.len()).any(|window| window == pattern);
    found.then(|| plan.pop_front().map(|_| fault)).flatten()
}
