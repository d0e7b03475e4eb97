//! The suites that a server decides, against one server program after the other.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{Failure, Step};

/// What a server decides: each of these starts its own ones.
const SUITES: &[&str] = &[
    "conformance",
    "client",
    "model",
    "redis_verbs",
    "redis_connect",
    "redis_rights",
    "redis_examine",
    "redis_faults",
    "redis_late",
    "redis_clock",
    "redis_guard",
    "redis_replicas",
    "redis_nodes",
    "redis_sentinel",
    "redis_cluster",
];

/// `PROGRAM...`: server programs, as `/opt/redis-6.2/redis-server` or `valkey-server`. All are tried, and what failed is
/// told at the end.
pub(crate) fn matrix(args: &[String]) -> Result<(), Failure> {
    if args.is_empty() {
        return Err(Failure::own("matrix wants server programs, as /opt/valkey-9/bin/valkey-server"));
    }
    let programs = args.iter().map(|program| found(program)).collect::<Result<Vec<_>, _>>()?;
    let (mut told, mut all_passed) = (Vec::new(), true);
    for (program, version) in &programs {
        let lacks = Lacks::of(program, version)?;
        eprintln!("\n{version}{lacks}");
        let passed = suites(program, &lacks);
        all_passed &= passed.is_ok();
        told.push(match passed {
            Ok(()) => format!("{version}{lacks}: passed"),
            Err(failure) => format!("{version}{lacks}: {}", failure.what),
        });
    }
    let told = told.join("\n");
    if !all_passed {
        return Err(Failure::own(told));
    }
    println!("{told}");
    Ok(())
}

/// What a server does not have, so that what needs it is left out, and said to be.
struct Lacks {
    /// It was built without.
    tls: bool,
    /// The clusters that the store speaks to are of 7.0 or newer.
    cluster: bool,
}

impl Lacks {
    fn of(program: &Path, version: &str) -> Result<Self, Failure> {
        let number = version.split_once("v=").and_then(|(_, number)| number.split('.').next()?.parse().ok());
        let number: u32 = number.ok_or_else(|| Failure::own(format!("of which version is {version}?")))?;
        // It ends at once, either since it has nowhere to listen, or since it does not know the setting.
        let tried = Command::new(program).args(["--port", "0", "--tls-port", "0"]).output();
        let tried = tried.map_err(|error| Failure::own(format!("{}: {error}", program.display())))?;
        let said = [tried.stdout, tried.stderr].concat();
        let tls = String::from_utf8_lossy(&said).contains("Bad directive");
        Ok(Lacks { tls, cluster: number < 7 })
    }
}

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { ", without TLS" } else { "" })?;
        f.write_str(if self.cluster { ", without Cluster" } else { "" })
    }
}

/// The program itself, and what it says that it is.
fn found(program: &str) -> Result<(PathBuf, String), Failure> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&paths).map(|folder| folder.join(program));
    let place =
        if program.contains('/') { Some(program.into()) } else { places.into_iter().find(|at| at.is_file()) };
    let place: Option<PathBuf> = place.and_then(|place: PathBuf| place.canonicalize().ok());
    let place = place.ok_or_else(|| Failure::own(format!("there is no {program}")))?;
    let said = Command::new(&place).arg("--version").output().ok().filter(|said| said.status.success());
    let said = said.ok_or_else(|| Failure::own(format!("{program} does not say its version")))?;
    let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    Ok((place, format!("{version} ({program})")))
}

/// Runs the suites with this program as the `redis-server` of the PATH: that is what tests start.
fn suites(program: &Path, lacks: &Lacks) -> Result<(), Failure> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = target.join(format!("matrix-{}", std::process::id()));
    let own = |error: std::io::Error| Failure::own(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(own)?;
    let folder = folder.canonicalize().map_err(own)?;
    let outcome = script(&folder, program).map_err(own).and_then(|()| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = [folder.clone()].into_iter().chain(std::env::split_paths(&paths));
        let paths = std::env::join_paths(paths).map_err(|error| Failure::own(error.to_string()))?;
        let suites = SUITES.iter().filter(|suite| !(lacks.cluster && **suite == "redis_cluster"));
        let suites = suites.flat_map(|suite| ["--test", suite]);
        let skips = [("tls", lacks.tls), ("cluster", lacks.cluster)];
        let skips = skips.iter().filter(|(_, lacks)| *lacks).flat_map(|(name, _)| ["--skip", name]);
        Step::cargo("test")
            .args(["-p", "soloist", "--no-fail-fast"])
            .args(suites)
            .args(["--"])
            .args(skips)
            .env("PATH", &paths.to_string_lossy())
            .run()
    });
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

/// A `redis-server` that becomes the program, under the same process id: tests end their servers by it.
fn script(folder: &Path, program: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let at = folder.join("redis-server");
    let quoted = program.display().to_string().replace('\'', r"'\''");
    std::fs::write(&at, format!("#!/bin/sh\nexec '{quoted}' \"$@\"\n"))?;
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755))
}
