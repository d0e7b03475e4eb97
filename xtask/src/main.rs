//! Every chore of this repository, as `cargo xtask NAME`.
#![forbid(unsafe_code)]

mod bench;
mod demo;
mod fuzz;
mod install;
mod interleave;
mod matrix;
mod plants;
mod soak;
mod steps;

use std::path::Path;
use std::process::ExitCode;

use steps::{Failure, Step};

const HELP: &str = "\
cargo xtask CHORE

  test    install what the tests need, then check the formatting, the lints, the docs and all tests
  ci      the same
  demo    the main job: one result for twenty processes, one lock for twenty more
  bench   what everything costs, beside the least that this machine does; `bench --help` says more
  soak    the long runs of the tests (SOLOIST_SOAK=1), in release mode; with --minutes N [--seed S] the
          simulation, a real server and the local store for so long, from that seed on
  fuzz    [--seconds N] [TARGET...]: everything that parses, led by coverage; see fuzz/README.md
  matrix  PROGRAM...: the suites that a server decides, on each of these Redis or Valkey servers
  interleave
          [--iterations N] [--seed S]: the library's threads in so many orders; --planted: whether each bug
          that is put into a copy of it is found
  help    this text

The first failure ends the chore, with the exit code of the command that failed.";

fn main() -> ExitCode {
    let chore = std::env::args().nth(1).unwrap_or_else(|| "help".into());
    let done = match chore.as_str() {
        "test" | "ci" => test(),
        "soak" => match soak::Soak::read(std::env::args().skip(2)) {
            Ok(soak) => enter_root().and_then(|()| soak.run()),
            Err(why) => {
                eprintln!("error: {why}\n\n{HELP}");
                return ExitCode::from(2);
            }
        },
        "bench" => enter_root().and_then(|()| bench::bench(&std::env::args().skip(2).collect::<Vec<_>>())),
        "matrix" => enter_root().and_then(|()| matrix::matrix(&std::env::args().skip(2).collect::<Vec<_>>())),
        "demo" => enter_root().and_then(|()| demo::demo()),
        "interleave" => {
            let args: Vec<_> = std::env::args().skip(2).collect();
            enter_root().and_then(|()| interleave::interleave(&args))
        }
        "fuzz" => enter_root().and_then(|()| fuzz::fuzz(&std::env::args().skip(2).collect::<Vec<_>>())),
        "help" | "-h" | "--help" => {
            println!("{HELP}");
            Ok(())
        }
        other => {
            eprintln!("error: there is no chore {other:?}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { what, code }) => {
            eprintln!("error: {what}");
            ExitCode::from(code)
        }
    }
}

fn test() -> Result<(), Failure> {
    enter_root()?;
    install::redis_server()?;
    if steps::has_cargo("fmt") {
        Step::cargo("fmt").args(["--all", "--check"]).run()?;
    } else {
        eprintln!("note: rustfmt is not installed, the formatting is not checked");
    }
    if steps::has_cargo("clippy") {
        let lint = ["--workspace", "--all-targets", "--", "-D", "warnings"];
        Step::cargo("clippy").args(lint).run()?;
    } else {
        eprintln!("note: clippy is not installed, the lints are not checked");
    }
    // The documentation is part of the product: no broken link, nothing undocumented.
    let strict = "-D warnings";
    Step::cargo("doc")
        .args(["--workspace", "--no-deps", "--all-features"])
        .env("RUSTDOCFLAGS", strict)
        .run()?;
    // Examples are built too: what is shown must at least compile.
    Step::cargo("test").args(["--workspace", "--all-targets", "--no-run"]).run()?;
    // Plain `cargo test`, whose closing lines others read; it runs the examples in the docs as well. All of it, whatever
    // fails: who waits for so long wants to hear of every failure.
    Step::cargo("test").args(["--workspace", "--no-fail-fast"]).run()
}

/// Chores run from the repository's root, wherever they were called.
fn enter_root() -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    std::env::set_current_dir(root).map_err(|error| Failure::own(format!("{}: {error}", root.display())))
}
