//! A whole process: `soloist run k -- true` on the local store, beside `flock FILE true`.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Outcome;
use crate::bench::Bench;
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let soloist = std::env::current_exe()?.with_file_name("soloist");
    if !soloist.exists() {
        return Err(format!("{} is missing: cargo xtask bench builds it", soloist.display()).into());
    }
    bench.place(Placed::Together)?;
    let (mut ours, mut floor) = (Series::default(), Series::default());
    for _ in 0..bench.rounds() {
        let times = bench.size(20, 5);
        let mut run = Command::new(&soloist);
        run.args(["run", "k", "--", "true"]).env("SOLOIST_STORE", bench.local("program"));
        ours.push(each(run, times)?);
        let mut flock = Command::new("flock");
        flock.arg(bench.dir.path().join("flock")).arg("true");
        floor.push(each(flock, times)?);
    }
    let row = Row::new("soloist run k -- true / flock FILE true", "ms", ours).floor(floor);
    report.rows.push(row.goal(Of::Floor, Bound::AtMost(1.5)));
    bench.place(Placed::Free)
}

/// Milliseconds of one run.
fn each(mut command: Command, times: usize) -> Outcome<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    for _ in 0..times {
        let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
        if !status.success() {
            return Err(format!("{command:?}: {status}").into());
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1e3 / times as f64)
}
