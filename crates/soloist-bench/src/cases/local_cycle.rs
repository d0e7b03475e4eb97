//! Uncontended lock + release on the local store, beside the system calls that it cannot do without.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use soloist::Client;

use crate::bench::{Bench, runtime};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};
use crate::{Outcome, clock};

const BLOCK: usize = 4096;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Together)?;
    report.rows.extend(runtime()?.block_on(measure(bench))?);
    bench.place(Placed::Free)
}

/// A file that is locked, read, written and unlocked.
pub(crate) struct Block(File);

impl Block {
    pub(crate) fn new(path: &Path) -> Outcome<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&[0; BLOCK], 0)?;
        Ok(Block(file))
    }

    pub(crate) fn cycle(&self) -> Outcome<()> {
        let mut bytes = [0; BLOCK];
        flock(&self.0, FlockOperation::LockExclusive)?;
        self.0.read_exact_at(&mut bytes, 0)?;
        self.0.write_all_at(&bytes, 0)?;
        Ok(flock(&self.0, FlockOperation::Unlock)?)
    }
}

/// Cycles a second, and the microseconds that this process worked for each.
async fn cycles(bench: &Bench, cycle: impl AsyncFn() -> Outcome<()>) -> Outcome<[f64; 2]> {
    let (began, worked, mut done) = (Instant::now(), clock::worked(), 0);
    while began.elapsed() < bench.window() {
        cycle().await?;
        done += 1;
    }
    let work = clock::us(clock::worked() - worked) / f64::from(done);
    Ok([f64::from(done) / began.elapsed().as_secs_f64(), work])
}

async fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    let client = Client::connect(&bench.local("cycle")).await?;
    let memory = Client::connect("memory:").await?;
    let block = Block::new(&bench.dir.path().join("block"))?;
    let mut series: [Series; 6] = Default::default();
    let mut open = Series::default();
    for round in 0..=bench.rounds() {
        let ours = cycles(bench, async || Ok(client.lock("alone").await?.release().await?)).await?;
        let floor = cycles(bench, async || block.cycle()).await?;
        let alone = cycles(bench, async || Ok(memory.lock("alone").await?.release().await?)).await?;
        let times = bench.size(50, 10);
        let began = Instant::now();
        for _ in 0..times {
            let client = Client::connect(&bench.local("cycle")).await?;
            client.lock("alone").await?.release().await?;
            client.close().await;
        }
        if round > 0 {
            open.push(clock::us(began.elapsed()) / times as f64);
            let values = ours.into_iter().chain(floor).chain(alone);
            series.iter_mut().zip(values).for_each(|(series, value)| series.push(value));
        }
    }
    client.close().await;
    memory.close().await;
    let [ours, our_work, floor, floor_work, _, memory_work] = series;
    let cycle = Row::new("local lock + release / flock + pread + pwrite of 4 KiB", "1/s", ours).floor(floor);
    Ok(vec![
        cycle.goal(Of::Floor, Bound::AtLeast(0.7)),
        Row::new("the same: work", "us", our_work).floor(floor_work),
        Row::new("the same in memory: the client's own part of the work", "us", memory_work),
        Row::new("local store: open, lock, release, close", "us", open),
    ])
}
