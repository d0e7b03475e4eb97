//! `soloist run`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::on_both_stores;
use crate::place::{Place, Running, runs, wait_for};

on_both_stores! {
    twenty_add_one_each_and_none_is_lost
    the_lease_is_released_before_the_program_exits
    a_broken_lock_ends_the_whole_group_and_exits_with_123
    ctrl_c_in_line_leaves_no_place_behind
    a_waiter_that_is_stopped_does_not_hold_up_the_line
}

fn twenty_add_one_each_and_none_is_lost(place: &Place) {
    place.script("add-one", "n=$(cat n); sleep 0.01; echo $((n + 1)) >n");
    std::fs::write(place.file("n"), "0\n").unwrap();
    let all: Vec<Running> =
        (0..20).map(|_| place.start(&["run", "-v", "counter", "--", "./add-one"])).collect();
    for one in all {
        let ended = one.end();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    assert_eq!(place.read("n"), "20\n");
}

fn the_lease_is_released_before_the_program_exits(place: &Place) {
    for command in [&["true"][..], &["false"], &["no-such-command"], &["/dev/null"]] {
        place.soloist(&[&["run", "k", "--try", "--"], command].concat());
        assert_eq!(place.show("k")["held"], false, "{command:?}");
    }
}

fn a_broken_lock_ends_the_whole_group_and_exits_with_123(place: &Place) {
    let script = "trap 'echo term >>said; exit 0' TERM; sleep 300 & echo $! >pid; wait";
    let run = place.start(&["run", "k", "--", "sh", "-c", script]);
    let sleep = place.line_of("pid");
    place.ok(&["unlock", "--key", "k", "--break"]);
    run.end().fails(123, "is lost");
    assert_eq!(place.read("said"), "term\n");
    assert!(!runs(&sleep));
}

fn ctrl_c_in_line_leaves_no_place_behind(place: &Place) {
    place.ok(&["lock", "k", "--ttl", "1h"]);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let waiter = place.start(&["run", "k", "--", "touch", "ran"]);
        place.wait_for_line("k", 1);
        waiter.signal(signal);
        assert_eq!(waiter.end().code, code);
        assert_eq!(place.show("k")["waiting"], 0);
    }
    assert!(!place.file("ran").exists());
}

fn a_waiter_that_is_stopped_does_not_hold_up_the_line(place: &Place) {
    place.ok(&["lock", "k", "--ttl", "1h"]);
    let first = place.start(&["run", "k", "--", "true"]);
    place.wait_for_line("k", 1);
    let second = place.start(&["run", "k", "--", "true"]);
    place.wait_for_line("k", 2);
    first.signal(Signal::STOP);
    place.ok(&["unlock", "--key", "k", "--break"]);
    // Its lease begins with 3 s; the timed look of those far behind comes after 15 s.
    let began = Instant::now();
    assert_eq!(second.end().code, 0);
    assert!(began.elapsed() < Duration::from_secs(10), "found only by the slowest look");
    first.signal(Signal::CONT);
    assert_eq!(first.end().code, 0);
}

#[test]
fn the_command_finds_the_lease_in_its_environment() {
    let place = Place::local();
    let script = "echo $SOLOIST_KEY; echo $SOLOIST_HOLDER; echo $SOLOIST_LEASE; echo $SOLOIST_TOKEN";
    let said = place.ok(&["run", "a b", "--holder", "worker-3", "--", "sh", "-c", script]);
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said[..2], ["a b", "worker-3"]);
    assert!(said[2].starts_with(&format!("a b@{}.", said[3])));
    assert!(said[3].parse::<u64>().unwrap() > 0);
}

#[test]
fn the_commands_own_exit_code_is_passed_on() {
    let place = Place::local();
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        let ended = place.soloist(&["run", "k", "--", "sh", "-c", script]);
        assert_eq!((ended.code, &*ended.err), (code, ""), "{script}");
    }
    place.soloist(&["run", "k", "--", "no-such-command"]).fails(127, "command not found: no-such-command");
    place.soloist(&["run", "k", "--", "/dev/null"]).fails(126, "/dev/null cannot be run");
}

#[test]
fn stdin_is_passed_through() {
    let place = Place::local();
    let mut command = place.command(&["run", "k", "--", "cat"]);
    command.stdin(Stdio::piped());
    let mut run = Running::of(command);
    let all: Vec<u8> = (0..=255).collect();
    run.input(&all);
    assert_eq!(run.end().out, all);
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let place = Place::local();
    let names = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"];
    let signals =
        [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];
    let traps: String = names.iter().map(|name| format!("trap 'echo {name} >>heard' {name}; ")).collect();
    let script = format!(
        "{traps} trap 'echo last >>heard' WINCH; echo >ready; until test -e enough; do sleep 0.01; done; exit 5"
    );
    let run = place.start(&["run", "k", "--", "sh", "-c", &script]);
    place.line_of("ready");
    for (signal, name) in signals.into_iter().zip(["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "last"]) {
        run.signal(signal);
        wait_for(name, || place.read("heard").ends_with(&format!("{name}\n")));
    }
    place.touch("enough");
    assert_eq!(run.end().code, 5);
}

#[test]
fn a_busy_key_is_told_with_its_holder() {
    let place = Place::local();
    place.ok(&["lock", "report:42", "--holder", "worker-3", "--ttl", "1h"]);
    let tried = place.soloist(&["run", "report:42", "--try", "--", "true"]);
    tried.fails(124, "soloist: error: \"report:42\" is held by worker-3 (59 min");
    tried.fails(124, "soloist: hint: pass --wait");
    place.soloist(&["run", "report:42", "--wait", "50ms", "--", "true"]).fails(124, "worker-3 holds it");
    assert_eq!(place.soloist(&["run", "report:42", "--force", "--", "true"]).code, 0);
}

#[test]
fn a_command_that_ignores_term_is_killed_after_the_grace() {
    let place = Place::local();
    let script = "trap '' TERM; echo $$ >pid; while :; do sleep 0.05; done";
    let run = place.start(&["run", "k", "--grace", "100ms", "--", "sh", "-c", script]);
    let pid = place.line_of("pid");
    place.ok(&["unlock", "--key", "k", "--break"]);
    run.end().fails(123, "is lost");
    assert!(!runs(&pid));
}

#[test]
fn whoever_is_taken_over_ends_its_command() {
    let place = Place::local();
    let run = place.start(&["run", "k", "--", "sh", "-c", "echo >ready; exec sleep 300"]);
    place.line_of("ready");
    place.ok(&["run", "k", "--force", "--holder", "user:20", "--", "true"]);
    run.end().fails(123, "taken over by user:20");
}

#[test]
fn a_server_that_goes_away_costs_the_lease_and_the_command_is_ended() {
    let mut place = Place::redis();
    let script = "sleep 300 & echo $! >pid; wait";
    let run = place.start(&["run", "k", "--ttl", "1s", "--", "sh", "-c", script]);
    let sleep = place.line_of("pid");
    drop(place.server.take());
    run.end().fails(123, "its ttl passed without a confirmed renewal");
    assert!(!runs(&sleep));
}

#[test]
fn nobody_waits_longer_than_he_likes_for_a_server_that_is_gone() {
    for verb in ["run", "once"] {
        let mut place = Place::redis();
        place.script("work", "touch begun; until [ -e go ]; do sleep 0.01; done; exit 7");
        let run = place.start(&[verb, "k", "--ttl", "1h", "--", "./work"]);
        wait_for("the command", || place.file("begun").exists());
        drop(place.server.take());
        place.touch("go");
        // Neither the command nor the guard is left.
        let pid = run.pid().as_raw_nonzero();
        let children = format!("/proc/{pid}/task/{pid}/children");
        wait_for("its end", || std::fs::read_to_string(&children).unwrap().is_empty());
        run.signal(Signal::INT);
        run.end().fails(7, "interrupted");
    }
}

#[test]
fn a_command_that_asks_for_its_own_key_is_told_that_it_waits_for_itself() {
    let place = Place::local();
    for verb in ["run", "once"] {
        let program = env!("CARGO_BIN_EXE_soloist");
        let ended = place.soloist(&[verb, "k", "--", program, verb, "k", "--wait", "500ms", "--", "true"]);
        ended.fails(124, "waits for its own end");
    }
    let ended = place.soloist(&["run", "k", "--", env!("CARGO_BIN_EXE_soloist"), "run", "k2", "--", "true"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[test]
fn the_hint_can_be_copied_into_a_shell() {
    let place = Place::local();
    place.ok(&["lock", "it's $x", "--ttl", "1h"]);
    place
        .soloist(&["run", "it's $x", "--wait", "10ms", "--", "true"])
        .fails(124, "`soloist show 'it'\\''s $x'` says who");
}

#[test]
fn what_a_command_leaves_in_the_background_is_left_alone() {
    let place = Place::local();
    let script = "sleep 300 >/dev/null 2>&1 & echo $!";
    let pid = place.ok(&["run", "k", "--", "sh", "-c", script]).trim_end().to_owned();
    assert!(runs(&pid));
    let raw = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(raw, Signal::KILL).unwrap();
}

#[test]
fn orphans_of_the_command_are_reaped() {
    let place = Place::local();
    // The inner shell ends first; what it started falls to the wrapper, and ends while the command runs.
    let script = "sh -c 'sh -c \"echo \\$\\$ >pid; exit 0\" &'; until test -s pid; do sleep 0.01; done; \
                  until ! test -e /proc/$(cat pid); do sleep 0.01; done; exit 6";
    assert_eq!(place.soloist(&["run", "k", "--", "sh", "-c", script]).code, 6);
}

#[test]
fn a_caller_that_ignores_its_children_does_not_hide_the_exit_code() {
    let place = Place::local();
    let mut command = place.command(&["run", "k", "--", "sh", "-c", "exit 3"]);
    // SAFETY: `signal` is async-signal-safe, and the closure does nothing else.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            Ok(())
        });
    }
    assert_eq!(Running::of(command).end().code, 3);
}

#[test]
fn what_nohup_ignores_stays_ignored() {
    let place = Place::local();
    let script = "echo >ready; until test -e enough; do sleep 0.01; done; exit 4";
    let mut command = std::process::Command::new("sh");
    let text = format!("trap '' HUP; exec {} run k -- sh -c '{script}'", env!("CARGO_BIN_EXE_soloist"));
    command.args(["-c", &text]).env("SOLOIST_STORE", &place.url).current_dir(place.dir.path());
    let run = Running::of(command);
    place.line_of("ready");
    run.signal(Signal::HUP);
    place.touch("enough");
    assert_eq!(run.end().code, 4);
}
