//! The whole system on virtual time: clients, a server and a network that fails, by seed. A seed is a run.
//!
//! `SEED=7 cargo test -p soloist --test simulation replay -- --nocapture` runs one seed and prints its history.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod asleep;
mod found;
#[path = "../support/party.rs"]
mod party;
mod planted;
mod run;

use std::collections::BTreeMap;
use std::time::Duration;

use soloist::Moment;

use run::{Setup, run};

#[test]
fn replay() {
    let Ok(seed) = std::env::var("SEED") else { return };
    let rotates = std::env::var_os("ROTATES").is_some();
    let ran = run(seed.parse().expect("SEED is a number"), Setup { rotates, ..Setup::default() });
    print!("{}", ran.history.to_json_lines());
    println!("{}", ran.summary());
    ran.demand_none();
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_not() {
    let history = |seed| run(seed, Setup::default()).history.to_json_lines();
    let one = history(7);
    assert!(one.len() > 10_000, "{one}");
    assert_eq!(one, history(7));
    assert_ne!(one, history(8));
}

/// A day of the fleet, in many short runs.
#[test]
fn a_day_passes_without_a_violation() {
    let mut time = Duration::ZERO;
    let mut seed = 1;
    while time < Duration::from_secs(24 * 3600) {
        let ran = run(seed, Setup::default());
        ran.demand_none();
        time += ran.time;
        seed += 1;
    }
}

/// The same of those who ask again in the step in which they release.
#[test]
fn hours_of_rotations_pass_without_a_violation() {
    let mut time = Duration::ZERO;
    let mut seed = 1;
    while time < Duration::from_secs(6 * 3600) {
        let ran = run(seed, Setup { rotates: true, ..Setup::default() });
        ran.demand_none();
        time += ran.time;
        seed += 1;
    }
}

/// Runs fresh seeds until the time is over, each with and without rotations: `SEED` is the first, `SECONDS` how long.
#[test]
#[ignore = "runs for as long as it is told to"]
fn seeds_for_a_while() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse::<u64>().expect(name));
    let (first, seconds) = (number("SEED", 1), number("SECONDS", 10));
    let (began, mut time, mut bad) = (Moment::now(), Duration::ZERO, 0);
    let (mut seed, mut said, mut requests, mut faults) = (first, Duration::ZERO, 0, BTreeMap::new());
    loop {
        let passed = Moment::now().since(began);
        let over = passed >= Duration::from_secs(seconds);
        if over || passed - said >= Duration::from_secs(10) {
            said = passed;
            let (seeds, hours) = (seed - first, time.as_secs() / 3600);
            println!("{seeds} seeds, {hours} h of virtual time, {requests} requests, {bad} with violations");
        }
        if over {
            break;
        }
        for rotates in [false, true] {
            let ran = run(seed, Setup { rotates, ..Setup::default() });
            if let Some(violation) = ran.violations.first() {
                bad += 1;
                println!("{} violations in {}: {violation}", ran.violations.len(), ran.summary());
            }
            requests += ran.requests();
            for (kind, count) in ran.faults {
                *faults.entry(kind).or_insert(0) += count;
            }
            time += ran.time;
        }
        seed += 1;
    }
    println!("faults {faults:?}");
    assert_eq!(bad, 0);
}
