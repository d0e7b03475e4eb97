//! The benchmarks: built in release mode, and run. crates/soloist-bench has the cases.

use std::env::consts::EXE_SUFFIX;
use std::path::PathBuf;

use crate::install;
use crate::steps::{Failure, Step};

/// Builds the bench and the program that it times, and hands the options on.
pub(crate) fn bench(options: &[String]) -> Result<(), Failure> {
    install::redis_server()?;
    let mut build = Step::cargo("build").args(["--release", "-p", "soloist-cli", "-p", "soloist-bench"]);
    // Counting instructions needs another build, so it is done only when it is asked for by its name.
    if options.iter().any(|option| option == "instructions") {
        build = build.args(["--features", "soloist-bench/callgrind"]);
    }
    build.run()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let program = target.join("release").join(format!("soloist-bench{EXE_SUFFIX}"));
    Step::new(&program.to_string_lossy()).args(options.iter().map(String::as_str)).run()
}
