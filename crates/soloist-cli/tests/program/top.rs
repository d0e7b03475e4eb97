//! `soloist top`: on a terminal and without one.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use soloist::testing::{RedisServer, free_port};

use crate::on_both_stores;
use crate::place::{Place, wait_for};
use crate::terminal::{AtTerminal, CURSOR, ENTERED, LEFT};

const SIZE: (u16, u16) = (120, 30);

on_both_stores! {
    one_object_a_list_is_printed_until_there_are_enough
    grants_and_losses_are_counted
    a_held_key_is_seen_and_q_gives_the_terminal_back
    the_details_of_a_key_name_who_waits_in_order
}

/// `top --json`, as its objects come.
struct Objects {
    top: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Objects {
    fn of(place: &Place, args: &[&str]) -> Self {
        let args = [&["top", "--json", "--interval", "100ms"], args].concat();
        let mut top = place.command(&args).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(top.stdout.take().unwrap()).lines();
        Objects { top, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().expect("it has ended").unwrap()).unwrap()
    }

    /// The first one of which this is so.
    fn wait_for(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait_for(what, || {
            last = self.next();
            is_so(&last)
        });
        last
    }

    fn end(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.top), Signal::INT).unwrap();
        let _ = self.lines.by_ref().count();
        self.top.wait().unwrap().code()
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        let _ = self.top.kill();
        let _ = self.top.wait();
    }
}

fn key<'a>(object: &'a Value, name: &str) -> &'a Value {
    let keys = object["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    keys.iter().find(|key| key["key"] == name).unwrap_or(&Value::Null)
}

fn one_object_a_list_is_printed_until_there_are_enough(place: &Place) {
    place.ok(&["lock", "report:42", "--holder", "worker-3", "--ttl", "1h", "--note", "why"]);
    place.ok(&["lock", "other", "--ttl", "1h"]);
    let printed = place.ok(&["top", "report:*", "--json", "--times", "2", "--interval", "100ms"]);
    let objects: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2, "{printed}");
    for object in &objects {
        assert_eq!((&object["error"], &object["totals"]["held"]), (&Value::Null, &1.into()));
        assert_eq!(object["keys"].as_array().unwrap().len(), 1);
        // What `ls` says of it, and more.
        let mut listed: Value = serde_json::from_str(&place.ok(&["ls", "report:*", "--json"])).unwrap();
        let mut told = object["keys"][0].clone();
        assert_eq!((told["grants_per_s"].as_f64(), told["lost"].as_u64()), (Some(0.0), Some(0)));
        for time in ["held_ms", "left_ms"] {
            listed[time] = Value::Null;
            assert!(std::mem::take(&mut told[time]).is_u64());
        }
        for more in ["grants_per_s", "lost"] {
            told.as_object_mut().unwrap().remove(more);
        }
        assert_eq!(told, listed);
    }
    let at = |object: &Value| object["at_unix_ms"].as_u64().unwrap();
    // The clock of this machine may be set meanwhile, but not so far.
    assert!(at(&objects[0]) > 1_500_000_000_000 && at(&objects[1]) > 1_500_000_000_000);
}

fn grants_and_losses_are_counted(place: &Place) {
    let mut objects = Objects::of(place, &["--sort", "key"]);
    let before = objects.next();
    assert_eq!((&before["totals"]["held"], &before["totals"]["expired"]), (&0.into(), &0.into()));
    for _ in 0..3 {
        place.ok(&["run", "busy", "--", "true"]);
    }
    let told = objects.wait_for("grants", |object| key(object, "busy")["grants_per_s"].as_f64() > Some(0.0));
    // It is free by now, and shown all the same.
    assert_eq!(key(&told, "busy")["lost"], 0);
    place.ok(&["lock", "late", "--ttl", "100ms"]);
    place.ok(&["lock", "taken", "--ttl", "1h", "--holder", "first"]);
    place.ok(&["lock", "taken", "--ttl", "1h", "--holder", "second", "--force"]);
    place.ok(&["lock", "broken", "--ttl", "1h"]);
    place.ok(&["unlock", "--key", "broken", "--break"]);
    let told = objects.wait_for("losses", |object| {
        ["late", "taken", "broken"].iter().all(|name| key(object, name)["lost"] == 1)
    });
    let totals = &told["totals"];
    assert_eq!([&totals["expired"], &totals["taken_over"], &totals["broken"]], [1, 1, 1]);
    assert_eq!((&totals["missed"], &totals["at_least"]), (&0.into(), &false.into()));
    assert_eq!(key(&told, "taken")["holder"], "second");
    assert_eq!(objects.end(), Some(130));
}

fn a_held_key_is_seen_and_q_gives_the_terminal_back(place: &Place) {
    place.ok(&["lock", "report:42", "--holder", "worker-3", "--ttl", "1h"]);
    place.ok(&["lock", "bad\u{1b}[2J\u{7}", "--json", "--holder", "\u{1b}]0;x\u{7}", "--ttl", "1h"]);
    let mut top = AtTerminal::start(place, &["top"], SIZE);
    top.wait_to_see("worker-3");
    top.wait_to_see("q quit");
    let (screen, seen) = (top.screen(), top.seen());
    let parts = ["report:42", "2 held", "KEY", "GRANTS/S", "bad\\u{1b}[2J\\u{7}"];
    assert!(parts.iter().all(|part| screen.contains(part)), "{screen}");
    // Names of others move no cursor and ring no bell.
    assert!(!seen.contains('\u{7}') && !seen.contains("\u{1b}]"), "{seen:?}");
    assert!(seen.contains(ENTERED) && !seen.contains(LEFT), "{seen:?}");
    assert!(!top.is_as_a_shell_wants_it());
    top.type_in("q");
    assert_eq!(top.end().code(), Some(0));
    assert_given_back(&top);
}

/// The screen is left, the cursor seen, and the line as it was.
fn assert_given_back(top: &AtTerminal) {
    wait_for("the screen to be left", || top.seen().contains(LEFT));
    let seen = top.seen();
    assert_eq!(seen.matches(LEFT).count(), seen.matches(ENTERED).count(), "{seen:?}");
    assert!(seen.rfind(CURSOR) > seen.rfind(ENTERED) && seen.rfind(LEFT) > seen.rfind(ENTERED), "{seen:?}");
    assert!(top.is_as_a_shell_wants_it());
}

fn the_details_of_a_key_name_who_waits_in_order(place: &Place) {
    place.ok(&["lock", "k", "--holder", "first", "--ttl", "1h", "--note", "why"]);
    let mut waiters = Vec::new();
    for (at, holder) in ["second", "third"].into_iter().enumerate() {
        waiters.push(place.start(&["run", "k", "--holder", holder, "--", "true"]));
        place.wait_for_line("k", at as u64 + 1);
    }
    let mut top = AtTerminal::start(place, &["top", "--interval", "1h"], SIZE);
    top.wait_to_see("q quit");
    top.type_in("\r");
    for part in ["holder   first", "note     why", "waiting  1. second", "waiting  2. third"] {
        top.wait_to_see(part);
    }
    // Esc leads back, and from the list it is the end.
    top.type_in("\u{1b}");
    top.wait_to_see("GRANTS/S");
    top.type_in("\u{1b}");
    assert_eq!(top.end().code(), Some(0));
    assert_given_back(&top);
    place.ok(&["unlock", "--key", "k", "--break"]);
    for waiter in waiters {
        assert_eq!(waiter.end().code, 0);
    }
}

#[test]
fn the_terminal_is_given_back_in_every_way_of_ending() {
    let place = Place::local();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131)] {
        let mut top = AtTerminal::start(&place, &["top"], SIZE);
        top.wait_to_see("q quit");
        top.signal(signal);
        assert_eq!(top.end().code(), Some(code), "{signal:?}");
        assert_given_back(&top);
    }
    let mut top = AtTerminal::start(&place, &["top"], SIZE);
    top.wait_to_see("q quit");
    top.type_in("\u{3}");
    assert_eq!(top.end().code(), Some(130));
    assert_given_back(&top);
    let mut top = AtTerminal::start(&place, &["top", "--times", "2", "--interval", "100ms"], SIZE);
    assert_eq!(top.end().code(), Some(0));
    assert_given_back(&top);
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_it_goes_on() {
    let place = Place::local();
    // A shell's job: what has nobody to have it go on is not stopped.
    let script = "set -m; \"$0\" top; echo stopped-$?; read word; fg; echo ended-$?";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_soloist")]).env("SOLOIST_STORE", &place.url);
    let mut top = AtTerminal::of(shell, SIZE, true);
    top.wait_to_see("q quit");
    top.type_in("\u{1a}");
    top.wait_to_see("stopped-148");
    assert_given_back(&top);
    top.type_in("\n");
    wait_for("it to go on", || top.seen().matches(ENTERED).count() >= 2 && !top.is_as_a_shell_wants_it());
    top.type_in("q");
    top.wait_to_see("ended-0");
    assert_eq!(top.end().code(), Some(0));
    assert_given_back(&top);
}

#[test]
fn no_size_of_a_terminal_is_too_small_and_a_larger_one_is_used() {
    let place = Place::local();
    for number in 0..40 {
        place.ok(&["lock", &format!("key-{number:02}"), "--ttl", "1h"]);
    }
    let mut top = AtTerminal::start(&place, &["top", "--sort", "key"], (20, 5));
    top.wait_to_see("and 39 more");
    for size in [(1, 1), (3, 200), (500, 2), (0, 0), (1, 4)] {
        top.resize(size);
        // It was drawn at that size, whatever there is to be seen of it.
        let drawn = top.seen().len();
        top.type_in("\u{c}");
        wait_for("it to be drawn", || top.seen().len() > drawn);
    }
    top.resize((80, 24));
    top.wait_to_see("and 22 more");
    assert!(!top.screen().contains("key-39"), "{}", top.screen());
    top.type_in("\u{1b}[F");
    top.wait_to_see("key-39");
    top.resize((80, 60));
    top.wait_to_see("key-00");
    top.wait_to_see("key-39");
    top.type_in("q");
    assert_eq!(top.end().code(), Some(0));
}

#[test]
fn nothing_can_be_typed_and_it_is_seen_all_the_same() {
    let place = Place::local();
    place.ok(&["lock", "report:42", "--ttl", "1h"]);
    let mut top = AtTerminal::of(place.command(&["top"]), SIZE, false);
    top.wait_to_see("report:42");
    top.signal(Signal::TERM);
    assert_eq!(top.end().code(), Some(143));
    assert_given_back(&top);
}

#[test]
fn without_a_terminal_the_way_out_is_told_before_any_store_is_asked() {
    let mut place = Place::local();
    place.url = format!("redis://127.0.0.1:{}", free_port());
    let ended = place.soloist(&["top"]);
    ended.fails(125, "stdout is not a terminal");
    assert!(["--json", "soloist ls"].iter().all(|way| ended.err.contains(way)), "{ended:?}");
    let dumb = Command::new("script")
        .args(["-qec", &format!("{} top", env!("CARGO_BIN_EXE_soloist")), "/dev/null"])
        .env("TERM", "dumb")
        .env("SOLOIST_STORE", &place.url)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(dumb.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&dumb.stdout).contains("TERM=dumb"), "{dumb:?}");
}

#[test]
fn a_store_that_cannot_be_reached_is_an_error_and_no_screen() {
    let mut place = Place::local();
    place.url = format!("redis://user:geheim@127.0.0.1:{}", free_port());
    let mut top = AtTerminal::start(&place, &["top"], SIZE);
    assert_eq!(top.end().code(), Some(125));
    top.wait_to_see("soloist: error: ");
    assert!(!top.seen().contains(ENTERED) && !top.seen().contains("geheim"), "{}", top.seen());
    place.soloist(&["top", "--json"]).fails(125, "127.0.0.1");
}

#[test]
fn a_store_that_goes_away_is_told_until_it_is_there_again() {
    let mut place = Place::local();
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    place.url = server.url();
    place.ok(&["lock", "before", "--ttl", "1h"]);
    let mut objects = Objects::of(&place, &[]);
    assert_eq!(key(&objects.next(), "before")["held"], true);
    let mut top = AtTerminal::start(&place, &["top", "--interval", "100ms"], SIZE);
    top.wait_to_see("before");
    server.kill();
    let away = objects.wait_for("its error", |object| !object["error"].is_null());
    assert_eq!((&away["keys"], &away["totals"]), (&Value::Null, &Value::Null));
    top.wait_to_see("out of date since ");
    // The keyboard is heard, and what was known last is there.
    assert!(top.screen().contains("before"), "{}", top.screen());
    top.type_in("?");
    top.wait_to_see("the end");
    top.type_in("?");
    top.wait_to_see("before");
    server.start_again();
    place.ok(&["lock", "after", "--ttl", "1h"]);
    let back = objects.wait_for("it to be back", |object| key(object, "after")["held"] == true);
    assert_eq!(back["error"], Value::Null);
    top.wait_to_see("after");
    top.wait_to_see_no("out of date");
    // What happened meanwhile could not be heard.
    let told = objects.wait_for("the gap", |object| object["totals"]["missed"].as_u64() > Some(0));
    assert_eq!(told["totals"]["at_least"], true);
    assert_eq!(objects.end(), Some(130));
    top.type_in("q");
    assert_eq!(top.end().code(), Some(0));
    assert_given_back(&top);
}

#[test]
fn a_reader_of_its_objects_that_goes_away_ends_it_quietly() {
    let place = Place::local();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(&["top", "--json"]);
    let ended = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), &b""[..]));
}
