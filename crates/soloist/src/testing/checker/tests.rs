//! Each promise, kept and broken.

use super::*;
use crate::protocol::{Mode, Want};
use crate::testing::history::{End, Gave, Record, Said, What};

/// A history, written by hand. Times are in milliseconds.
#[derive(Default)]
struct Story(History);

impl Story {
    fn at(mut self, ms: u64, client: u32, what: What) -> Self {
        self.0.records.push(Record { at: ms * 1000, client, what });
        self
    }

    fn asked(self, ms: u64, op: Op, mode: Mode, wait: Option<u64>) -> Self {
        let (key, want, wait) = ("k".to_owned(), Want::Lock, wait.map(|ms| ms * 1000));
        self.at(ms, op as u32, What::Asked { op, key, want, mode, wait })
    }

    fn joins(self, ms: u64, op: Op) -> Self {
        let (key, want) = ("k".to_owned(), Want::Flight);
        self.at(ms, op as u32, What::Asked { op, key, want, mode: Mode::Line, wait: None })
    }

    fn granted(self, ms: u64, op: Op, token: u64, sure: u64) -> Self {
        self.at(ms, op as u32, What::Granted { op, token, sure: Some(sure * 1000) })
    }

    fn ended(self, ms: u64, op: Op, how: End, sure: u64) -> Self {
        self.at(ms, op as u32, What::Ended { op, how, sure: Some(sure * 1000) })
    }

    fn answered(self, ms: u64, op: Op, said: Said) -> Self {
        self.at(ms, op as u32, What::Answered { op, said })
    }

    /// Request `op` holds from one moment to another.
    fn holds(self, from: u64, to: u64, op: Op, token: u64) -> Self {
        let story = self.asked(from, op, Mode::Line, None).granted(from, op, token, to + 1000);
        story.ended(to, op, End::LetGo, to + 1000).answered(to, op, Said::Yes)
    }

    fn breaks(mut self) -> Vec<Invariant> {
        self.0.records.sort_by_key(|record| record.at);
        let mut broken: Vec<_> =
            Checker::default().check(&self.0).into_iter().map(|found| found.invariant).collect();
        broken.dedup();
        broken
    }
}

fn story() -> Story {
    Story::default()
}

const NONE: [Invariant; 0] = [];

#[test]
fn one_after_the_other_is_in_order() {
    assert_eq!(story().holds(0, 10, 1, 5).holds(10, 20, 2, 6).breaks(), NONE);
}

#[test]
fn two_who_are_sure_at_once_are_found_but_not_one_whose_time_was_over() {
    let both = |sure| {
        story().asked(0, 1, Mode::Line, None).granted(0, 1, 5, 10).holds(10, 20, 2, 6).ended(
            30,
            1,
            End::Lost,
            sure,
        )
    };
    // It noticed only at 30, but knew from its deadline on.
    assert!(!both(10).breaks().contains(&Invariant::Exclusion));
    assert_eq!(both(11).breaks()[0], Invariant::Exclusion);
}

#[test]
fn whoever_was_forced_broken_killed_or_lost_with_the_data_is_foreseen() {
    let old = || story().asked(0, 1, Mode::Line, None).granted(0, 1, 5, 1000);
    let new = |story: Story| story.holds(11, 20, 2, 6);
    assert_eq!(new(old()).breaks(), [Invariant::Exclusion]);
    let forced = old().asked(10, 2, Mode::Force, None).granted(11, 2, 6, 1000);
    assert_eq!(forced.breaks(), NONE);
    let broken = What::Breaks { op: 9, key: "k".into(), forget: false };
    assert_eq!(new(old().at(10, 3, broken.clone())).breaks(), NONE);
    let other = What::Breaks { op: 9, key: "other".into(), forget: false };
    assert_eq!(new(old().at(10, 3, other)).breaks(), [Invariant::Exclusion]);
    assert_eq!(new(old().at(10, 1, What::Killed)).breaks(), NONE);
    assert_eq!(new(old().at(10, 2, What::Killed)).breaks(), [Invariant::Exclusion]);
    assert_eq!(new(old().at(10, 0, What::DataLost { last: 5 })).breaks(), NONE);
    assert_eq!(new(old().at(10, 0, What::DataLost { last: 4 })).breaks(), [Invariant::Exclusion]);
    assert_eq!(new(old().at(10, 0, What::ClockStepped { by: 1 })).breaks(), NONE);
    // Back, leases only live longer.
    assert_eq!(new(old().at(10, 0, What::ClockStepped { by: -1 })).breaks(), [Invariant::Exclusion]);
}

#[test]
fn tokens_that_repeat_or_fall_are_found() {
    assert_eq!(story().holds(0, 10, 1, 5).holds(20, 30, 2, 5).breaks(), [Invariant::Tokens]);
    assert_eq!(story().holds(0, 10, 1, 5).holds(20, 30, 2, 4).breaks()[0], Invariant::Tokens);
    // Also where the belief was over, or is not counted, when the next began.
    let lost = story().holds(0, 10, 1, 5).at(15, 0, What::DataLost { last: 5 });
    assert_eq!(lost.holds(20, 30, 2, 4).breaks()[0], Invariant::Tokens);
}

#[test]
fn a_register_that_takes_an_older_token_or_refuses_the_holder_is_found() {
    let wrote = |op, seq, accepted| What::Wrote { op, seq, accepted };
    let two = || story().holds(0, 10, 1, 5).holds(20, 30, 2, 6).at(21, 2, wrote(2, 1, true));
    assert_eq!(two().at(25, 1, wrote(1, 2, false)).breaks(), NONE);
    assert_eq!(two().at(25, 1, wrote(1, 2, true)).breaks(), [Invariant::Fencing]);
    assert_eq!(two().at(25, 2, wrote(2, 2, false)).breaks(), [Invariant::Fencing]);
}

#[test]
fn a_yes_to_somebody_who_was_replaced_is_found() {
    let replaced = |said| {
        let story = story().asked(0, 1, Mode::Line, None).granted(0, 1, 5, 10).holds(12, 20, 2, 6);
        story.at(11, 0, What::Fault { kind: "x".into() }).ended(30, 1, End::LetGo, 10).answered(31, 1, said)
    };
    assert_eq!(replaced(Said::Lost).breaks(), NONE);
    assert_eq!(replaced(Said::Unknown).breaks(), NONE);
    assert_eq!(replaced(Said::Yes).breaks(), [Invariant::NoFalseYes]);
}

#[test]
fn who_barges_in_calm_times_is_found() {
    let line = |first, second| {
        let story = story().holds(0, 10, 1, 5).asked(1, 2, Mode::Line, None).at(2, 2, What::InLine { op: 2 });
        let story = story.asked(3, 3, Mode::Line, None).granted(12, first, 6, 20).granted(14, second, 7, 20);
        story.ended(13, first, End::LetGo, 20).ended(15, second, End::LetGo, 20)
    };
    assert_eq!(line(2, 3).breaks(), NONE);
    assert_eq!(line(3, 2).breaks(), [Invariant::Fair]);
    assert_eq!(line(3, 2).at(0, 0, What::Fault { kind: "x".into() }).breaks(), NONE);
}

#[test]
fn who_stands_before_a_free_key_is_found() {
    let waits = |served| {
        let story = story().holds(0, 10, 1, 5).asked(5, 2, Mode::Line, None);
        story.granted(served, 2, 6, served + 10).ended(served + 1, 2, End::LetGo, served + 10)
    };
    assert_eq!(waits(1000).breaks(), NONE);
    assert_eq!(waits(2000).breaks(), [Invariant::NoStandstill]);
    let fault = || What::Fault { kind: "x".into() };
    assert_eq!(waits(2000).at(1, 0, fault()).at(2, 0, What::Calm).breaks(), NONE);
    assert_eq!(waits(50_000).at(1, 0, fault()).at(2, 0, What::Calm).breaks(), [Invariant::NoStandstill]);
}

#[test]
fn who_hangs_is_found() {
    let waits = |gave_up| {
        let story =
            story().asked(0, 1, Mode::Line, None).granted(0, 1, 1, 90_000).asked(0, 2, Mode::Line, Some(100));
        story.at(gave_up, 2, What::GaveUp { op: 2, why: Gave::TimedOut })
    };
    assert_eq!(waits(200).breaks(), NONE);
    assert_eq!(waits(3000).breaks(), [Invariant::NoHang]);
    assert_eq!(waits(3000).at(0, 2, What::Stopped).at(2000, 2, What::Went).breaks(), NONE);
    let alone = story().asked(0, 1, Mode::Line, None).granted(0, 1, 1, 90_000).asked(1, 2, Mode::Line, None);
    assert_eq!(alone.breaks(), [Invariant::NoHang]);
}

#[test]
fn what_fails_or_is_lost_without_a_fault_is_found() {
    let failed = || story().asked(0, 1, Mode::Try, None).at(5, 1, What::GaveUp { op: 1, why: Gave::Failed });
    assert_eq!(failed().breaks(), [Invariant::NoError]);
    assert_eq!(failed().at(0, 0, What::Fault { kind: "x".into() }).breaks(), NONE);
    let lost = || {
        let story = story().asked(0, 1, Mode::Line, None).granted(1, 1, 1, 1000);
        story.ended(5, 1, End::Lost, 1000)
    };
    assert_eq!(lost().breaks(), [Invariant::NoError]);
    assert_eq!(lost().asked(2, 2, Mode::Force, None).granted(3, 2, 2, 1000).breaks(), NONE);
}

#[test]
fn values_come_from_leaders_of_the_flight() {
    let flight = |said, publishes: u64, keep| {
        let story = story().joins(0, 1).granted(1, 1, 5, 1000);
        let story =
            story.at(publishes, 1, What::Publishes { op: 1, keep }).ended(publishes, 1, End::Published, 1000);
        story.answered(publishes + 1, 1, said)
    };
    let got = |story: Story, asked, got, value| {
        story.joins(asked, 2).at(got, 2, What::Got { op: 2, value }).breaks()
    };
    assert_eq!(got(flight(Said::Yes, 10, 0), 2, 11, 5), NONE);
    assert_eq!(got(flight(Said::Yes, 10, 0), 2, 11, 6), [Invariant::Values], "of nobody");
    assert_eq!(got(flight(Said::Yes, 10, 0), 2, 9, 5), [Invariant::Values], "too early");
    assert_eq!(got(flight(Said::Yes, 10, 0), 2000, 2001, 5), [Invariant::Values], "kept no longer");
    assert_eq!(got(flight(Said::Yes, 10, 5_000_000), 2000, 2001, 5), NONE);
    let fellow = flight(Said::Yes, 10, 0).at(
        3,
        2,
        What::Asked { op: 3, key: "k".into(), want: Want::Flight, mode: Mode::Line, wait: None },
    );
    let fellow = fellow.at(2000, 2, What::Got { op: 3, value: 5 });
    assert!(!got(fellow, 1999, 2000, 5).contains(&Invariant::Values), "shared with a fellow");
    let replaced = flight(Said::Unknown, 10, 0).at(0, 0, What::Fault { kind: "x".into() });
    let replaced = replaced.joins(1, 3).granted(9, 3, 6, 9).ended(20, 3, End::Lost, 9);
    assert_eq!(got(replaced, 2, 11, 5), [Invariant::Values], "of a leader that was replaced");
    let forget = What::Breaks { op: 9, key: "k".into(), forget: true };
    let forgotten = flight(Said::Yes, 10, 5_000_000).at(20, 3, forget).at(21, 3, What::Broke { op: 9 });
    assert_eq!(got(forgotten, 30, 31, 5), [Invariant::Values], "forgotten");
    let in_between = |client| {
        let forget = What::Breaks { op: 9, key: "k".into(), forget: true };
        let story = flight(Said::Yes, 10, 0).at(10, 3, forget).at(10, 3, What::Broke { op: 9 });
        let asked = What::Asked { op: 2, key: "k".into(), want: Want::Flight, mode: Mode::Line, wait: None };
        story.at(11, client, asked).at(12, client, What::Got { op: 2, value: 5 }).breaks()
    };
    assert_eq!(in_between(1), NONE, "shared with the leader, who had not heard yet that it is published");
    assert_eq!(in_between(2), [Invariant::Values], "forgotten before it asked elsewhere");
}

#[test]
fn what_is_left_is_found() {
    let left = |waiting| What::Left { held: 0, waiting, subscriptions: 0, connections: 0 };
    assert_eq!(story().at(9, 0, left(0)).breaks(), NONE);
    assert_eq!(story().at(9, 0, left(1)).breaks(), [Invariant::NothingLeft]);
}

#[test]
fn a_violation_prints_what_it_is_about_and_nothing_else() {
    let story = story().holds(0, 10, 1, 5).holds(20, 30, 2, 5).holds(40, 50, 3, 6);
    let violations = Checker::default().check(&story.0);
    let text = violations[0].to_string();
    assert!(text.contains("Tokens: \"k\": token 5") && text.contains("op: 2"), "{text}");
    assert!(!text.contains("op: 3"), "{text}");
}
