//! What the answers of several nodes mean together.

use std::time::Duration;

use super::Nodes;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::name::FencingToken;
use crate::protocol::{Holding, Micros};

/// How long what must be undone at a node is tried, and how long the pauses are.
const TRY: Duration = Duration::from_secs(45);
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The token that most of these are; of several such the smallest: a node that got a lease later has given it a larger one.
pub(super) fn token(tokens: impl Iterator<Item = FencingToken>) -> Option<FencingToken> {
    let tokens: Vec<_> = tokens.collect();
    let of = |token: &FencingToken| tokens.iter().filter(|other| *other == token).count();
    tokens.iter().copied().max_by_key(|token| (of(token), std::cmp::Reverse(*token)))
}

/// Whether two nodes speak of the same holder. Invariant: nothing that excludes depends on this, it is only told.
pub(super) fn same(one: &Holding, other: &Holding) -> bool {
    one.token == other.token
        || (one.holder == other.holder && one.note == other.note && one.want == other.want)
}

/// The holder whom most of these name, and how many do; of several such the one with the largest token: a node may not have
/// heard yet that the one before has ended.
pub(super) fn holder(holdings: impl Iterator<Item = Holding>) -> Option<(Holding, usize)> {
    let all: Vec<Holding> = holdings.collect();
    let of = |holding: &Holding| all.iter().filter(|other| same(holding, other)).count();
    let (at, most) = all.iter().map(of).enumerate().max_by_key(|(at, count)| (*count, all[*at].token))?;
    let theirs = || all.iter().filter(|other| same(&all[at], other));
    let deadline = theirs().map(|holding| holding.deadline.unwrap_or(Micros::MAX)).max();
    let deadline = deadline.filter(|end| *end < Micros::MAX);
    let token = token(theirs().map(|holding| holding.token))?;
    Some((Holding { token, deadline, ..all[at].clone() }, most))
}

/// The same, without the number.
pub(super) fn holding(holdings: impl Iterator<Item = Holding>) -> Option<Holding> {
    holder(holdings).map(|(holding, _)| holding)
}

/// Why no majority has decided: the worst that was said.
pub(super) fn undecided(name: &str, nodes: &Nodes, errors: &[&Error]) -> Error {
    let store = name.to_owned();
    if errors.iter().any(|error| matches!(error, Error::Closed)) {
        return Error::Closed;
    }
    let mut guarded: Vec<Duration> = errors
        .iter()
        .filter_map(|error| match error {
            Error::Guarded { left, .. } => Some(*left),
            _ => None,
        })
        .collect();
    guarded.sort();
    // As many as are missing to a majority have to be waited for.
    let missing = nodes.majority().saturating_sub(nodes.len() - errors.len());
    if let Some(left) = missing.checked_sub(1).and_then(|at| guarded.get(at)) {
        return Error::Guarded { store, left: *left };
    }
    let says = |error: &&&Error| matches!(error, Error::Refused { .. } | Error::BadDuration { .. });
    if let Some(Error::Refused { why, hint, .. }) = errors.iter().find(says) {
        let why = format!("{} of {} nodes did not agree; one of them: {why}", errors.len(), nodes.len());
        return Error::Refused { store, why, hint };
    }
    let first = errors.first().map(|error| format!("; the first: {error}")).unwrap_or_default();
    let why = match errors.len() {
        0 => format!("fewer than {} of {} nodes answered in time", nodes.majority(), nodes.len()),
        failed => format!("{failed} of {} nodes failed{first}", nodes.len()),
    };
    Error::Unavailable { store, why }
}

/// Tries what ends something at a node until it is answered, for a while: what it would end has a ttl.
pub(super) async fn again<T, F: Future<Output = Result<T>>>(mut verb: impl FnMut() -> F) -> Result<T> {
    let (end, mut pause) = (Moment::now().after(TRY), PAUSES.0);
    loop {
        match verb().await {
            Err(Error::Unavailable { .. } | Error::Refused { .. }) if Moment::now() < end => {
                tokio::time::sleep(pause).await;
            }
            answered => return answered,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}
