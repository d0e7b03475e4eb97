//! `soloist once`.

use rustix::process::Signal;

use crate::on_both_stores;
use crate::place::{Place, Running, wait_for};

/// Runs until the file `go` is there.
const UNTIL_GO: &str = "echo ran >>count; until test -e go; do sleep 0.01; done; ";

on_both_stores! {
    twenty_ask_and_one_runs
    followers_get_the_same_bytes_and_code
    a_kept_result_is_not_computed_again
    a_killed_leader_is_replaced_by_the_next_in_line
}

/// A leader whose command waits for `go`, and a follower behind it.
fn leader_and_follower(place: &Place, flags: &[&str], script: &str) -> (Running, Running) {
    let script = format!("{UNTIL_GO}{script}");
    let args = [&["once", "k"], flags, &["--", "sh", "-c", &script]].concat();
    let leader = place.start(&args);
    place.line_of("count");
    let follower = place.start(&args);
    place.wait_for_line("k", 1);
    (leader, follower)
}

fn twenty_ask_and_one_runs(place: &Place) {
    let script = format!("{UNTIL_GO}echo result");
    let all: Vec<Running> =
        (0..20).map(|_| place.start(&["once", "report", "--", "sh", "-c", &script])).collect();
    place.wait_for_line("report", 19);
    place.touch("go");
    for one in all {
        let ended = one.end();
        assert_eq!((ended.code, ended.text().as_str()), (0, "result\n"));
    }
    assert_eq!(place.read("count"), "ran\n");
}

fn followers_get_the_same_bytes_and_code(place: &Place) {
    let all: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let back: Vec<u8> = (0..=255).rev().cycle().take(100_000).collect();
    std::fs::write(place.file("out"), &all).unwrap();
    std::fs::write(place.file("err"), &back).unwrap();
    let (mut leader, mut follower) = leader_and_follower(place, &[], "cat out; cat err >&2; cat out; exit 9");
    place.touch("go");
    for one in [&mut leader, &mut follower] {
        assert_eq!(one.status().code(), Some(9));
        let (out, err) = one.bytes();
        assert!(out == [&all[..], &all].concat());
        assert!(err == back);
    }
    assert_eq!(place.read("count"), "ran\n");
}

fn a_kept_result_is_not_computed_again(place: &Place) {
    let once = |flags: &[&str], script: &str| {
        place.soloist(&[&["once", "k"], flags, &["--", "sh", "-c", script]].concat())
    };
    assert_eq!(once(&["--keep", "1h", "--keep-errors", "0s"], "exit 3").code, 3);
    assert_eq!(once(&["--keep", "1h"], "echo first").text(), "first\n");
    assert_eq!(once(&[], "echo second").text(), "first\n");
    place.ok(&["forget", "k"]);
    assert_eq!(once(&[], "echo third").text(), "third\n");
    assert_eq!(once(&["--keep-errors", "1h"], "echo bad; exit 4").code, 4);
    let kept = once(&[], "echo fourth");
    assert_eq!((kept.code, kept.text().as_str()), (4, "bad\n"));
}

fn a_killed_leader_is_replaced_by_the_next_in_line(place: &Place) {
    let (leader, follower) = leader_and_follower(place, &["--ttl", "2s"], "echo result");
    leader.signal(Signal::KILL);
    wait_for("the follower to run it", || place.read("count") == "ran\nran\n");
    place.touch("go");
    assert_eq!(follower.end().text(), "result\n");
}

#[test]
fn an_interrupted_leader_is_replaced_and_its_failure_not_shared() {
    let place = Place::local();
    let (leader, follower) = leader_and_follower(&place, &[], "echo result");
    leader.signal(Signal::INT);
    assert_eq!(leader.end().code, 130);
    place.touch("go");
    let ended = follower.end();
    assert_eq!((ended.code, ended.text().as_str()), (0, "result\n"));
}

#[test]
fn a_failure_is_shared_or_retried_as_the_leader_chooses() {
    for (choice, runs) in [("share", "ran\n"), ("retry", "ran\nran\n")] {
        let place = Place::local();
        let (leader, follower) = leader_and_follower(&place, &["--on-error", choice], "echo bad; exit 7");
        place.touch("go");
        for one in [leader, follower] {
            let ended = one.end();
            assert_eq!((ended.code, ended.text().as_str()), (7, "bad\n"));
        }
        assert_eq!(place.read("count"), runs, "{choice}");
    }
}

#[test]
fn a_signal_that_ended_the_command_is_told_to_followers() {
    let place = Place::local();
    let (leader, follower) = leader_and_follower(&place, &[], "kill -9 $$");
    place.touch("go");
    assert_eq!((leader.end().code, follower.end().code), (137, 137));
}

#[test]
fn too_much_output_passes_through_and_followers_are_told() {
    let place = Place::local();
    let (leader, follower) =
        leader_and_follower(&place, &["--max-output", "1kB"], "head -c 5000 /dev/zero; exit 3");
    place.touch("go");
    let ended = leader.end();
    assert_eq!((ended.code, ended.out.len()), (3, 5000));
    let ended = follower.end();
    ended.fails(125, "5000 bytes long, over the --max-output of 1000 bytes");
    assert!(ended.out.is_empty());
}

#[test]
fn a_background_process_that_holds_the_output_open_does_not_hold_up_the_result() {
    let place = Place::local();
    let script = "sleep 300 & echo $! >pid; echo out";
    assert_eq!(place.ok(&["once", "k", "--", "sh", "-c", script]), "out\n");
    let pid = place.line_of("pid").parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_leader_that_loses_its_lease_ends_its_command() {
    let place = Place::local();
    let (leader, follower) = leader_and_follower(&place, &[], "echo result");
    place.ok(&["unlock", "--key", "k", "--break"]);
    leader.end().fails(123, "is lost");
    wait_for("the follower to run it", || place.read("count") == "ran\nran\n");
    place.touch("go");
    assert_eq!(follower.end().text(), "result\n");
}

#[test]
fn a_follower_waits_no_longer_than_it_wants() {
    let place = Place::local();
    let leader =
        place.start(&["once", "k", "--holder", "one", "--", "sh", "-c", &format!("{UNTIL_GO}echo result")]);
    place.line_of("count");
    place.soloist(&["once", "k", "--wait", "50ms", "--", "true"]).fails(124, "one holds it");
    place
        .soloist(&["once", "k", "--max-waiting", "0", "--", "true"])
        .fails(124, "at most 0 may; one holds it");
    place.touch("go");
    assert_eq!(leader.end().text(), "result\n");
}

#[test]
fn a_result_that_is_no_recording_is_refused() {
    let place = Place::local();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = soloist::Client::connect(&place.url).await.unwrap();
        let keep = std::time::Duration::from_secs(3600);
        client.once("k").keep(keep).run(|| async { Ok::<_, std::io::Error>(42) }).await.unwrap();
        client.close().await;
    });
    place.soloist(&["once", "k", "--", "true"]).fails(125, "soloist forget k");
}
