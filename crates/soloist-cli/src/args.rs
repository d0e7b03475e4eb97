//! The command line: flags only; what they do stands in the commands' own files.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::help;
use crate::units;

/// Locks and work-once, for the processes of one machine or of a whole fleet.
#[derive(Debug, Parser)]
#[command(name = "soloist", version, after_help = help::TOP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = false, infer_long_args = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options for all commands")]
pub(crate) struct Global {
    /// Where the locks are: local:, local:/path, redis://host, ... [default: local:]
    #[arg(long, global = true, env = "SOLOIST_STORE", hide_env_values = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Put before every key, and not shown
    #[arg(long, global = true, env = "SOLOIST_PREFIX", hide_env_values = true, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say on stderr what happens
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a command while holding a lock
    #[command(after_help = help::RUN)]
    Run(RunArgs),
    /// Run a command once; everybody who asks meanwhile gets its output and exit code
    #[command(after_help = help::ONCE)]
    Once(OnceArgs),
    /// Take a lock that lives on without a process, and print its lease
    #[command(after_help = help::LOCK)]
    Lock(LockArgs),
    /// Begin the ttl of a lease anew
    #[command(after_help = help::RENEW, override_usage = help::RENEW_USAGE)]
    Renew(RenewArgs),
    /// Release a lease
    #[command(after_help = help::UNLOCK, override_usage = help::UNLOCK_USAGE)]
    Unlock(UnlockArgs),
    /// Show who holds a key, who waits for it, and which result is kept
    #[command(after_help = help::SHOW)]
    Show(ShowArgs),
    /// List the keys that are held, waited for, or have a result
    #[command(visible_alias = "list", after_help = help::LS)]
    Ls(PatternArgs),
    /// Print what happens to keys as it happens, until ctrl-C
    #[command(after_help = help::WATCH)]
    Watch(PatternArgs),
    /// Watch which keys are busy, who waits and what gets lost, on a full screen
    #[command(after_help = help::LIVE)]
    Top(TopArgs),
    /// Drop the result that is kept for a key
    #[command(after_help = help::FORGET)]
    Forget(KeyArgs),
    /// Look for what loses locks: how the store is configured, what is missing, how fast it is
    #[command(after_help = help::DOCTOR)]
    Doctor(DoctorArgs),
    /// Print what a shell needs to complete command lines of soloist
    #[command(after_help = help::COMPLETIONS)]
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// What to lock: any text of 1 to 512 bytes
    pub(crate) key: String,
    /// How long the lease lives unless it is renewed, such as 30s [default: 30s]
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true, value_name = "DURATION")]
    pub(crate) ttl: Option<Duration>,
    /// How long to stand in line at most [default: as long as it takes]
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true, value_name = "DURATION", conflicts_with_all = ["try_once", "force"])]
    pub(crate) wait: Option<Duration>,
    /// Do not stand in line: exit with 124 if it is held
    #[arg(long = "try", conflicts_with = "force")]
    pub(crate) try_once: bool,
    /// Do not stand in line behind so many: exit with 124 [default: 100000]
    #[arg(long, value_name = "N", conflicts_with_all = ["try_once", "force"])]
    pub(crate) max_waiting: Option<u64>,
    /// Take the key over from whoever holds it
    #[arg(long)]
    pub(crate) force: bool,
    /// Under which name to hold it [default: host:pid]
    #[arg(long, value_name = "NAME")]
    pub(crate) holder: Option<String>,
    /// A remark for whoever looks at the key
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Count the lease only when so many replicas of a Redis have it [default: 0]
    #[arg(long, env = "SOLOIST_REPLICAS", hide_env_values = true, value_name = "N")]
    pub(crate) replicas: Option<u32>,
    /// Hold it until it is released, however long that takes
    #[arg(long, conflicts_with = "ttl")]
    pub(crate) no_expiry: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) lock: LockArgs,
    /// Between TERM and KILL, when the lease is lost
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true, value_name = "DURATION", default_value = "10s")]
    pub(crate) grace: Duration,
    /// What to run
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    Share,
    Retry,
}

#[derive(Debug, Args)]
pub(crate) struct OnceArgs {
    /// What the result is called: any text of 1 to 512 bytes
    pub(crate) key: String,
    /// How long later callers get the result of a run that exits with 0 [default: only those who wait]
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    pub(crate) keep: Duration,
    /// The same for a run that exits otherwise [default: only those who wait]
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    pub(crate) keep_errors: Duration,
    /// How long the lease lives unless it is renewed [default: 30s]
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true, value_name = "DURATION")]
    pub(crate) ttl: Option<Duration>,
    /// How long to wait for the result at most [default: as long as it takes]
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true, value_name = "DURATION")]
    pub(crate) wait: Option<Duration>,
    /// Do not wait behind so many: exit with 124 [default: 100000]
    #[arg(long, value_name = "N")]
    pub(crate) max_waiting: Option<u64>,
    /// Count the lease only when so many replicas of a Redis have it [default: 0]
    #[arg(long, env = "SOLOIST_REPLICAS", hide_env_values = true, value_name = "N")]
    pub(crate) replicas: Option<u32>,
    /// When the command fails: share its output and exit code with whoever waits, or let the next in line retry
    #[arg(long, value_enum, default_value = "share", value_name = "HOW", hide_possible_values = true)]
    pub(crate) on_error: OnError,
    /// The largest output that is shared
    #[arg(long, value_parser = units::size, value_name = "SIZE", default_value = "16MiB")]
    pub(crate) max_output: u64,
    /// Under which name to run it [default: host:pid]
    #[arg(long, value_name = "NAME")]
    pub(crate) holder: Option<String>,
    /// Between TERM and KILL, when the lease is lost
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true, value_name = "DURATION", default_value = "10s")]
    pub(crate) grace: Duration,
    /// What to run
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    /// The lease, as `soloist lock` printed it
    #[arg(required_unless_present = "key", conflicts_with = "key")]
    pub(crate) lease: Option<String>,
    /// In place of the lease: the key ...
    #[arg(long, requires = "holder")]
    pub(crate) key: Option<String>,
    /// ... and under which name it is held
    #[arg(long, requires = "key", value_name = "NAME")]
    pub(crate) holder: Option<String>,
    /// How long it lives from now on
    #[arg(long, value_parser = units::duration, allow_hyphen_values = true, value_name = "DURATION")]
    pub(crate) ttl: Duration,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("whose").args(["holder", "break_lock"])))]
pub(crate) struct UnlockArgs {
    /// The lease, as `soloist lock` printed it
    #[arg(required_unless_present = "key", conflicts_with = "key")]
    pub(crate) lease: Option<String>,
    /// In place of the lease: the key ...
    #[arg(long, requires = "whose")]
    pub(crate) key: Option<String>,
    /// ... and under which name it is held
    #[arg(long, requires = "key", value_name = "NAME")]
    pub(crate) holder: Option<String>,
    /// ... or whoever holds it: the holder is told
    #[arg(long = "break", requires = "key")]
    pub(crate) break_lock: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Which key
    pub(crate) key: String,
    /// Exit with 124 if it is held
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Exit with 1 for warnings too
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Which key
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct PatternArgs {
    /// Which keys: * is any text, ? one character, \ takes the next one as it is
    #[arg(default_value = "*", hide_default_value = true)]
    pub(crate) pattern: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    Busiest,
    Key,
    Held,
    Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Which keys: * is any text, ? one character, \ takes the next one as it is
    #[arg(default_value = "*", hide_default_value = true)]
    pub(crate) pattern: String,
    /// How long to wait after each list before the store is asked for the next one: 100ms to 1h
    #[arg(long, value_parser = units::interval, allow_hyphen_values = true, value_name = "DURATION", default_value = "1s")]
    pub(crate) interval: Duration,
    /// What comes first: busiest, key, held (the longest) or waiting (the most)
    #[arg(long, value_enum, default_value = "busiest", value_name = "ORDER", hide_possible_values = true)]
    pub(crate) sort: Sort,
    /// End after so many lists [default: when it is ended]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), allow_hyphen_values = true, value_name = "N")]
    pub(crate) times: Option<u64>,
}
