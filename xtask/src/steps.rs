//! One command of a chore, printed before it runs.

use std::process::{Command, Stdio};

/// Why a chore ended early, and with which exit code.
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) code: u8,
}

impl Failure {
    /// A failure of the chore itself, not of a command that it ran.
    pub(crate) fn own(what: impl Into<String>) -> Self {
        Failure { what: what.into(), code: 1 }
    }
}

/// A command to be run.
pub(crate) struct Step {
    command: Command,
    shown: String,
}

impl Step {
    pub(crate) fn new(program: &str) -> Self {
        Step { command: Command::new(program), shown: program.to_owned() }
    }

    pub(crate) fn cargo(verb: &str) -> Self {
        // The very cargo that runs this chore.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // What cargo set for this program is not meant for the next one.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"))
            {
                command.env_remove(name);
            }
        }
        Step { command, shown: "cargo".to_owned() }.args([verb])
    }

    pub(crate) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        for arg in args {
            self.command.arg(arg);
            self.shown = format!("{} {arg}", self.shown);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self.shown = format!("{name}={value} {}", self.shown);
        self
    }

    pub(crate) fn run(mut self) -> Result<(), Failure> {
        eprintln!("$ {}", self.shown);
        match self.command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                // A command that a signal ended has no code of its own.
                let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).max(1);
                Err(Failure { what: format!("`{}` failed: {status}", self.shown), code })
            }
            Err(error) => Err(Failure::own(format!("`{}` could not be started: {error}", self.shown))),
        }
    }
}

impl Step {
    /// Runs it without a word. Answers whether it failed, which it is meant to.
    pub(crate) fn fails(mut self) -> Result<bool, Failure> {
        eprintln!("$ {}", self.shown);
        let status = self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        match status {
            Ok(status) => Ok(!status.success()),
            Err(error) => Err(Failure::own(format!("`{}` could not be started: {error}", self.shown))),
        }
    }
}

/// Whether a program can be started.
pub(crate) fn has(program: &str, probe: &[&str]) -> bool {
    let quiet = || Stdio::null();
    let status = Command::new(program).args(probe).stdin(quiet()).stdout(quiet()).stderr(quiet()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether cargo has this subcommand and what it needs.
pub(crate) fn has_cargo(verb: &str) -> bool {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    has(&cargo, &[verb, "--version"])
}
