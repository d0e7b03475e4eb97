//! Faults that are built in on purpose: each is found, and by the promise that it breaks.

use soloist::testing::{Invariant, Planted};

use crate::run::{Setup, run};

/// Within which seeds it has to be found. The rarest shows in one of eighty: these begin where it shows soon.
const SEEDS: std::ops::Range<u64> = 280..480;

/// Runs seeds until the fault has shown in one of these ways.
fn is_found(planted: Planted, by: &[Invariant]) {
    let setup = Setup { planted: Some(planted), ..Setup::default() };
    let shown = SEEDS.into_iter().find_map(|seed| {
        let violations = run(seed, setup.clone()).violations;
        violations.into_iter().find(|violation| by.contains(&violation.invariant)).map(|found| (seed, found))
    });
    let Some((seed, violation)) = shown else { panic!("{planted:?} is not found in the seeds {SEEDS:?}") };
    println!("{planted:?}: seed {seed}\n{violation}");
}

#[test]
fn a_release_that_does_not_compare_is_found() {
    is_found(Planted::ReleaseWithoutComparing, &[Invariant::Exclusion]);
}

#[test]
fn tokens_that_are_bare_counters_are_found() {
    is_found(Planted::BareCounter, &[Invariant::Tokens, Invariant::Fencing]);
}

#[test]
fn leaving_without_looking_is_found() {
    is_found(Planted::LeaveWithoutLooking, &[Invariant::NoStandstill, Invariant::NothingLeft]);
}

#[test]
fn a_blind_publish_is_found() {
    is_found(Planted::BlindPublish, &[Invariant::NoFalseYes, Invariant::Values]);
}

#[test]
fn a_missing_fallback_for_forgotten_scripts_is_found() {
    is_found(Planted::NoFallback, &[Invariant::NoError]);
}

#[test]
fn a_holder_without_a_deadline_is_found() {
    is_found(Planted::NoDeadline, &[Invariant::Exclusion]);
}

#[test]
fn a_deadline_that_counts_from_the_reply_is_found() {
    is_found(Planted::DeadlineFromReply, &[Invariant::Exclusion]);
}

#[test]
fn one_ticket_for_all_requests_is_found() {
    is_found(Planted::OneTicket, &[Invariant::Exclusion, Invariant::Tokens]);
}

#[test]
fn trusting_the_message_alone_is_found() {
    is_found(Planted::MessageAlone, &[Invariant::NoStandstill, Invariant::NoHang]);
}
