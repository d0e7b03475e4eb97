//! The wrapper is killed with -9: nothing may work on without its lock.

use rustix::process::Signal;

use crate::on_both_stores;
use crate::place::{Place, runs, wait_for};

on_both_stores! {
    with_the_wrapper_its_whole_group_dies_and_the_next_gets_in
    a_wrapper_frozen_past_its_ttl_works_on_no_more_than_a_dead_one
    a_wrapper_frozen_as_its_command_begins_is_no_better
    a_wrapper_frozen_while_it_ends_its_group_leaves_that_to_the_guard
    a_lease_that_is_renewed_is_not_taken_for_ended
}

fn a_wrapper_frozen_past_its_ttl_works_on_no_more_than_a_dead_one(place: &Place) {
    // The command does not hear of TERM: it has to be killed.
    let script = "trap '' TERM; sleep 300 & echo $! >sleep; echo $$ >sh; while :; do wait; done";
    let options = ["--ttl", "1s", "--grace", "200ms", "--", "sh", "-c", script];
    let run = place.start(&[&["run", "k"], &options[..]].concat());
    let (sh, sleep) = (place.line_of("sh"), place.line_of("sleep"));
    run.signal(Signal::STOP);
    wait_for("the group to be ended", || !runs(&sh) && !runs(&sleep));
    place.ok(&["run", "k", "--", "true"]);
    run.signal(Signal::CONT);
    let ended = run.end();
    assert_eq!(ended.code, 123, "{ended:?}");
}

fn a_wrapper_frozen_as_its_command_begins_is_no_better(place: &Place) {
    // The command's first deed, while the wrapper still has things to do.
    let script = "kill -STOP $PPID; echo $$ >sh; while :; do sleep 0.1; done";
    let run = place.start(&["run", "k", "--ttl", "1s", "--grace", "200ms", "--", "sh", "-c", script]);
    let sh = place.line_of("sh");
    wait_for("the group to be ended", || !runs(&sh));
    run.signal(Signal::CONT);
    assert_eq!(run.end().code, 123);
}

fn a_wrapper_frozen_while_it_ends_its_group_leaves_that_to_the_guard(place: &Place) {
    // The command hears of TERM, and stays.
    let script = "trap 'echo heard >term' TERM; echo $$ >sh; while :; do sleep 0.1; done";
    let run = place.start(&["run", "k", "--ttl", "60s", "--grace", "3s", "--", "sh", "-c", script]);
    let sh = place.line_of("sh");
    place.ok(&["unlock", "--key", "k", "--break"]);
    place.line_of("term");
    run.signal(Signal::STOP);
    wait_for("the group to be ended", || !runs(&sh));
    run.signal(Signal::CONT);
    assert_eq!(run.end().code, 123);
}

fn a_lease_that_is_renewed_is_not_taken_for_ended(place: &Place) {
    // Three times the ttl, and the command is still let alone.
    let ended = place.soloist(&["run", "k", "--ttl", "500ms", "--", "sh", "-c", "sleep 1.6; echo whole"]);
    assert_eq!((ended.code, ended.text().as_str()), (0, "whole\n"), "{ended:?}");
}

fn with_the_wrapper_its_whole_group_dies_and_the_next_gets_in(place: &Place) {
    // The local store notices the death itself; on a server the ttl has to pass.
    let ttl = if place.url.starts_with("local") { "1h" } else { "2s" };
    let script = "sleep 300 & echo $! >sleep; echo $$ >sh; wait; true";
    let run = place.start(&["run", "k", "--ttl", ttl, "--", "sh", "-c", script]);
    let (sh, sleep) = (place.line_of("sh"), place.line_of("sleep"));
    let next =
        place.start(&["run", "k", "--", "sh", "-c", &format!("ls -d /proc/{sh} /proc/{sleep} 2>&-; true")]);
    place.wait_for_line("k", 1);
    run.signal(Signal::KILL);
    assert_eq!(next.end().code, 0);
    assert!(!runs(&sh) && !runs(&sleep), "the next one began while the last one still worked");
}

#[test]
fn the_guard_ends_with_the_command() {
    let place = Place::local();
    let script = "cat /proc/$PPID/task/*/children >children";
    place.ok(&["run", "k", "--", "sh", "-c", script]);
    for pid in place.line_of_words("children") {
        wait_for("the guard to end", || !runs(&pid));
    }
}

#[test]
fn what_the_terminal_sends_to_everybody_does_not_end_the_guard() {
    let place = Place::local();
    let script = "for pid in $(cat /proc/$PPID/task/*/children); do test $pid = $$ || echo $pid >guard; done; \
                  trap '' INT TERM HUP; sleep 300 & echo $! >sleep; echo >ready; while :; do wait; done";
    let run = place.start(&["run", "k", "--", "sh", "-c", script]);
    place.line_of("ready");
    let (guard, sleep) = (place.line_of("guard"), place.line_of("sleep"));
    let pid = rustix::process::Pid::from_raw(guard.parse().unwrap()).unwrap();
    wait_for("the guard to have begun", || ignores_int(&guard));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    assert!(runs(&guard));
    run.signal(Signal::KILL);
    wait_for("the group to die", || !runs(&sleep));
}

fn ignores_int(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & (1 << (Signal::INT.as_raw() - 1)) != 0
}
