//! A result that is kept, read again.

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
    client.close().await;
    Ok(vec![
        Row::new("kept result read again / a hash map", "us", ours)
            .floor(floor)
            .goal(Of::Ours, Bound::AtMost(1.0)),
        Row::new("client commands a read of a kept result", "", commands).goal(Of::Ours, Bound::AtMost(0.0)),
    ])
}
