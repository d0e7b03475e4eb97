//! What flights promise: every value is that of a leader of this flight, or of one whose result is kept.

use std::collections::BTreeMap;

use super::digest::{Digest, Request};
use super::{Found, Invariant};
use crate::protocol::Want;
use crate::testing::history::Said;

/// By how much the store's clock and those of its clients may differ over a `keep`, in microseconds.
const CLOCKS: u64 = 1_000_000;

pub(super) fn check(digest: &Digest<'_>, found: &mut Vec<Found>) {
    let mut leaders: BTreeMap<(&str, u64), &Request<'_>> = BTreeMap::new();
    for request in digest.requests.values().filter(|request| request.want == Want::Flight) {
        if let Some((_, token)) = request.granted {
            leaders.insert((request.key, token), request);
        }
    }
    for caller in digest.requests.values() {
        let Some((at, value)) = caller.got else { continue };
        let leader = leaders.get(&(caller.key, value)).copied();
        if let Some(what) = wrong(digest, caller, leader) {
            let what = format!("{:?}: request {:x} got {value}, {what}", caller.key, caller.op);
            let ops = [Some(caller.op), leader.map(|leader| leader.op)].into_iter().flatten().collect();
            let (invariant, from) = (Invariant::Values, caller.asked);
            found.push(Found { invariant, what, ops, from, at });
        }
    }
}

/// What is wrong with a value, in words.
fn wrong(digest: &Digest<'_>, caller: &Request<'_>, leader: Option<&Request<'_>>) -> Option<&'static str> {
    let Some(leader) = leader else { return Some("which no leader had") };
    if leader.op == caller.op {
        return None;
    }
    let Some((published, keep)) = leader.publishes else { return Some("which its leader never published") };
    let ((got, _), (granted, token)) = (caller.got?, leader.granted?);
    if published > got {
        return Some("before it was published");
    }
    let replaced = |other: &Request<'_>| {
        other.key == leader.key && other.granted.is_some_and(|(at, newer)| token < newer && at < published)
    };
    if digest.requests.values().any(replaced) {
        return Some("whose leader had been replaced before it published");
    }
    // Callers of one process share a flight: who joins one that still waits has its value, too, though that may
    // be on its way already; and its leader waits until it has heard that the value is published.
    let fellow = |other: &&Request<'_>| {
        let until = if other.op == leader.op { other.answered.map(|(at, _)| at) } else { other.resolved() };
        let waits = until.is_none_or(|at| caller.asked <= at);
        other.client == caller.client && other.key == caller.key && other.asked < caller.asked && waits
    };
    let fellows = digest.requests.values().filter(fellow);
    let asked = fellows.map(|fellow| fellow.asked).min().unwrap_or(caller.asked).min(caller.asked);
    let until = |at: u64| at.saturating_add(keep).saturating_add(digest.set_back + CLOCKS);
    if leader.answered.is_some_and(|(at, said)| said == Said::Yes && until(at) < asked) {
        return Some("which was kept no longer");
    }
    let forgot = digest.breaks.iter().filter(|b| b.forget && b.done && b.key == caller.key);
    let forgot = forgot.map(|b| (b.from, b.to)).any(|(from, to)| granted < from && to < asked);
    forgot.then_some("which was forgotten before it asked")
}
