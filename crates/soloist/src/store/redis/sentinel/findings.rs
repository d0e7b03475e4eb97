//! What the Sentinels are like for locks, beside what each server is.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::Sentinels;
use super::ask::{self, Facts, Known};
use crate::finding::{Finding, Level};
use crate::store::redis::at::At;
use crate::store::redis::greeting::Failed;

/// What a failover takes beside the time until the primary is held for down: the vote, and the way to the next one.
const VOTE: Duration = Duration::from_secs(2);
/// A network or a fork may well stall a primary for so long.
const STALL: Duration = Duration::from_secs(1);

/// One that was asked, and what it said.
pub(super) type Seen = (At, Result<Known, Failed>);

impl Sentinels {
    /// What all that are known say. `replicas` is how many the primary has, where it told; the leases live for `ttl`.
    pub(in crate::store::redis) async fn findings(
        &self,
        replicas: Option<u64>,
        ttl: Duration,
    ) -> Vec<Finding> {
        let all = self.shared.all.borrow().clone();
        let seen = join_all(all.into_iter().map(|at| async {
            let known = ask::look(&self.shared, &at).await;
            (at, known)
        }));
        judged(&self.shared.name, &seen.await, replicas, ttl)
    }
}

/// A fact that is a number.
fn number(facts: &Facts, name: &str) -> Option<u64> {
    facts.get(name)?.parse().ok()
}

fn has_flag(facts: &Facts, flag: &str) -> bool {
    facts.get("flags").is_some_and(|flags| flags.split(',').any(|one| one == flag))
}

/// Judges what they say. Nothing where none answers but that.
pub(super) fn judged(name: &str, seen: &[Seen], replicas: Option<u64>, ttl: Duration) -> Vec<Finding> {
    let mut found: Vec<Finding> = seen.iter().filter_map(|(at, known)| away(name, at, known)).collect();
    let answered: Vec<(&At, &Known)> =
        seen.iter().filter_map(|(at, known)| Some((at, known.as_ref().ok()?))).collect();
    // Of several that are as new, the one that most agree with.
    let agree = |known: &Known| answered.iter().filter(|(_, other)| other.primary == known.primary).count();
    let newest = answered.iter().max_by_key(|(_, known)| (known.epoch(), agree(known)));
    let Some((_, newest)) = newest else { return found };
    let others = |(_, known): &(&At, &Known)| number(&known.facts, "num-other-sentinels").unwrap_or(0);
    let all = answered.iter().map(others).max().unwrap_or(0).saturating_add(1);
    found.push(summary(name, newest, all));
    found.extend(votes(name, &answered, newest, all));
    found.extend(failover_time(name, newest, ttl));
    found.extend(spares(name, newest, replicas));
    found.extend(alike(&answered));
    for (at, known) in &answered {
        let mut own = differs(name, known, newest);
        own.extend(state(known));
        own.extend(unreached(known, &answered));
        found.extend(own.into_iter().map(|finding| finding.at(at.to_string())));
    }
    found
}

/// One that does not answer.
fn away(name: &str, at: &At, known: &Result<Known, Failed>) -> Option<Finding> {
    let failed = known.as_ref().err()?;
    let Finding { code, fix, .. } = Finding::from(failed.error.clone());
    let what = format!("this Sentinel does not say who the primary is: {}", failed.why());
    let why = "what it knows of a failover is not heard, and its vote may be missing";
    let finding = match code {
        "unavailable" => {
            let fix =
                format!("start it; where it is gone for good, SENTINEL RESET {name} at each other, in turn");
            Finding::new(Level::Warning, "sentinel-away", what, why).fix(fix)
        }
        code => Finding { fix, ..Finding::new(Level::Error, code, what, why) },
    };
    Some(finding.at(at.to_string()))
}

fn summary(name: &str, Known { primary, facts, .. }: &Known, all: u64) -> Finding {
    let told = |fact: &str| facts.get(fact).map_or("?", String::as_str);
    let what = format!(
        "{all} Sentinels watch {name}, {} of them decide that it is down after {} ms; the primary is {primary}, with {} replicas",
        told("quorum"),
        told("down-after-milliseconds"),
        told("num-slaves"),
    );
    Finding::new(Level::Note, "sentinels", what, "a failover takes the votes of more than half of them")
}

/// Whether a failover finds the votes that it takes.
fn votes(name: &str, answered: &[(&At, &Known)], newest: &Known, all: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut warn = |level, code, what: String, why: &str, fix: String| {
        found.push(Finding::new(level, code, what, why).fix(fix));
    };
    let majority = all / 2 + 1;
    if all < 3 {
        let what = format!("there are {all} Sentinels");
        let why = "when one is away the rest are no majority, so nobody is promoted";
        warn(
            Level::Warning,
            "sentinel-count",
            what,
            why,
            "have three, on machines that do not fail together".into(),
        );
    } else if all.is_multiple_of(2) {
        let what = format!("there are {all} Sentinels");
        let why = "an even number bears the loss of no more of them than one less does";
        warn(Level::Note, "sentinel-count", what, why, "have an odd number".into());
    }
    let quorum = number(&newest.facts, "quorum").unwrap_or(majority);
    let fix = || format!("SENTINEL SET {name} quorum {majority}, at each Sentinel");
    let what = format!("quorum is {quorum} of {all} Sentinels");
    if quorum > all {
        warn(Level::Warning, "sentinel-quorum", what, "so many never agree: nobody is promoted", fix());
    } else if quorum < majority {
        let why = "a few that are cut off together take a primary for down that serves everybody else";
        warn(Level::Warning, "sentinel-quorum", what, why, fix());
    } else if quorum > majority {
        let why = "nobody is promoted when fewer are there, though fewer have the majority";
        warn(Level::Warning, "sentinel-quorum", what, why, fix());
    }
    let here = answered.len() as u64;
    if here < majority.max(quorum) {
        let what = format!("{here} of {all} Sentinels answer");
        let why = "if those that are away from here are away from each other, too, nobody is promoted";
        warn(Level::Warning, "sentinel-away", what, why, "see the Sentinels that are named here".into());
    }
    found
}

/// Whether leases live through a failover.
fn failover_time(name: &str, newest: &Known, ttl: Duration) -> Option<Finding> {
    let down = Duration::from_millis(number(&newest.facts, "down-after-milliseconds")?);
    let what = format!("down-after-milliseconds is {}, with a ttl of {ttl:?}", down.as_millis());
    let found = |level, why, fix| Some(Finding::new(level, "down-after", what, why).fix(fix));
    // A lease is renewed after a third of its ttl.
    let left = ttl * 2 / 3;
    if down.saturating_add(VOTE) > left {
        let why = "a failover takes that and some two seconds more; a lease may have two thirds of its ttl left when the \
                   primary ends, and is lost before another serves";
        return found(
            Level::Warning,
            why,
            format!("SENTINEL SET {name} down-after-milliseconds 5000, at each Sentinel; or a longer ttl"),
        );
    }
    if down < STALL {
        let why = "a network or a machine that stalls for so long begins a failover, which may lose the last leases";
        return found(
            Level::Note,
            why,
            format!("SENTINEL SET {name} down-after-milliseconds 5000, at each Sentinel"),
        );
    }
    None
}

/// Who could be promoted.
fn spares(name: &str, newest: &Known, replicas: Option<u64>) -> Option<Finding> {
    let known = number(&newest.facts, "num-slaves")?;
    let found = |what, why, fix| Some(Finding::new(Level::Warning, "sentinel-replicas", what, why).fix(fix));
    if known == 0 {
        let why = "when the primary ends nobody can take its place";
        return found("the Sentinels know of no replica".into(), why, "have at least one: REPLICAOF".into());
    }
    let there = replicas.filter(|there| *there < known)?;
    let what = format!("the Sentinels know of {known} replicas, and {there} follow the primary");
    let why = "one that does not follow cannot be promoted, or would not know the last locks";
    found(
        what,
        why,
        format!("start them; where they are gone for good, SENTINEL RESET {name} at each Sentinel, in turn"),
    )
}

/// Whether all are set up in the same way.
fn alike(answered: &[(&At, &Known)]) -> Vec<Finding> {
    let differs = |name: &&&str| {
        let values: BTreeSet<_> = answered.iter().filter_map(|(_, known)| known.facts.get(**name)).collect();
        values.len() > 1
    };
    let finding = |name: &str| {
        let one = |(at, known): &(&At, &Known)| Some(format!("{} at {at}", known.facts.get(name)?));
        let told: Vec<_> = answered.iter().filter_map(one).collect();
        let what = format!("{name} differs: {}", told.join(", "));
        let why = "what a failover takes depends on which of them begins it";
        Finding::new(Level::Warning, "sentinel-settings", what, why)
            .fix("SENTINEL SET the same at each of them")
    };
    ["quorum", "down-after-milliseconds", "failover-timeout"]
        .iter()
        .filter(differs)
        .map(|name| finding(name))
        .collect()
}

/// One that names another primary than the newest answer does.
fn differs(name: &str, known: &Known, newest: &Known) -> Vec<Finding> {
    // The same server may be known by its name and by its address.
    let same_server =
        known.facts.get("runid").zip(newest.facts.get("runid")).is_some_and(|(one, other)| one == other);
    if known.primary == newest.primary || same_server {
        return Vec::new();
    }
    let what = format!("it names {} as the primary; the newest answer is {}", known.primary, newest.primary);
    let (level, why) = if known.epoch() < newest.epoch() {
        (
            Level::Warning,
            "it has not heard of the last failover: whoever reaches it alone is led to an old primary",
        )
    } else {
        (Level::Error, "none is newer: the same key may be held at both")
    };
    let fix = format!("see its log; SENTINEL RESET {name} there has it look anew");
    vec![Finding::new(level, "sentinel-disagrees", what, why).fix(fix)]
}

/// What it holds of the primary just now.
fn state(known: &Known) -> Option<Finding> {
    let what = if has_flag(&known.facts, "failover_in_progress") {
        "a failover is under way"
    } else if has_flag(&known.facts, "o_down") {
        "the Sentinels agree that the primary is down (o_down)"
    } else if has_flag(&known.facts, "s_down") {
        "it takes the primary for down (s_down)"
    } else {
        return None;
    };
    let why = "another server may be the primary in a moment, without the last locks";
    Some(
        Finding::new(Level::Warning, "failover", what, why)
            .fix("ask again in a few seconds; see the Sentinels' logs"),
    )
}

/// Others that answer here, and that it takes for down.
fn unreached(known: &Known, answered: &[(&At, &Known)]) -> Vec<Finding> {
    let down = known.others.iter().filter(|other| has_flag(other, "s_down"));
    let here = |other: &&Facts| answered.iter().any(|(_, known)| Some(&known.id) == other.get("runid"));
    let finding = |other: &Facts| {
        let at = |name: &str| other.get(name).map_or("?", String::as_str);
        let what = format!("it does not reach the Sentinel {}:{}, which answers here", at("ip"), at("port"));
        let why = "they cannot vote together while that lasts";
        Finding::new(Level::Warning, "sentinel-away", what, why)
            .fix("see the network between them, and what each announces")
    };
    down.filter(here).map(finding).collect()
}

#[cfg(test)]
mod tests;
