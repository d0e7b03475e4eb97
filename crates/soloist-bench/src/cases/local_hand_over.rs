//! From one process to the next on the local store, beside a ping-pong through two FIFOs.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::hand_over::{among, pair};
use crate::Outcome;
use crate::bench::Bench;
use crate::child::{ready, say};
use crate::clock::now_ns;
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    for placed in bench.cpus.placements() {
        // There is no server: on two CPUs the processes go where the system puts them.
        let placed = if placed == Placed::Together { placed } else { Placed::Free };
        bench.place(placed)?;
        for processes in [8, 32] {
            let [mut p50, mut rate, mut rotating_p50, mut rotations, mut hop] =
                [(); 5].map(|()| Series::default());
            for round in 0..bench.rounds() {
                let key = format!("hand-over:{placed}:{processes}:{round}");
                let ours = among(bench, "ours", &bench.local("hand-over"), &key, processes, 1)?;
                p50.push(ours.p50);
                rate.push(ours.rate);
                hop.push(ping_pong(bench)?);
                let key = format!("rotation:{placed}:{processes}:{round}");
                let rotating = among(bench, "rotating", &bench.local("hand-over"), &key, processes, 1)?;
                rotating_p50.push(rotating.p50);
                rotations.push(rotating.rate);
            }
            let title = format!("{processes} processes, {placed}");
            let time = |what: &str, ours| {
                let row = Row::new(format!("{what} p50 / FIFO hop, {title}"), "us", ours).floor(hop.clone());
                row.goal(Of::Floor, Bound::AtMost(5.0))
            };
            report.rows.push(time("local hand-over", p50));
            report.rows.push(time("local hand-over in a rotation,", rotating_p50));
            report.rows.push(Row::new(format!("local hand-overs, {title}"), "1/s", rate));
            report.rows.push(Row::new(format!("local rotations, {title}"), "1/s", rotations));
        }
    }
    bench.place(Placed::Free)
}

/// Microseconds that a byte takes from one process to the other.
fn ping_pong(bench: &Bench) -> Outcome<f64> {
    let [there, back] = ["there", "back"].map(|name| bench.dir.path().join(name));
    for path in [&there, &back] {
        if !path.exists() {
            mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        }
    }
    let millis = bench.window().as_millis().to_string();
    let words = |from: &Path, to: &Path, first: &str| {
        let [from, to] = [from, to].map(|path| path.to_string_lossy().into_owned());
        ["fifo", &from, &to, first, &millis].map(str::to_owned).to_vec()
    };
    let mut both = pair(words(&back, &there, "first"), words(&there, &back, "second"))?;
    let hops = both.iter_mut().map(|child| Ok(child.says()?.parse::<f64>()?)).collect::<Outcome<Vec<_>>>()?;
    Ok(hops.iter().sum::<f64>() / hops.len() as f64)
}

/// A role: sends each message on, with the time, and says how long they took.
pub(crate) fn fifo(from: &str, to: &str, first: bool, millis: u64) -> Outcome<()> {
    // Both ends open for both directions: nobody waits for the other to open his.
    let open = |path: &str| File::options().read(true).write(true).open(path);
    let (mut from, mut to) = (open(from)?, open(to)?);
    let mut took = Vec::new();
    ready()?;
    let end = now_ns() + millis * 1_000_000;
    if first {
        to.write_all(&now_ns().to_be_bytes())?;
    }
    // The first ends it with a zero, which the second returns.
    loop {
        let mut sent = [0; 8];
        from.read_exact(&mut sent)?;
        let (sent, now) = (u64::from_be_bytes(sent), now_ns());
        if sent == 0 {
            if !first {
                to.write_all(&[0; 8])?;
            }
            break;
        }
        took.push(now.saturating_sub(sent));
        let next = if first && now > end { 0 } else { now_ns() };
        to.write_all(&next.to_be_bytes())?;
    }
    took.sort_unstable();
    let half = took.get(took.len() / 2).ok_or("no message has arrived")?;
    say(*half as f64 / 1e3)
}
