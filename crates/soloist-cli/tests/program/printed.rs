//! `soloist show`, `ls`, `watch`, `forget`, and how things are printed.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use crate::on_both_stores;
use crate::place::Place;

on_both_stores! {
    events_are_printed_as_they_come
    who_waits_is_shown_in_order
}

fn events_are_printed_as_they_come(place: &Place) {
    let mut command = place.command(&["watch", "a*", "--json"]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = BufReader::new(watch.stderr.take().unwrap());
    let mut said = String::new();
    err.read_line(&mut said).unwrap();
    assert!(said.contains("watching"), "{said}");
    place.ok(&["run", "b", "--", "true"]);
    place.ok(&["run", "a1", "--holder", "me", "--", "true"]);
    let mut events = BufReader::new(watch.stdout.take().unwrap()).lines();
    for expected in ["locked", "released"] {
        let event: serde_json::Value = serde_json::from_str(&events.next().unwrap().unwrap()).unwrap();
        assert_eq!(
            (&event["event"], &event["key"], &event["holder"]),
            (&expected.into(), &"a1".into(), &"me".into())
        );
        assert!(event["at_unix_ms"].as_u64().unwrap() > 1_500_000_000_000);
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&watch), Signal::INT).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(130));
}

fn who_waits_is_shown_in_order(place: &Place) {
    place.ok(&["lock", "k", "--holder", "first", "--ttl", "1h", "--note", "why"]);
    let mut waiters = Vec::new();
    for (at, holder) in ["second", "third"].into_iter().enumerate() {
        waiters.push(place.start(&["run", "k", "--holder", holder, "--", "true"]));
        place.wait_for_line("k", at as u64 + 1);
    }
    let shown = place.show("k");
    let names: Vec<&str> =
        shown["waiters"].as_array().unwrap().iter().map(|w| w["holder"].as_str().unwrap()).collect();
    assert_eq!(names, ["second", "third"]);
    let text = place.ok(&["show", "k"]);
    for part in ["holder   first", "note     why", "waiting  1. second", "waiting  2. third"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    place.ok(&["unlock", "--key", "k", "--break"]);
    for waiter in waiters {
        assert_eq!(waiter.end().code, 0);
    }
}

#[test]
fn keys_are_listed_in_columns_and_move_no_cursor() {
    let place = Place::local();
    place.ok(&["lock", "a\u{1b}[31m\nb", "--json", "--ttl", "1h"]);
    place.ok(&["lock", "report:42", "--ttl", "1h", "--holder", "worker-3"]);
    let table = place.ok(&["ls"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[1].starts_with("a\\u{1b}[31m\\nb  "), "{table}");
    assert_eq!(lines[0].find("HOLDER"), lines[2].find("worker-3"));
    assert_eq!(place.ok(&["ls", "report:*", "--json"]).lines().count(), 1);
    assert_eq!(place.ok(&["ls", "nothing*"]), "");
}

#[test]
fn a_free_key_is_shown_as_free() {
    let place = Place::local();
    assert!(place.ok(&["show", "k"]).contains("free"));
    place.ok(&["show", "k", "--exit-code"]);
    place.ok(&["lock", "k", "--ttl", "1h"]);
    assert_eq!(place.soloist(&["show", "k", "--exit-code"]).code, 124);
}

#[test]
fn a_prefix_keeps_keys_apart() {
    let place = Place::local();
    place.ok(&["--prefix", "billing:", "lock", "k", "--ttl", "1h"]);
    assert!(place.ok(&["show", "k"]).contains("free"));
    let listed: serde_json::Value =
        serde_json::from_str(&place.ok(&["ls", "--prefix", "billing:", "--json"])).unwrap();
    assert_eq!(listed["key"], "k");
}

#[test]
fn a_result_can_be_forgotten() {
    let place = Place::local();
    place.ok(&["once", "k", "--keep", "1h", "--", "echo", "x"]);
    assert!(place.ok(&["show", "k"]).contains("result"));
    assert_eq!(place.ok(&["forget", "k", "--json"]), "{\"forgot\":true,\"key\":\"k\"}\n");
    assert_eq!(place.ok(&["forget", "k", "--json"]), "{\"forgot\":false,\"key\":\"k\"}\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let place = Place::local();
    place.ok(&["lock", "k", "--ttl", "1h"]);
    for args in [&["ls"][..], &["show", "k"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command(args);
        let ended =
            command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), &b""[..]), "{args:?}");
    }
}

#[test]
fn a_result_is_a_value_whatever_the_exit_code_and_what_is_told_in_its_place_an_error() {
    let place = Place::local();
    assert_eq!(place.soloist(&["once", "k", "--keep-errors", "1h", "--", "false"]).code, 1);
    assert_eq!(place.show("k")["result"]["kind"], "value");
    place.ok(&["once", "big", "--max-output", "1B", "--keep-errors", "1h", "--", "echo", "long"]);
    assert_eq!(place.show("big")["result"]["kind"], "error");
    assert!(place.ok(&["show", "big"]).contains("of a failure"));
    place.soloist(&["once", "big", "--", "true"]).fails(125, "over the --max-output");
}

#[test]
fn a_shell_completes_commands_and_options() {
    let mut place = Place::local();
    // No store is asked.
    place.url = "redis://127.0.0.1:1".into();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.ok(&["completions", shell]);
        assert!(["max-waiting", "doctor"].iter().all(|word| script.contains(word)), "{shell}: {script}");
    }
    let completes = |words: &[&str]| {
        let script = "source ./script; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                      _soloist soloist \"${!#}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", script, "bash"]).args(words);
        let out = bash.current_dir(place.dir.path()).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    std::fs::write(place.file("script"), place.ok(&["completions", "bash"])).unwrap();
    assert_eq!(completes(&["soloist", "doc"]), "doctor\n");
    assert_eq!(completes(&["soloist", "run", "k", "--wa"]), "--wait\n");
    place.start(&["completions", "tcsh"]).end().fails(125, "tcsh");
}
