//! The library's threads in many orders: the package `interleavings`.

use crate::plants;
use crate::steps::{Failure, Step};

/// `[--iterations N] [--seed S]`: every world in so many orders; `--planted`: whether the worlds find what they
/// are there for.
pub(crate) fn interleave(args: &[String]) -> Result<(), Failure> {
    let (mut iterations, mut seed, mut planted, mut args) = (20_000_u64, 1_u64, false, args.iter());
    while let Some(arg) = args.next() {
        let mut number = || {
            let number = args.next().and_then(|number| number.parse().ok());
            number.ok_or_else(|| Failure::own(format!("{arg} wants a number")))
        };
        match &**arg {
            "--iterations" => iterations = number()?,
            "--seed" => seed = number()?,
            "--planted" => planted = true,
            other => return Err(Failure::own(format!("there is no option {other:?}"))),
        }
    }
    if planted {
        return plants::plants();
    }
    explore(iterations, seed)
}

/// The long run: many orders, and the planted bugs.
pub(crate) fn long() -> Result<(), Failure> {
    explore(100_000, std::process::id().into())?;
    plants::plants()
}

fn explore(iterations: u64, seed: u64) -> Result<(), Failure> {
    Step::cargo("test")
        .args(["--package", "soloist-interleavings", "--test", "threads"])
        .env("SOLOIST_ITERATIONS", &iterations.to_string())
        .env("SOLOIST_SEED", &seed.to_string())
        .run()
}
