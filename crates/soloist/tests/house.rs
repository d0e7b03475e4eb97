//! The walls of the house: who may use whom. Each is shown to fail on a bad line, too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "house/catalogue.rs"]
mod catalogue;
#[path = "house/said.rs"]
mod said;
#[path = "support/sources.rs"]
mod sources;
#[path = "house/stores.rs"]
mod stores;

use std::fs;
use std::path::Path;

use sources::sources;

/// The most lines of code in one file: it must be read in one sitting.
const LONGEST: usize = 350;

/// What may be used by whom, from below to above: a module, and what of this crate it may name.
const FLOORS: &[(&str, &[&str])] = &[
    ("random", &["random"]),
    ("by_ticket", &["by_ticket", "name"]),
    ("sync", &["sync"]),
    ("name", &["random", "name", "error", "event"]),
    ("error", &["name", "error", "event"]),
    ("event", &["name", "error", "event"]),
    ("protocol", &["protocol", "name", "error", "event"]),
    ("clock", &["clock", "protocol"]),
    ("finding", &["finding", "error"]),
    ("observe", &["observe", "protocol", "clock", "finding", "name", "error", "event"]),
    (
        "store",
        &[
            "store",
            "sync",
            "by_ticket",
            "observe",
            "protocol",
            "clock",
            "finding",
            "random",
            "name",
            "error",
            "event",
        ],
    ),
];

/// The machine is pure: no runtime, no clock, no input or output.
const IMPURE: &[&str] = &[
    "tokio",
    "futures_util",
    "async_trait",
    "redis",
    "rustix",
    "getrandom",
    "std::fs",
    "std::net",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// The one file that may read the wall clock.
const WALL_CLOCK: &[&str] = &["store/memory.rs", "store/store_clock.rs"];

/// The code of a file: without comments, literals, and its unit tests at the end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    // Texts hold paths that name nothing, as `"redis://"`.
    let bare = lines.map(|line| line.split('"').step_by(2).collect::<Vec<_>>().join("\"\""));
    let bare = bare.map(|line| line.split(" // ").next().unwrap_or_default().to_owned());
    bare.filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// Every path that the code names, with the braces of `use` resolved.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some((_, after)) = split_word(rest, "use ") {
        let (tree, behind) = after.split_once(';').unwrap_or((after, ""));
        let tree: String = tree.chars().filter(|c| !c.is_whitespace()).collect();
        branches("", &tree, &mut found);
        rest = behind;
    }
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    found.extend(code.split(|c| !is_path(c)).filter(|word| word.contains("::")).map(str::to_owned));
    found
}

fn split_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let starts = text.match_indices(word).map(|(at, _)| at);
    let at = starts.into_iter().find(|at| {
        let before = text[..*at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || c == ';' || c == '}')
    })?;
    Some((&text[..at], &text[at + word.len()..]))
}

fn branches(before: &str, tree: &str, found: &mut Vec<String>) {
    let (mut depth, mut start) = (0, 0);
    let ends = tree.char_indices().chain([(tree.len(), ',')]);
    for (at, c) in ends {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let branch = &tree[start..at];
                start = at + 1;
                match branch.split_once('{') {
                    Some((stem, inner)) => {
                        let inner = inner.strip_suffix('}').unwrap_or(inner);
                        branches(&format!("{before}{stem}"), inner, found);
                    }
                    None => found.push(format!("{before}{branch}")),
                }
            }
            _ => {}
        }
    }
}

/// A path as seen from the crate's root, for a file at `place` below `src`.
fn absolute(place: &str, path: &str) -> String {
    let mut here: Vec<&str> = place.trim_end_matches(".rs").split('/').collect();
    if matches!(here.last(), Some(&"mod" | &"lib" | &"main")) {
        here.pop();
    }
    let mut parts = path.split("::").filter(|part| !part.is_empty()).peekable();
    if !matches!(parts.peek(), Some(&"super" | &"self")) {
        return parts.collect::<Vec<_>>().join("::");
    }
    while let Some(part) = parts.next_if(|part| matches!(*part, "super" | "self")) {
        if part == "super" {
            here.pop();
        }
    }
    ["crate"].into_iter().chain(here).chain(parts).collect::<Vec<_>>().join("::")
}

fn begins(path: &str, with: &str) -> bool {
    path.strip_prefix(with).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What is wrong with one file of the library.
fn faults(place: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{place}: {what}"));
    let named = paths(&code);
    // `use crate::store::redis` brings our own module under the crate's name.
    let own_redis = named.iter().any(|path| begins(path, "crate") && path.ends_with("::redis"));
    let module = place.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let allowed = FLOORS.iter().find(|(floor, _)| *floor == module).map(|(_, allowed)| *allowed);
    // A world of threads is a test that stands beside its code.
    let allowed = allowed.filter(|_| !place.ends_with("/interleavings.rs"));
    for path in named {
        let path = absolute(place, &path);
        if let Some((allowed, target)) = allowed.zip(path.strip_prefix("crate::")) {
            let target = target.split("::").next().unwrap_or_default();
            if !allowed.contains(&target) {
                fault(format!("{module} stands below and must not use {path}"));
            }
        }
        if module == "protocol" && IMPURE.iter().any(|impure| begins(&path, impure)) {
            fault(format!("the machine is pure and must not use {path}"));
        }
        if begins(&path, "redis") && !own_redis && !place.starts_with("store/redis/") {
            fault(format!("only store/redis knows the crate redis: {path}"));
        }
        if path.contains("SystemTime::now") && !WALL_CLOCK.contains(&place) {
            fault("only the store's own clock reads the wall clock".into());
        }
    }
    if module == "protocol"
        && ["async fn", "async move", "async {", ".await"].iter().any(|word| code.contains(word))
    {
        fault("the machine is pure and must not be async".into());
    }
    // Without it a branch is chosen at random, by a source that no seed sets: then no simulation replays.
    if code.split("select! {").skip(1).any(|branches| !branches.trim_start().starts_with("biased;")) {
        fault("a select! is `biased;`, in an order that starves nobody".into());
    }
    if code.lines().count() > LONGEST {
        fault(format!("{} lines of code; one noun a file, at most {LONGEST}", code.lines().count()));
    }
    faults
}

/// What `inspect` and `list` answer: data of the public face, wherever it is defined.
const ANSWERS: &[&str] = &["KeyInfo", "WaiterInfo", "ResultInfo", "Holding", "OutcomeKind", "Want"];

/// What is wrong with one file of the program.
fn faults_of_the_program(place: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut faults = Vec::new();
    for path in paths(&code) {
        let answer = path.strip_prefix("soloist::protocol::").is_some_and(|rest| {
            // What is before a brace ends in nothing; what is in it is looked at by itself.
            let name = rest.split("::").next().unwrap_or_default();
            name.is_empty() || ANSWERS.contains(&name)
        });
        if answer {
            continue;
        }
        let inner = ["soloist::protocol", "soloist::store", "redis", "rustix::fs::flock"];
        if inner.iter().any(|inner| begins(&path, inner)) {
            faults.push(format!("{place}: the program uses the public face only, not {path}"));
        }
    }
    if code.lines().count() > LONGEST {
        faults.push(format!("{place}: more than {LONGEST} lines of code"));
    }
    faults
}

fn check(folder: &Path, faults: impl Fn(&str, &str) -> Vec<String>) {
    let mut all = Vec::new();
    let files = sources(folder);
    for path in &files {
        let place = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
        all.extend(faults(&place, &fs::read_to_string(path).unwrap()));
    }
    assert!(!files.is_empty() && all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn the_library_keeps_its_walls() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), faults);
}

#[test]
fn whatever_is_awaited_states_its_cancel_safety_and_has_an_example() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), said::unsaid);
}

#[test]
fn the_program_uses_the_public_face_only() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../soloist-cli");
    check(&program.join("src"), faults_of_the_program);
    let manifest = fs::read_to_string(program.join("Cargo.toml")).unwrap();
    let redis = manifest.lines().any(|line| line.starts_with("redis"));
    assert!(!redis, "the program talks to a server through the library only");
}

#[test]
fn each_wall_can_fail() {
    let bad = [
        ("protocol/key_state.rs", "use tokio::sync::Mutex;"),
        ("protocol/key_state.rs", "use std::{sync::Arc, time::{Duration, Instant}};"),
        ("protocol/step.rs", "let now = std::time::SystemTime::now();"),
        ("protocol/step.rs", "use std::fs;"),
        ("protocol/step.rs", "pub async fn step() {}"),
        ("protocol/table.rs", "use super::super::store::Store;"),
        ("protocol/table.rs", "use crate::{name::Key, client::Client};"),
        ("name.rs", "use crate::protocol::Ttl;"),
        ("error.rs", "let x = crate::store::Reply::new();"),
        ("event.rs", "use super::clock::Moment;"),
        ("store/hub.rs", "use crate::lease::Lease;"),
        ("store/local/mod.rs", "use super::super::keeper::Keeper;"),
        ("store/mod.rs", "use crate::{\n    error::Result,\n    once::{Once, Flight},\n};"),
        ("store/memory.rs", "use redis::AsyncCommands;"),
        ("client.rs", "fn from(client: redis::Client) {}"),
        ("client.rs", "let now = SystemTime::now();"),
        ("random.rs", "use crate::clock::Moment;"),
        ("client.rs", "tokio::select! {\n    () = lost => {}\n}"),
        ("client.rs", "select! {\n    biased;\n    () = a => {}\n}\nselect! {\n    () = lost => {}\n}"),
    ];
    for (place, text) in bad {
        assert!(!faults(place, text).is_empty(), "{place}: {text}");
    }
    let long = "let x = 1;\n".repeat(LONGEST + 1);
    assert!(!faults("client.rs", &long).is_empty());
    for text in
        ["use soloist::protocol::Answer;", "use soloist::{Client, store::{Store}};", "use redis::cmd;"]
    {
        assert!(!faults_of_the_program("main.rs", text).is_empty(), "{text}");
    }
}

#[test]
fn what_is_allowed_is_allowed() {
    let good = [
        (
            "protocol/key_state.rs",
            "use std::time::Duration;\nuse super::{Answer, step::Step};\nuse crate::name::Key;",
        ),
        ("protocol/step.rs", "// tokio::spawn would be wrong here\nlet text = \"tokio::spawn\";"),
        ("store/redis/link.rs", "use redis::aio::MultiplexedConnection;\nuse super::super::hub::Hub;"),
        ("store/memory.rs", "let now = std::time::SystemTime::now();"),
        ("builder.rs", "use crate::store::{local, redis};\nlet store = redis::RedisStore::connect(url);"),
        ("client.rs", "use crate::store::redis::RedisStore;\nconst URL: &str = \"redis://localhost\";"),
        ("kept.rs", "tokio::select! {\n    biased;\n    () = lost => {}\n}"),
        ("lock.rs", "use crate::{client::Client, lease::Lease};"),
        ("name.rs", "use crate::error::Error;\n#[cfg(test)]\nmod tests {\n use crate::store::Store;\n}"),
    ];
    for (place, text) in good {
        assert_eq!(faults(place, text), Vec::<String>::new(), "{place}: {text}");
    }
    assert_eq!(faults_of_the_program("main.rs", "use soloist::{Client, Error};"), Vec::<String>::new());
}
