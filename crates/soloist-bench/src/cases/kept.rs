//! A result that is kept, read again: from the store, and from the process's own memory.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use soloist::Client;

use crate::Outcome;
use crate::bench::{Bench, runtime};
use crate::clock;
use crate::count::Monitor;
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Together)?;
    report.rows.extend(runtime()?.block_on(measure(bench))?);
    bench.place(Placed::Free)
}

async fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    let client = Client::connect(&bench.server.url()).await?;
    let once = || client.once("kept").keep(Duration::from_secs(3600));
    once().run(|| async { Outcome::Ok(7_u32) }).await?;
    let map: HashMap<String, u32> = (0..1000).map(|key| (format!("key:{key}"), key)).collect();
    let (mut ours, mut floor) = (Series::default(), Series::default());
    let read = async || {
        let again = || async { Outcome::<u32>::Err("computed again".into()) };
        once().run(again).await
    };
    for _ in 0..bench.rounds() {
        let (began, mut times) = (Instant::now(), 0);
        while began.elapsed() < bench.window() {
            read().await?;
            times += 1;
        }
        ours.push(clock::us(began.elapsed()) / f64::from(times));
        const READS: u32 = 200_000;
        let began = Instant::now();
        for _ in 0..READS {
            black_box(map.get(black_box("key:500")));
        }
        floor.push(clock::us(began.elapsed()) / f64::from(READS));
    }
    let times = 100;
    let mut monitor = Monitor::start(&bench.server).await?;
    for _ in 0..times {
        read().await?;
    }
    let commands = Series::one(monitor.counts().await?.sent() as f64 / f64::from(times));
    // The same with the cache of the process: what is read at once after the first may still be asked for.
    let cached = Client::builder().result_cache(1000, 1 << 20).connect(&bench.server.url()).await?;
    let read = async || {
        let again = || async { Outcome::<u32>::Err("computed again".into()) };
        cached.once("kept").run(again).await
    };
    let warm = Instant::now();
    while warm.elapsed() < Duration::from_millis(100) {
        read().await?;
        tokio::task::yield_now().await;
    }
    let mut here = Series::default();
    for _ in 0..bench.rounds() {
        const READS: u32 = 100_000;
        let began = Instant::now();
        for number in 0..READS {
            read().await?;
            if number % 1000 == 0 {
                // The connection that hears is on the same thread.
                tokio::task::yield_now().await;
            }
        }
        here.push(clock::us(began.elapsed()) / f64::from(READS));
    }
    let times = 10_000;
    monitor.counts().await?;
    for number in 0..times {
        read().await?;
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let asked = Series::one(monitor.counts().await?.sent() as f64 / f64::from(times));
    client.close().await;
    cached.close().await;
    Ok(vec![
        Row::new("kept result read again, cache switched on / a hash map", "us", here)
            .floor(floor.clone())
            .goal(Of::Ours, Bound::AtMost(1.0)),
        Row::new("client commands a read of a kept result, cache switched on", "", asked)
            .goal(Of::Ours, Bound::AtMost(0.001)),
        // What it costs without the cache, to compare with.
        Row::new("kept result read again, no cache / a hash map", "us", ours).floor(floor),
        Row::new("client commands a read of a kept result, no cache", "", commands),
    ])
}
