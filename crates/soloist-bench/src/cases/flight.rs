//! One result for 10,000 callers: all in one process, and spread over four.

use std::time::{Duration, Instant};

use soloist::{Client, Flight};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bench::{Bench, runtime};
use crate::child::{Child, ready, say};
use crate::count::{Counts, Monitor};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};
use crate::{Outcome, clock};

const PROCESSES: usize = 4;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Together)?;
    let callers = bench.size(10_000, 2_000);
    let shown = crate::row::Number(callers as f64).to_string();
    let runtime = runtime()?;
    let (mut work, mut bare_work) = (Series::default(), Series::default());
    let (mut time, mut bare_time) = (Series::default(), Series::default());
    for round in 0..bench.rounds() {
        let (took, worked) = runtime.block_on(local(bench, callers, round))?;
        time.push(took);
        work.push(worked);
        let (took, worked) = runtime.block_on(spawn_and_wake(callers))?;
        bare_time.push(took);
        bare_work.push(worked);
    }
    let title = format!("flight of {shown} callers in one process");
    let time =
        Row::new(format!("{title}: publish to the last / waking as many tasks"), "ms", time).floor(bare_time);
    let work =
        Row::new(format!("{title}: work a caller / spawn + wake of a task"), "us", work).floor(bare_work);
    report.rows.extend([time, work.goal(Of::Ours, Bound::AtMost(1.0))]);
    let (mut time, mut commands) = (Series::default(), Series::default());
    for round in 0..bench.rounds() {
        let (took, counts) = runtime.block_on(spread(bench, callers, round))?;
        time.push(took);
        commands.push(counts.sent() as f64);
    }
    let title = format!("flight of {shown} callers over {PROCESSES} processes");
    let commands = Row::new(format!("{title}: client commands"), "", commands);
    report.rows.push(Row::new(format!("{title}: publish to the last"), "ms", time));
    report.rows.push(commands.goal(Of::Ours, Bound::AtMost(PROCESSES as f64 + 1.0)));
    bench.place(Placed::Free)
}

/// Milliseconds from the publication to the last caller, and microseconds of work a caller, from its spawn on.
async fn local(bench: &Bench, callers: usize, round: usize) -> Outcome<(f64, f64)> {
    let client = Client::connect(&bench.server.url()).await?;
    let key = format!("flight:{round}");
    let Flight::Leader(leader) = client.once(&key).join::<u32>().await? else {
        return Err("a result".into());
    };
    let worked = clock::worked();
    let mut all = JoinSet::new();
    for _ in 0..callers {
        let (client, key) = (client.clone(), key.clone());
        all.spawn(async move { client.once(&key).join::<u32>().await.map(drop) });
    }
    // Each of them has been polled once: then it waits.
    tokio::task::yield_now().await;
    let began = Instant::now();
    leader.publish(7).await?;
    while let Some(done) = all.join_next().await {
        done??;
    }
    let (took, worked) = (began.elapsed(), clock::worked() - worked);
    client.close().await;
    Ok((took.as_secs_f64() * 1e3, clock::us(worked) / callers as f64))
}

/// The least that so many tasks cost: to be spawned, to wait, and to be woken.
async fn spawn_and_wake(tasks: usize) -> Outcome<(f64, f64)> {
    let worked = clock::worked();
    let (wake, waits) = watch::channel(false);
    let mut all = JoinSet::new();
    for _ in 0..tasks {
        let mut waits = waits.clone();
        all.spawn(async move { waits.wait_for(|woken| *woken).await.map(drop) });
    }
    tokio::task::yield_now().await;
    let began = Instant::now();
    wake.send(true)?;
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok((began.elapsed().as_secs_f64() * 1e3, clock::us(clock::worked() - worked) / tasks as f64))
}

/// Milliseconds from the publication to the last caller of four processes, and what clients and server said.
pub(crate) async fn spread(bench: &Bench, callers: usize, round: usize) -> Outcome<(f64, Counts)> {
    let (url, key) = (bench.server.url(), format!("spread:{round}"));
    let (each, processes) = ((callers / PROCESSES).to_string(), PROCESSES - 1);
    let words = ["follow", &url, &key, &each];
    let mut others = (0..processes).map(|_| Child::start(&words)).collect::<Outcome<Vec<_>>>()?;
    others.iter_mut().try_for_each(|child| child.expect("ready"))?;
    let (client, observer) = (Client::connect(&url).await?, Client::connect(&url).await?);
    // All scripts are known: the first use of one is asked for twice.
    client.once("spread:first").run(|| async { Outcome::Ok(7) }).await?;
    let mut monitor = Monitor::start(&bench.server).await?;
    observer.inspect(&key).await?;
    monitor.ignore_those_seen().await?;
    let Flight::Leader(leader) = client.once(&key).join::<u32>().await? else {
        return Err("a result".into());
    };
    others.iter_mut().try_for_each(|child| child.tell("go"))?;
    let mut all = JoinSet::new();
    for _ in 0..callers / PROCESSES {
        let (client, key) = (client.clone(), key.clone());
        all.spawn(async move { client.once(&key).join::<u32>().await.map(drop) });
    }
    tokio::task::yield_now().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while observer.inspect(&key).await?.waiting < processes as u64 {
        if Instant::now() > deadline {
            return Err("the followers do not come".into());
        }
    }
    let began = clock::now_ns();
    leader.publish(7).await?;
    while let Some(done) = all.join_next().await {
        done??;
    }
    let mut last = clock::now_ns();
    for child in &mut others {
        last = last.max(child.says()?.parse()?);
    }
    let counts = monitor.counts().await?;
    client.close().await;
    Ok(((last - began) as f64 / 1e6, counts))
}

/// A role: callers of a flight; says when the last of them has heard.
pub(crate) async fn follow(url: &str, key: &str, callers: usize) -> Outcome<()> {
    let client = Client::connect(url).await?;
    ready()?;
    let mut all = JoinSet::new();
    for _ in 0..callers {
        let (client, key) = (client.clone(), key.to_owned());
        all.spawn(async move { client.once(&key).join::<u32>().await.map(drop) });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    say(clock::now_ns())
}
