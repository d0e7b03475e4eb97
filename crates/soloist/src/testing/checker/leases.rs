//! What leases promise: exclusion, tokens, fencing, no false yes.

use std::collections::BTreeMap;

use super::digest::{Digest, Request};
use super::{Found, Invariant};
use crate::testing::history::{At, Said};

pub(super) fn check(digest: &Digest<'_>, found: &mut Vec<Found>) {
    let mut keys: BTreeMap<&str, Vec<&Request<'_>>> = BTreeMap::new();
    for request in digest.requests.values().filter(|request| request.granted.is_some()) {
        keys.entry(request.key).or_default().push(request);
    }
    for requests in keys.values() {
        sure_one_by_one(requests, found);
        tokens(requests, found);
        register(requests, found);
        false_yes(requests, found);
    }
}

fn token(request: &Request<'_>) -> u64 {
    request.granted.map_or(0, |(_, token)| token)
}

fn fault(
    found: &mut Vec<Found>,
    invariant: Invariant,
    (a, b): (&Request<'_>, &Request<'_>),
    at: At,
    what: String,
) {
    let (ops, from) = (vec![a.op, b.op], a.asked.min(b.asked));
    found.push(Found { invariant, what: format!("{:?}: {what}", a.key), ops, from, at });
}

/// Who is sure is so alone, and one after the other with growing tokens.
fn sure_one_by_one(requests: &[&Request<'_>], found: &mut Vec<Found>) {
    let spans = requests.iter().filter_map(|request| Some((request.sure?, *request)));
    let mut spans: Vec<_> = spans.filter(|((from, to), _)| from < to).collect();
    spans.sort_by_key(|((from, to), _)| (*from, *to));
    // The one so far that is sure for the longest, and the one with the largest token.
    let (mut last, mut largest): (Option<(At, &Request<'_>)>, Option<&Request<'_>>) = (None, None);
    for ((from, to), request) in spans {
        if let Some((until, before)) = last.filter(|(until, _)| from < *until) {
            let (a, b, both) = (before.op, request.op, until.min(to) - from);
            let what = format!("requests {a:x} and {b:x} were both sure of it for {both} us");
            fault(found, Invariant::Exclusion, (before, request), from, what);
        } else if let Some(before) = largest.filter(|before| token(before) >= token(request)) {
            let what = format!("token {} was followed by {}", token(before), token(request));
            fault(found, Invariant::Tokens, (before, request), from, what);
        }
        if last.is_none_or(|(until, _)| until < to) {
            last = Some((to, request));
        }
        if largest.is_none_or(|before| token(before) < token(request)) {
            largest = Some(request);
        }
    }
}

/// No token is given twice, and what was asked for after a grant was heard has a larger one.
fn tokens(requests: &[&Request<'_>], found: &mut Vec<Found>) {
    let mut seen: BTreeMap<u64, &Request<'_>> = BTreeMap::new();
    for request in requests {
        if let Some(before) = seen.insert(token(request), request) {
            let (at, what) = (request.asked, format!("token {} was given twice", token(request)));
            fault(found, Invariant::Tokens, (before, request), at, what);
        }
    }
    let mut heard: Vec<(At, &Request<'_>)> =
        requests.iter().filter_map(|request| Some((request.granted?.0, *request))).collect();
    heard.sort_by_key(|(at, _)| *at);
    let mut asked: Vec<&&Request<'_>> = requests.iter().collect();
    asked.sort_by_key(|request| request.asked);
    let (mut next, mut largest): (_, Option<&Request<'_>>) = (heard.into_iter().peekable(), None);
    for request in asked {
        while let Some((_, before)) = next.next_if(|(at, _)| *at < request.asked) {
            if largest.is_none_or(|largest| token(largest) < token(before)) {
                largest = Some(before);
            }
        }
        if let Some(before) = largest.filter(|before| token(before) > token(request)) {
            let what = format!("token {} was followed by {}", token(before), token(request));
            fault(found, Invariant::Tokens, (before, request), request.asked, what);
        }
    }
}

/// The register took no older token after a newer one, and refused nobody who was sure.
fn register(requests: &[&Request<'_>], found: &mut Vec<Found>) {
    let mut writes: Vec<(u64, At, bool, &Request<'_>)> = Vec::new();
    for request in requests {
        writes.extend(request.writes.iter().map(|(at, seq, accepted)| (*seq, *at, *accepted, *request)));
    }
    writes.sort_by_key(|(seq, ..)| *seq);
    let mut newest: Option<&Request<'_>> = None;
    for (_, at, accepted, request) in writes {
        let sure = request.sure.is_some_and(|(from, to)| from <= at && at < to);
        match newest {
            Some(before) if accepted && token(before) > token(request) => {
                let what = format!("a write of token {} was taken after {}", token(request), token(before));
                fault(found, Invariant::Fencing, (before, request), at, what);
            }
            Some(before) if !accepted && sure => {
                let what = format!("a write of token {} was refused, though it holds", token(request));
                fault(found, Invariant::Fencing, (before, request), at, what);
            }
            _ => {}
        }
        if accepted && newest.is_none_or(|before| token(before) < token(request)) {
            newest = Some(request);
        }
    }
}

/// Whoever hears that his release or publication was carried out had not been replaced before he asked for it.
fn false_yes(requests: &[&Request<'_>], found: &mut Vec<Found>) {
    // Whose token is larger was granted later.
    let mut by_token: Vec<&&Request<'_>> = requests.iter().collect();
    by_token.sort_by_key(|request| std::cmp::Reverse(token(request)));
    let mut earliest: Option<(At, &Request<'_>)> = None;
    for request in by_token {
        let begins = request.ended.map(|(at, _)| at).or(request.publishes.map(|(at, _)| at));
        if let (Some((_, Said::Yes)), Some(at), Some((heard, newer))) = (request.answered, begins, earliest)
            && heard < at
            && token(request) < token(newer)
        {
            let what = format!("token {} was confirmed its end after {} held", token(request), token(newer));
            fault(found, Invariant::NoFalseYes, (newer, request), at, what);
        }
        if let Some((heard, _)) = request.granted.filter(|(at, _)| earliest.is_none_or(|(e, _)| *at < e)) {
            earliest = Some((heard, request));
        }
    }
}
