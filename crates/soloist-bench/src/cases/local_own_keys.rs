//! 32 processes on the local store, each on a key of its own: all together, and whether they are served alike. Beside as many
//! that do the bare system calls: how the system shares its CPUs out is in both.

use std::path::Path;
use std::time::{Duration, Instant};

use soloist::Client;

use super::local_cycle::Block;
use crate::bench::Bench;
use crate::child::{ready, say, start_all};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};
use crate::{Outcome, clock};

const PROCESSES: usize = 32;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Free)?;
    // Long, so that the system's own turns of a few milliseconds even out.
    let millis = if bench.quick { "300" } else { "1500" };
    let [mut rate, mut fair, mut alike] = <[Series; 3]>::default();
    let [mut floor_rate, mut floor_fair, mut floor_alike] = <[Series; 3]>::default();
    let url = bench.local("own");
    for _ in 0..bench.size(5, 2) {
        let ours = among(|process| ["own-key", &url, &format!("own:{process}"), millis].map(str::to_owned))?;
        rate.push(ours.rate);
        fair.push(ours.fair);
        alike.push(ours.alike);
        let file = |process| bench.dir.path().join(format!("own-{process}")).to_string_lossy().into_owned();
        let floor = among(|process| ["own-block".into(), file(process), millis.into()])?;
        floor_rate.push(floor.rate);
        floor_fair.push(floor.fair);
        floor_alike.push(floor.alike);
    }
    let title = format!("local store, {PROCESSES} processes on their own keys");
    let rate = Row::new(format!("{title}: cycles, all CPUs"), "1/s", rate).floor(floor_rate);
    let fair = Row::new(format!("{title}: Jain's index"), "", fair).floor(floor_fair);
    let alike = Row::new(format!("{title}: Jain's index of the cycles in a second of CPU time"), "", alike);
    report.rows.push(rate.goal(Of::Ours, Bound::AtLeast(500_000.0)));
    report.rows.push(fair.goal(Of::Ours, Bound::AtLeast(0.95)));
    report.rows.push(alike.floor(floor_alike));
    Ok(())
}

/// What processes have done that each had something of its own.
struct Shares {
    /// Cycles a second, of all.
    rate: f64,
    /// Jain's index of the cycles: what the store and the system's scheduler make of it.
    fair: f64,
    /// Jain's index of the cycles for the CPU time that each had: what the store makes of it.
    alike: f64,
}

fn among<const N: usize>(words: impl Fn(usize) -> [String; N]) -> Outcome<Shares> {
    let mut children = start_all((0..PROCESSES).map(|process| words(process).to_vec()))?;
    let (mut rates, mut by_work) = (Vec::new(), Vec::new());
    for child in &mut children {
        let said = child.says()?;
        let (rate, work) = said.split_once(' ').ok_or("a process said something else")?;
        let (rate, work) = (rate.parse::<f64>()?, work.parse::<f64>()?);
        rates.push(rate);
        by_work.push(rate / work);
    }
    Ok(Shares { rate: rates.iter().sum(), fair: jain(&rates), alike: jain(&by_work) })
}

/// Jain's index: 1 when all have the same, 1/n when one has everything.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>())
}

/// A role: locks and releases one key for so long, and says how often a second, and how much of a CPU it had.
pub(crate) async fn own_key(url: &str, key: &str, millis: u64) -> Outcome<()> {
    let client = Client::connect(url).await?;
    client.lock(key).await?.release().await?;
    ready()?;
    let said = cycles(millis, async || Ok(client.lock(key).await?.release().await?)).await?;
    client.close().await;
    say(said)
}

/// A role: the same with the bare system calls on a file.
pub(crate) async fn own_block(file: &str, millis: u64) -> Outcome<()> {
    let block = Block::new(Path::new(file))?;
    ready()?;
    say(cycles(millis, async || block.cycle()).await?)
}

async fn cycles(millis: u64, cycle: impl AsyncFn() -> Outcome<()>) -> Outcome<String> {
    let (began, worked, mut done) = (Instant::now(), clock::worked(), 0_u32);
    while began.elapsed() < Duration::from_millis(millis) {
        cycle().await?;
        done += 1;
    }
    let (took, worked) = (began.elapsed().as_secs_f64(), (clock::worked() - worked).as_secs_f64());
    Ok(format!("{} {}", f64::from(done) / took, worked / took))
}

#[cfg(test)]
mod tests {
    #[test]
    fn jains_index_says_who_has_what() {
        assert_eq!(super::jain(&[2.0, 2.0, 2.0, 2.0]), 1.0);
        assert_eq!(super::jain(&[8.0, 0.0, 0.0, 0.0]), 0.25);
    }
}
