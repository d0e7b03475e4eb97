//! The long runs: what is too long for every change, and finds what seldom happens.

use crate::install;
use crate::steps::{Failure, Step};

/// What to run: for so many minutes, from a seed on; without minutes, the long runs of the tests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Soak {
    minutes: Option<u64>,
    seed: Option<u64>,
}

impl Soak {
    /// Reads `--minutes N --seed S`.
    pub(crate) fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut soak = Soak::default();
        while let Some(flag) = args.next() {
            let number = args.next().and_then(|text| text.parse().ok());
            match flag.as_str() {
                "--minutes" => soak.minutes = Some(number.ok_or("--minutes takes a number")?),
                "--seed" => soak.seed = Some(number.ok_or("--seed takes a number")?),
                other => return Err(format!("soak knows no {other:?}")),
            }
        }
        Ok(soak)
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        install::redis_server()?;
        let Some(minutes) = self.minutes else {
            let long = ["--workspace", "--release", "--", "--include-ignored"];
            Step::cargo("test").args(long).env("SOLOIST_SOAK", "1").run()?;
            return crate::interleave::long();
        };
        // Fresh seeds each time, unless one is given.
        let now = std::process::id().into();
        let seed = self.seed.unwrap_or(now) * 1_000_000;
        let third = (minutes * 20).to_string();
        let run = |test: &str, name: &str| {
            let args = [
                "--release",
                "-p",
                "soloist",
                "--test",
                test,
                "--",
                "--ignored",
                "--exact",
                "--nocapture",
                name,
            ];
            Step::cargo("test").args(args).env("SECONDS", &third).env("SEED", &seed.to_string()).run()
        };
        let done = run("simulation", "seeds_for_a_while")
            .and_then(|()| run("soak", "a_real_server"))
            .and_then(|()| run("local", "crash::random_kills_for_a_while"));
        // Whatever cargo says: a violation is 1.
        done.map_err(|failure| Failure { code: 1, ..failure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_and_a_seed_are_read_and_nothing_else() {
        let read = |text: &str| Soak::read(text.split_whitespace().map(str::to_owned));
        assert_eq!(read(""), Ok(Soak::default()));
        assert_eq!(read("--seed 7 --minutes 2"), Ok(Soak { minutes: Some(2), seed: Some(7) }));
        assert!(read("--minutes").is_err() && read("--minutes x").is_err() && read("--hours 1").is_err());
    }
}
