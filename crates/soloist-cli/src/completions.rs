//! `soloist completions`: what a shell needs to complete this program's command lines.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::{Failure, Outcome};
use crate::out;

pub(crate) fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "soloist", &mut script);
    let script = String::from_utf8(script).map_err(|error| Failure::own(error.to_string()))?;
    out::line(script.trim_end()).map(|()| 0)
}
