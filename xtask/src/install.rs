//! What the tests need from the system, installed by its own package manager.

use std::process::Command;

use crate::steps::{Failure, Step, has};

/// A package manager: how it is recognised, and the commands that install a Redis or Valkey server.
struct Manager {
    program: &'static str,
    as_root: bool,
    commands: &'static [&'static [&'static str]],
}

const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        as_root: true,
        commands: &[&["update", "-qq"], &["install", "-y", "-qq", "redis-server"]],
    },
    Manager { program: "dnf", as_root: true, commands: &[&["install", "-y", "-q", "redis"]] },
    Manager { program: "apk", as_root: true, commands: &[&["add", "--quiet", "redis"]] },
    Manager { program: "brew", as_root: false, commands: &[&["install", "--quiet", "redis"]] },
];

/// Makes sure that there is a `redis-server`. The tests start and end their own; none needs to run.
pub(crate) fn redis_server() -> Result<(), Failure> {
    if has("redis-server", &["--version"]) {
        return Ok(());
    }
    let found = MANAGERS.iter().find(|manager| has(manager.program, &["--version"]));
    let Some(manager) = found else {
        return Err(missing("none of apt-get, dnf, apk and brew is here to install it"));
    };
    let sudo = manager.as_root && !is_root();
    if sudo && !has("sudo", &["--version"]) {
        return Err(missing("installing it needs root, and there is no sudo"));
    }
    eprintln!("redis-server is missing; installing it with {}", manager.program);
    let last = manager.commands.len() - 1;
    for (at, args) in manager.commands.iter().enumerate() {
        let front = ["DEBIAN_FRONTEND=noninteractive", manager.program];
        // By `env`, since sudo passes on no variables of ours.
        let step = if sudo { Step::new("sudo").args(["env"]) } else { Step::new("env") };
        match step.args(front).args(args.iter().copied()).run() {
            Ok(()) => {}
            // A list of packages that could not be refreshed may be good enough; the install will tell.
            Err(failure) if at < last => eprintln!("note: {}", failure.what),
            Err(failure) => return Err(missing(&failure.what)),
        }
    }
    if has("redis-server", &["--version"]) {
        return Ok(());
    }
    Err(missing("it was installed, but is not on the PATH"))
}

fn missing(why: &str) -> Failure {
    let way_out =
        "install Redis or Valkey (6.2 or newer) so that `redis-server` is on the PATH, and run again";
    Failure::own(format!("the tests need redis-server: {why}\nhint: {way_out}"))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
