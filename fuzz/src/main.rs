//! The coverage-guided fuzzer: one program for all targets; `SOLOIST_FUZZ_TARGET` says which. Started by
//! `cargo xtask fuzz`.
#![no_main]
#![allow(dead_code, unreachable_pub)]

// Of the program, whose parsers have no library to stand in. These two files need nothing else of it.
#[path = "../../crates/soloist-cli/src/recording.rs"]
mod recording;
#[path = "../../crates/soloist-cli/src/units.rs"]
mod units;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use soloist::testing::parse;

type Run = fn(&[u8]);

static RUN: OnceLock<Run> = OnceLock::new();

/// What the library has no door to.
const PROGRAM: &[(&str, Run, &[&str])] = &[
    ("program_units", program_units, &["1h30m", "16MiB", "500ms"]),
    ("program_recording", program_recording, &["\u{1}\u{7}\u{1}\u{3}\0\0\0out\u{2}\u{1}\0\0\0e"]),
];

/// Before anything is read: the target, and seeds for it. `list` names them all.
fn begin() {
    let name = std::env::var("SOLOIST_FUZZ_TARGET").unwrap_or_default();
    if name == "list" {
        let names = parse::TARGETS.iter().map(|target| target.name).chain(PROGRAM.iter().map(|target| target.0));
        names.for_each(|name| println!("{name}"));
        std::process::exit(0);
    }
    let program = PROGRAM.iter().find(|target| target.0 == name);
    let (run, seeds) = match (program, parse::target(&name)) {
        (Some((_, run, seeds)), _) => (*run, seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()),
        (None, Some(target)) => (target.run, (target.seeds)()),
        (None, None) => panic!("there is no target {name:?}"),
    };
    let _ = RUN.set(run);
    if let Some(folder) = std::env::var_os("SOLOIST_FUZZ_CORPUS") {
        for (number, seed) in seeds.iter().enumerate() {
            let path = std::path::Path::new(&folder).join(format!("seed-{number}"));
            std::fs::write(path, seed).expect("the corpus is written");
        }
    }
}

fn program_units(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(time) = units::duration(text) {
        assert!(!units::human(time).is_empty());
    }
    if let Ok(size) = units::size(text) {
        assert_eq!(units::size(&format!("{size}B")), Ok(size));
    }
}

fn program_recording(bytes: &[u8]) {
    let Some(recording) = recording::Recording::read(bytes::Bytes::copy_from_slice(bytes)) else { return };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert!(recording.replay(&mut out, &mut err).is_ok());
    assert!(out.len() + err.len() <= bytes.len());
}

fuzz_target!(init: begin(), |bytes: &[u8]| {
    if let Some(run) = RUN.get() {
        run(bytes);
    }
});
