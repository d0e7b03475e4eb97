//! The program `soloist`: run a command under a lock, or once across a fleet.
#![deny(unsafe_code)] // but for sys.rs

mod args;
mod completions;
mod doctor;
mod failure;
mod group;
mod guard;
mod help;
mod job;
mod lease_verbs;
mod look;
mod nested;
mod once;
mod out;
mod pump;
mod reaper;
mod recording;
mod run;
mod signals;
mod sys;
mod talk;
mod terminal;
mod top;
mod units;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;
use soloist::Client;

use crate::args::{Cli, OnceArgs, RunArgs, Verb};
use crate::failure::{Failure, Outcome};
use crate::guard::Guard;

/// How long the end waits for what is still to be released. A lease then ends by its ttl.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let code = begin().unwrap_or_else(|failure| {
        talk::failure(&failure);
        failure.code
    });
    ExitCode::from(code)
}

fn begin() -> Outcome {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let Verb::Completions(args) = cli.verb {
        return completions::completions(args.shell);
    }
    if let Verb::Top(_) = cli.verb {
        top::check(cli.global.json)?;
    }
    sys::hear_children();
    // What the library warns of is among its findings.
    let is_doctor = matches!(cli.verb, Verb::Doctor(_));
    talk::begin(cli.global.quiet, cli.global.verbose, is_doctor);
    let guard = match &cli.verb {
        Verb::Run(RunArgs { grace, .. }) | Verb::Once(OnceArgs { grace, .. }) => {
            // Before any thread is started.
            let guard = Guard::start(*grace);
            Some(guard.map_err(|error| Failure::own(format!("the guard cannot be started: {error}")))?)
        }
        _ => None,
    };
    // The main thread runs the command's own flow: it spawns the child and outlives it. The library keeps the leases on a
    // thread of its own, whatever the main thread does.
    let mut runtime = match cli.verb {
        // Whoever looks is answered while the store is asked, on a thread besides.
        Verb::Top(_) => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(1);
            runtime
        }
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Failure::own(format!("the runtime cannot be started: {error}")))?;
    let outcome = runtime.block_on(perform(cli, guard));
    // A thread may still be writing to a reader that does not read.
    runtime.shutdown_background();
    outcome
}

async fn perform(cli: Cli, guard: Option<Guard>) -> Outcome {
    let prefix = cli.global.prefix.unwrap_or_default();
    let builder = || Client::builder().prefix(&prefix).password_from_env();
    let (url, json) = (cli.global.store.unwrap_or_default(), cli.global.json);
    if let Verb::Doctor(args) = cli.verb {
        return doctor::doctor(builder, &url, args, json).await;
    }
    let mut builder = builder();
    if let Verb::Once(once) = &cli.verb {
        builder = builder.max_result(recording::longest(once.max_output));
    }
    let client = builder.connect(&url).await?;
    let outcome = match (cli.verb, guard) {
        (Verb::Run(args), Some(guard)) => run::run(&client, guard, args).await,
        (Verb::Once(args), Some(guard)) => once::once(&client, guard, args).await,
        (Verb::Lock(args), _) => lease_verbs::lock(&client, args, json).await,
        (Verb::Renew(args), _) => lease_verbs::renew(&client, args, json).await,
        (Verb::Unlock(args), _) => lease_verbs::unlock(&client, args, json).await,
        (Verb::Show(args), _) => look::show(&client, args, json).await,
        (Verb::Ls(args), _) => look::ls(&client, args, json).await,
        (Verb::Watch(args), _) => look::watch(&client, args, json).await,
        (Verb::Top(args), _) => top::top(&client, &url, args, json).await,
        (Verb::Forget(args), _) => look::forget(&client, args, json).await,
        (Verb::Doctor(_) | Verb::Completions(_), _) => Ok(0), // have their own ways, above
        (Verb::Run(_) | Verb::Once(_), None) => Err(Failure::own("there is no guard")),
    };
    close(client).await;
    outcome
}

/// Ends the connection, and what is still held.
pub(crate) async fn close(client: Client) {
    if tokio::time::timeout(CLOSE_PATIENCE, client.close()).await.is_err() {
        talk::note("warning: the store does not answer; what is still held ends by its ttl");
    }
}

/// `--help`, `--version`, or what is wrong with the command line.
fn usage(error: &clap::Error) -> Outcome {
    let text = error.render().to_string();
    let text = text.trim_end();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => out::line(text).map(|()| 0),
        _ => {
            talk::usage(text.strip_prefix("error: ").unwrap_or(text));
            Err(Failure::silent(failure::OWN))
        }
    }
}
