//! What Soloist costs, measured beside the least that the same machine does (the floor) and beside another
//! lock (the rival): `cargo xtask bench`. docs/performance.md has the method and the numbers.

mod alloc;
mod args;
mod bench;
mod cases;
mod child;
mod clock;
mod count;
mod cpu;
mod delay;
mod docs;
mod growth;
mod plot;
mod report;
mod roles;
mod row;
mod server;
mod store;
mod turns;

use std::process::ExitCode;

use args::Args;
use bench::Bench;
use report::Report;

/// Whatever keeps a case from running.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == roles::FLAG) {
        words.remove(0);
        return match roles::play(&words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {words:?}: {error}");
                // An error means that the bench has ended.
                let _ = child::say_failed(&error);
                ExitCode::FAILURE
            }
        };
    }
    let args = match Args::parse(words) {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}\n\n{}", args::HELP);
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for. `false`: a case could not run or, where that was asked, missed its goal.
fn run(args: &Args) -> Outcome<bool> {
    if args.help {
        println!("{}", args::HELP);
        cases::ALL.iter().for_each(|case| println!("  {:<16}{}", case.name, case.about));
        return Ok(true);
    }
    let chosen: Vec<_> = cases::ALL.iter().filter(|case| args.wants(case.name)).collect();
    let bench = Bench::new(args.quick)?;
    let mut report = Report::new(&bench);
    for case in chosen {
        eprintln!("running {}: {}", case.name, case.about);
        if let Err(error) = (case.run)(&bench, &mut report) {
            eprintln!("error: {} could not run: {error}", case.name);
            report.broken.push(format!("{}: {error}", case.name));
        }
    }
    report.print();
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()).map_err(|error| format!("{path}: {error}"))?;
    }
    if let Some(folder) = &args.docs {
        docs::write(folder.as_ref(), &report)?;
    }
    Ok(report.broken.is_empty() && !(args.check && report.missed()))
}
