//! What is wrong is told before anything is done, by name, with the way out, and exit code 125.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::place::{Place, Running};
use soloist::testing::{RedisServer, free_port};

#[test]
fn each_mistake_has_its_message() {
    let place = Place::local();
    let long = "k".repeat(513);
    let junk = "j@".repeat(32 << 10);
    for (args, says) in [
        (&["run", "", "--", "true"][..], "the key is empty"),
        (&["run", &long, "--", "true"], "the key is 513 bytes long; at most 512"),
        (&["run", "k", "--holder", "", "--", "true"], "the holder is empty"),
        (&["run", "k", "--ttl", "0s", "--", "true"], "--ttl: a ttl is 10 ms to"),
        (&["run", "k", "--ttl", "9ms", "--", "true"], "--ttl: a ttl is 10 ms to"),
        (&["run", "k", "--ttl", "400d", "--", "true"], "--ttl: a ttl is 10 ms to"),
        (&["run", "k", "--wait", "400d", "--", "true"], "--wait: a wait is at most"),
        (&["once", "k", "--keep", "400d", "--", "true"], "--keep: a result is kept"),
        (&["run", "k", "--ttl", "30", "--", "true"], "the units are ms, s, m, h and d"),
        (&["run", "k", "--ttl", "-1s", "--", "true"], "whole number"),
        (&["run", "k", "--wait", "1s", "--try", "--", "true"], "cannot be used with"),
        (&["once", "k", "--max-output", "16", "--", "true"], "16 of what? the units are B, kB"),
        (&["run", "k"], "COMMAND"),
        (&["run", "k", "true"], "true"),
        (&["renew", "junk", "--ttl", "1s"], "not a lease id"),
        (&["unlock", &junk], "not a lease id"),
        (&["unlock"], "LEASE"),
        (&["unlock", "--key", "k"], "--break"),
        (&["top", "--json", "--interval", "0s"], "an interval is 100ms to 1h"),
        (&["top", "--json", "--interval", "61m"], "an interval is 100ms to 1h"),
        (&["top", "--json", "--interval", "1"], "the units are ms, s, m, h and d"),
        (&["top", "--json", "--sort", "nonsense"], "busiest, key, held, waiting"),
        (&["top", "--json", "--times", "0"], "--times"),
        (&["top", "--json", "--times", "-1"], "--times"),
        (&["top"], "not a terminal"),
        (&["frobnicate"], "frobnicate"),
        (&[], "subcommand"),
        (&["--store", "http://x", "ls"], "unknown scheme"),
        (&["--store", "local:here", "ls"], "absolute"),
        (&["--store", "local://", "ls"], "absolute"),
        (&["--store", "redis:x", "ls"], "// is missing"),
        (&["--store", "redis-sentinel://h", "ls"], "the name of the primary is missing"),
        (&["--store", "redis-sentinel://127.0.0.1:1/main", "ls"], "none of its Sentinels names a primary"),
    ] {
        let ended = place.soloist(args);
        ended.fails(125, says);
        assert!(ended.err.starts_with("soloist: error: "), "{ended:?}");
        assert!(ended.out.is_empty(), "{ended:?}");
    }
}

#[test]
fn an_argument_of_any_length_is_not_said_in_full() {
    let place = Place::local();
    let junk = "j".repeat(64 << 10);
    for args in [
        &["run", "k", "--ttl", &junk, "--", "true"][..],
        &["run", "k", "--", &junk],
        &["--store", &junk, "ls"],
        &[&junk],
    ] {
        let ended = place.soloist(args);
        assert!(ended.code >= 125 && ended.err.len() < 3000, "{} {}", ended.code, ended.err.len());
    }
}

#[test]
fn the_hint_for_a_folder_that_is_open_to_others_is_safe_to_follow() {
    let mut place = Place::local();
    place.url = "local:/".into();
    let ended = place.soloist(&["ls"]);
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(!ended.err.contains("hint: chmod"), "{ended:?}");
}

#[test]
fn a_key_with_control_characters_is_told_escaped() {
    let place = Place::local();
    place.ok(&["lock", "a\nb\u{1b}[2J", "--json", "--ttl", "1h", "--holder", "x\u{1b}[2J"]);
    let ended = place.soloist(&["run", "a\nb\u{1b}[2J", "--try", "--", "true"]);
    ended.fails(124, "\"a\\nb\\u{1b}[2J\" is held by x\\u{1b}[2J");
}

#[test]
fn arguments_that_are_no_text_are_refused_but_for_the_command() {
    let place = Place::local();
    let mut command = place.command(&["run"]);
    command.arg(OsStr::from_bytes(b"\xff")).args(["--", "true"]);
    Running::of(command).end().fails(125, "UTF-8");
    let mut command = place.command(&["run", "k", "--", "printf", "%s"]);
    command.arg(OsStr::from_bytes(b"\xff"));
    assert_eq!(Running::of(command).end().out, b"\xff");
}

#[test]
fn an_unreachable_server_is_told() {
    let mut place = Place::local();
    place.url = format!("redis://user:geheim@127.0.0.1:{}", free_port());
    let ended = place.soloist(&["run", "k", "--", "touch", "ran"]);
    ended.fails(125, "127.0.0.1");
    assert!(!ended.err.contains("geheim"), "{ended:?}");
    assert!(!place.file("ran").exists());
}

#[test]
fn a_wrong_password_is_told_at_once_and_not_shown() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let mut place = Place::local();
    place.url = server.url().replace("redis://", "redis://:geheim@");
    let ended = place.soloist(&["run", "k", "--", "true"]);
    ended.fails(125, "password");
    assert!(!ended.err.contains("geheim"), "{ended:?}");
    // Nor one that stands outside of the URL.
    place.url = server.url();
    std::fs::write(place.file("secret"), "geheim\n").unwrap();
    for (name, value) in [("SOLOIST_PASSWORD", "geheim"), ("SOLOIST_PASSWORD_FILE", "secret")] {
        let mut command = place.command(&["-v", "run", "k", "--", "true"]);
        command.env(name, value);
        let ended = Running::of(command).end();
        ended.fails(125, "password");
        assert!(!ended.err.contains("geheim"), "{ended:?}");
    }
    let mut command = place.command(&["run", "k", "--", "true"]);
    command.env("SOLOIST_PASSWORD_FILE", "nowhere");
    Running::of(command).end().fails(125, "nowhere");
    // The right one serves.
    std::fs::write(place.file("secret"), "right\n").unwrap();
    for verb in [&["run", "k", "--", "true"][..], &["doctor"]] {
        let mut command = place.command(verb);
        command.env("SOLOIST_PASSWORD_FILE", "secret").env("SOLOIST_PASSWORD", "geheim");
        let ended = Running::of(command).end();
        assert_eq!(ended.code, 0, "the file counts: {ended:?}");
    }
    let help = place.ok(&["run", "--help"]);
    assert!(help.contains("SOLOIST_STORE") && !help.contains("geheim"));
}

#[test]
fn every_command_teaches_by_examples() {
    let place = Place::local();
    let top = place.ok(&["--help"]);
    assert!(["123", "SOLOIST_PASSWORD_FILE"].iter().all(|word| top.contains(word)), "{top}");
    assert!(top.lines().all(|line| line.chars().count() <= 100), "{top}");
    for verb in [
        "run",
        "once",
        "lock",
        "renew",
        "unlock",
        "show",
        "ls",
        "watch",
        "top",
        "forget",
        "doctor",
        "completions",
    ] {
        let help = place.ok(&[verb, "--help"]);
        assert!(help.matches(&format!("soloist {verb}")).count() >= 2, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
