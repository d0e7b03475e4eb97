//! The coverage-guided fuzzer, which is a workspace of its own in `fuzz/`.

use std::path::Path;
use std::process::Command;

use crate::steps::{Failure, Step};

/// Has libFuzzer see which way the code took. Flags of the code generator, so that a stable compiler will do.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg=fuzzing";

/// More memory than any input may cost.
const MEMORY: &str = "-rss_limit_mb=1024";

/// `[--seconds N] [TARGET...]`: each target for so long.
pub(crate) fn fuzz(args: &[String]) -> Result<(), Failure> {
    let (mut seconds, mut targets, mut args) = (60_u64, Vec::new(), args.iter());
    while let Some(arg) = args.next() {
        match &**arg {
            "--seconds" => {
                let number = args.next().and_then(|number| number.parse().ok());
                seconds = number.ok_or_else(|| Failure::own("--seconds wants a number"))?;
            }
            name => targets.push(name.to_owned()),
        }
    }
    // Given a target, cargo keeps the flags from what runs while it builds.
    let host = host()?;
    let build = ["--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &host];
    Step::cargo("build").args(build).env("RUSTFLAGS", COVERAGE).run()?;
    let program = format!("fuzz/target/{host}/release/soloist-fuzz");
    if targets.is_empty() {
        targets = said(Command::new(&program).env("SOLOIST_FUZZ_TARGET", "list"))?;
    }
    for target in targets {
        let (corpus, found) = (format!("fuzz/corpus/{target}"), format!("fuzz/found/{target}-"));
        for folder in [Path::new(&corpus), Path::new("fuzz/found")] {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::own(format!("{}: {error}", folder.display())))?;
        }
        let (time, found) = (format!("-max_total_time={seconds}"), format!("-artifact_prefix={found}"));
        Step::new(&program)
            .args([&*corpus, &time, &found, MEMORY, "-timeout=10", "-max_len=4096", "-print_final_stats=1"])
            .args(["-verbosity=0"])
            .env("SOLOIST_FUZZ_TARGET", &target)
            .env("SOLOIST_FUZZ_CORPUS", &corpus)
            .run()?;
    }
    Ok(())
}

/// The name of this machine's kind, as the compiler has it.
fn host() -> Result<String, Failure> {
    let lines = said(Command::new("rustc").arg("-vV"))?;
    let host = lines.iter().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::own("rustc does not say its host"))
}

/// What a command prints, in lines.
fn said(command: &mut Command) -> Result<Vec<String>, Failure> {
    let out = command.output().map_err(|error| Failure::own(format!("{command:?}: {error}")))?;
    Ok(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect())
}
