//! Another process: this program again, in a role. It says `ready`, hears `go`, and says what it measured.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use crate::{Outcome, roles};

/// What a process says before why it has failed.
const FAILED: &str = "failed: ";

/// A process in a role. Dropping it kills it.
pub(crate) struct Child {
    process: std::process::Child,
    said: Lines<BufReader<ChildStdout>>,
    hears: Option<ChildStdin>,
}

impl Child {
    /// Starts one, on the CPUs of this process.
    pub(crate) fn start(words: &[&str]) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(roles::FLAG)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        let hears = process.stdin.take();
        Ok(Child { process, said, hears })
    }

    /// The next line that it says; an error when it has failed or ended.
    pub(crate) fn says(&mut self) -> Outcome<String> {
        let said = self.said.next().ok_or("a process ended before it was done")??;
        match said.strip_prefix(FAILED) {
            Some(why) => Err(why.into()),
            None => Ok(said),
        }
    }

    pub(crate) fn expect(&mut self, word: &str) -> Outcome<()> {
        let said = self.says()?;
        if said == word { Ok(()) } else { Err(format!("a process said {said:?}, not {word:?}").into()) }
    }

    pub(crate) fn tell(&mut self, word: &str) -> Outcome<()> {
        let hears = self.hears.as_mut().ok_or("no input")?;
        writeln!(hears, "{word}")?;
        Ok(hears.flush()?)
    }

    /// Kill -9, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts several, and lets them go when all are ready.
pub(crate) fn start_all(each: impl IntoIterator<Item = Vec<String>>) -> Outcome<Vec<Child>> {
    let start = |words: Vec<String>| Child::start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let mut children = each.into_iter().map(start).collect::<Outcome<Vec<_>>>()?;
    children.iter_mut().try_for_each(|child| child.expect("ready"))?;
    children.iter_mut().try_for_each(|child| child.tell("go"))?;
    Ok(children)
}

/// In a role: says why it failed, in one line.
pub(crate) fn say_failed(why: &crate::Failure) -> Outcome<()> {
    say(format!("{FAILED}{}", why.to_string().replace('\n', " ")))
}

/// In a role: says a line.
pub(crate) fn say(line: impl std::fmt::Display) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// In a role: ready, and waits for `go`. For roles whose runtime has nothing to do meanwhile.
pub(crate) fn ready() -> Outcome<()> {
    say("ready")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim() == "go" { Ok(()) } else { Err("the bench has ended".into()) }
}
