//! The main job on a local store of its own: one result for twenty processes, and one lock for twenty more.

use std::env::consts::EXE_SUFFIX;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::steps::{Failure, Step};

const FLEET: usize = 20;

/// Builds the program and runs both halves of the main job in a folder of their own.
pub(crate) fn demo() -> Result<(), Failure> {
    Step::cargo("build").args(["--release", "-p", "soloist-cli"]).run()?;
    exercise().map_err(Failure::own)
}

fn exercise() -> Result<(), String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let soloist = target.join("release").join(format!("soloist{EXE_SUFFIX}"));
    let soloist = soloist.canonicalize().map_err(|error| format!("{}: {error}", soloist.display()))?;
    let folder = target.join(format!("demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let outcome = once(&soloist, &folder).and_then(|()| run(&soloist, &folder));
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

fn once(soloist: &Path, folder: &Path) -> Result<(), String> {
    println!("{FLEET} processes ask for one result:");
    let work = "echo ran >>count.txt; sleep 1; echo result";
    let out = all(soloist, folder, &["once", "demo-report", "--", "sh", "-c", work])?;
    let runs = read(folder, "count.txt")?.lines().count();
    let results = out.iter().filter(|out| *out == "result\n").count();
    println!("  {runs} of them ran the command, {results} of them printed its result");
    if (runs, results) == (1, FLEET) { Ok(()) } else { Err("that is not work-once".into()) }
}

fn run(soloist: &Path, folder: &Path) -> Result<(), String> {
    println!("{FLEET} processes add one to a number, reading, pausing and writing:");
    std::fs::write(folder.join("number.txt"), "0").map_err(|error| error.to_string())?;
    let add = "n=$(cat number.txt); sleep 0.05; echo $((n + 1)) >number.txt";
    all(soloist, folder, &["run", "demo-counter", "--", "sh", "-c", add])?;
    let number = read(folder, "number.txt")?.trim().to_string();
    println!("  the number is {number}");
    if number == FLEET.to_string() { Ok(()) } else { Err("some have worked at the same time".into()) }
}

/// Runs the whole fleet at once, and answers what each printed.
fn all(soloist: &Path, folder: &Path, args: &[&str]) -> Result<Vec<String>, String> {
    let start = |_| {
        let mut command = Command::new(soloist);
        command.args(args).current_dir(folder).stdout(Stdio::piped());
        // The keys of whoever runs this, and his own store, are none of its business.
        command
            .env("SOLOIST_STORE", format!("local:{}", folder.join("store").display()))
            .env_remove("SOLOIST_PREFIX");
        command.spawn().map_err(|error| format!("{}: {error}", soloist.display()))
    };
    let fleet = (0..FLEET).map(start).collect::<Result<Vec<Child>, _>>()?;
    let end = |child: Child| {
        let out = child.wait_with_output().map_err(|error| error.to_string())?;
        if out.status.success() {
            Ok(String::from_utf8_lossy(&out.stdout).into_owned())
        } else {
            Err(format!("soloist ended with {}", out.status))
        }
    };
    fleet.into_iter().map(end).collect()
}

fn read(folder: &Path, name: &str) -> Result<String, String> {
    std::fs::read_to_string(folder.join(name)).map_err(|error| format!("{name}: {error}"))
}
