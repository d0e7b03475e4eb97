//! What lines promise: first come, first served; no standstill; no hanging; and nothing left at the end.

use std::collections::BTreeMap;

use super::digest::{Digest, Request};
use super::{Checker, Found, Invariant, micros};
use crate::protocol::{Mode, Want};
use crate::testing::history::{At, End, Gave, Said};

pub(super) fn check(digest: &Digest<'_>, checker: &Checker, found: &mut Vec<Found>) {
    let mut keys: BTreeMap<&str, Vec<&Request<'_>>> = BTreeMap::new();
    for request in digest.requests.values() {
        keys.entry(request.key).or_default().push(request);
    }
    for requests in keys.values() {
        fair(digest, requests, found);
        standstill(digest, checker, requests, found);
    }
    for request in digest.requests.values() {
        hang(digest, checker, request, found);
        error(digest, request, found);
    }
    if let Some((at, left)) = digest.left
        && left != [0; 4]
    {
        let [held, waiting, subscriptions, connections] = left;
        let what = format!(
            "left: {held} held, {waiting} in line, {subscriptions} subscriptions, {connections} connections"
        );
        found.push(Found { invariant: Invariant::NothingLeft, what, ops: Vec::new(), from: at, at });
    }
}

/// Nobody asks after another stood in line and is served before him.
fn fair(digest: &Digest<'_>, requests: &[&Request<'_>], found: &mut Vec<Found>) {
    // A result is everybody's at once; only locks are served one by one.
    if requests.iter().any(|request| request.want == Want::Flight) {
        return;
    }
    let mut served: Vec<(u64, At, &Request<'_>)> =
        requests.iter().filter_map(|r| r.granted.map(|(at, token)| (token, at, *r))).collect();
    served.sort_by_key(|(token, ..)| std::cmp::Reverse(*token));
    // Of those who were served later: who stood in line first, while all was calm.
    let mut first: Option<(At, &Request<'_>)> = None;
    for (_, at, request) in served {
        if let Some((stood, other)) = first
            && request.mode != Mode::Force
            && stood < request.asked
            && digest.calm(stood, at)
        {
            let what = format!(
                "{:?}: request {:x} was served before {:x}, which had stood in line when it asked",
                request.key, request.op, other.op
            );
            let ops = vec![other.op, request.op];
            found.push(Found { invariant: Invariant::Fair, what, ops, from: other.asked, at });
        }
        if let Some(stood) = request.in_line
            && first.is_none_or(|(before, _)| stood < before)
            && digest.calm(stood, at)
        {
            first = Some((stood, request));
        }
    }
}

/// Nobody stands in line for long while nobody holds.
fn standstill(digest: &Digest<'_>, checker: &Checker, requests: &[&Request<'_>], found: &mut Vec<Found>) {
    let mut held: Vec<(At, At)> = requests.iter().filter_map(|request| request.occupied(digest)).collect();
    held.sort();
    let limit = micros(checker.hand_over);
    for request in requests.iter().filter(|request| request.mode == Mode::Line) {
        let to = request.resolved().unwrap_or(digest.end);
        let mut free_since = request.asked;
        let mut fault = |from: At, to: At| {
            let stood = to.saturating_sub(from);
            let stood = stood.saturating_sub(digest.stopped(request.client, from, to));
            if stood > limit {
                let (key, op) = (request.key, request.op);
                let what = format!("{key:?}: request {op:x} waited for {stood} us while nobody held it");
                let (ops, invariant) = (vec![op], Invariant::NoStandstill);
                found.push(Found { invariant, what, ops, from, at: to });
            }
        };
        let mut free = |from: At, to: At| {
            let mut calm = from;
            for (began, over) in digest.troubles.iter().filter(|(began, over)| *began < to && from < *over) {
                fault(calm, *began);
                calm = calm.max(*over);
            }
            fault(calm, to);
        };
        for (from, until) in held.iter().filter(|(_, until)| *until >= request.asked) {
            if *from >= to {
                break;
            }
            if *from > free_since {
                free(free_since, *from);
            }
            free_since = free_since.max(*until);
        }
        if free_since < to {
            free(free_since, to);
        }
    }
}

/// Whoever waits for a time hears of its end; whoever does not, of something before the history ends.
fn hang(digest: &Digest<'_>, checker: &Checker, request: &Request<'_>, found: &mut Vec<Found>) {
    let resolved = request.resolved();
    let took = resolved.unwrap_or(digest.end).saturating_sub(request.asked);
    let stopped = digest.stopped(request.client, request.asked, digest.end);
    let limit = request.wait.map(|wait| wait + stopped + micros(checker.slack));
    let what = match (limit, resolved) {
        (Some(limit), _) if took > limit && request.mode == Mode::Line => {
            format!("{:?}: request {:x} took {took} us", request.key, request.op)
        }
        (_, None) => format!("{:?}: request {:x} never ended", request.key, request.op),
        _ => return,
    };
    let (ops, from, at) = (vec![request.op], request.asked, resolved.unwrap_or(digest.end));
    found.push(Found { invariant: Invariant::NoHang, what, ops, from, at });
}

/// In calm times nothing fails.
fn error(digest: &Digest<'_>, request: &Request<'_>, found: &mut Vec<Found>) {
    let gave_up = request.gave_up.filter(|(_, why)| *why == Gave::Failed).map(|(at, _)| (at, "failed"));
    let unbroken = |at: At| !digest.broken(request.key, request.asked, at);
    let lost = request.ended.filter(|(at, how)| *how == End::Lost && unbroken(*at));
    let lost = lost.map(|(at, _)| (at, "lost its lease"));
    let answered = request.answered.filter(|(at, said)| match said {
        Said::Yes => false,
        Said::Failed | Said::Unknown => true,
        Said::Lost => unbroken(*at),
    });
    let answered = answered.map(|(at, _)| (at, "was not let go"));
    for (at, what) in [gave_up, lost, answered].into_iter().flatten() {
        if digest.calm(request.asked, at) {
            let what =
                format!("{:?}: request {:x} {what}, though nothing was wrong", request.key, request.op);
            let (ops, from) = (vec![request.op], request.asked);
            found.push(Found { invariant: Invariant::NoError, what, ops, from, at });
        }
    }
}

impl Request<'_> {
    /// From when to when nobody else can be served: the answer to its end may take as long as it likes.
    fn occupied(&self, digest: &Digest<'_>) -> Option<(At, At)> {
        let (granted, _) = self.granted?;
        let ended = self.ended.map(|(at, _)| at).or(self.killed).unwrap_or(digest.end);
        let answered = self.answered.map_or(ended, |(at, _)| at);
        Some((granted, ended.max(answered)))
    }
}
