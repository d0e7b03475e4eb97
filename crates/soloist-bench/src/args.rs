//! What the command line asks for.

use crate::cases;

pub(crate) const HELP: &str = "\
cargo xtask bench [--quick] [--json FILE] [--docs FOLDER] [--check] [CASE...]

  --quick         fewer and shorter rounds: to see that it runs, not to quote
  --json FILE     write the numbers as JSON
  --docs FOLDER   write the tables into FOLDER/performance.md, and the plot beside it
  --check         missed goals are an error, too
  CASE            only these cases, by the beginnings of their names

It starts a redis-server of its own. The exit code is 1 when a case could not run.

Cases:";

/// The options.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) quick: bool,
    pub(crate) check: bool,
    pub(crate) help: bool,
    pub(crate) json: Option<String>,
    pub(crate) docs: Option<String>,
    cases: Vec<String>,
}

impl Args {
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = Args::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("error: {word} needs a value"));
            match word.as_str() {
                "--quick" => args.quick = true,
                "--check" => args.check = true,
                "--help" | "-h" => args.help = true,
                "--json" => args.json = Some(value()?),
                "--docs" => args.docs = Some(value()?),
                option if option.starts_with('-') => return Err(format!("error: no option {option:?}")),
                case if cases::ALL.iter().any(|known| known.name.starts_with(case)) => args.cases.push(word),
                case => return Err(format!("error: no case {case:?}; see --help")),
            }
        }
        Ok(args)
    }

    /// Whether a case was asked for: by its name, or because none was.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|case| name.starts_with(case.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for line in ["--slow", "no-such-case", "--json"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn cases_are_chosen_by_their_beginnings() {
        let args = parse("--quick local --json out.json").unwrap();
        assert!(args.quick && args.json.as_deref() == Some("out.json"));
        assert!(args.wants("local-cycle") && !args.wants("cycle"));
        assert!(parse("").unwrap().wants("cycle"));
    }
}
