//! Many tasks of few processes that take turns at one key, and hand it to each other within a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use soloist::Client;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::bench::{Bench, runtime};
use crate::child::{ready, say, start_all};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};

const PROCESSES: usize = 4;
const TASKS: usize = 16;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Together)?;
    for (members, goal) in [(8, 200_000.0), (64, 1_000_000.0)] {
        let (mut rate, mut fair, mut floor) = (Series::default(), Series::default(), Series::default());
        for round in 0..bench.rounds() {
            let rates = among(bench, &format!("cohort:{members}:{round}"), members)?;
            let (sum, squares) =
                (rates.iter().sum::<f64>(), rates.iter().map(|rate| rate * rate).sum::<f64>());
            rate.push(sum);
            fair.push(sum * sum / (rates.len() as f64 * squares));
            floor.push(runtime()?.block_on(mutex(bench.window()))?);
        }
        let title = format!("cohort of {members}, {TASKS} tasks in each of {PROCESSES} processes");
        let rate =
            Row::new(format!("grants / tokio's Mutex in one process, {title}"), "1/s", rate).floor(floor);
        let fair = Row::new(format!("Jain's index of the processes, {title}"), "", fair);
        report
            .rows
            .extend([rate.goal(Of::Ours, Bound::AtLeast(goal)), fair.goal(Of::Ours, Bound::AtLeast(0.99))]);
    }
    bench.place(Placed::Free)
}

/// The grants a second of each process.
fn among(bench: &Bench, key: &str, members: u8) -> Outcome<Vec<f64>> {
    let (url, millis) = (bench.server.url(), bench.window().as_millis().to_string());
    let words = |_| ["cohort", &url, key, &members.to_string(), &millis].map(str::to_owned).to_vec();
    let mut children = start_all((0..PROCESSES).map(words))?;
    children.iter_mut().map(|child| Ok(child.says()?.parse()?)).collect()
}

/// How often a second it was counted, without the first tenth of the time.
async fn counted(count: &AtomicU64, window: Duration) -> f64 {
    tokio::time::sleep(window / 10).await;
    let (from, began) = (count.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(window).await;
    (count.load(Ordering::Relaxed) - from) as f64 / began.elapsed().as_secs_f64()
}

/// A role: tasks that take a key and return it at once; says how often a second.
pub(crate) async fn in_cohort(url: &str, key: &str, members: u8, window: Duration) -> Outcome<()> {
    let client = Client::connect(url).await?;
    let (count, key): (Arc<AtomicU64>, Arc<str>) = (Arc::default(), key.into());
    let mut all = JoinSet::<Outcome<()>>::new();
    ready()?;
    for _ in 0..TASKS {
        let (client, count, key) = (client.clone(), Arc::clone(&count), Arc::clone(&key));
        all.spawn(async move {
            loop {
                let lease = client.lock(&*key).cohort(members).await?;
                count.fetch_add(1, Ordering::Relaxed);
                lease.release().await?;
            }
        });
    }
    let rate = tokio::select! {
        // None of them ends by itself, except by a failure.
        Some(failed) = all.join_next() => return failed?,
        rate = counted(&count, window) => rate,
    };
    all.shutdown().await;
    client.close().await;
    say(rate)
}

/// The least that so many tasks cost: a lock that knows of no other process.
async fn mutex(window: Duration) -> Outcome<f64> {
    let (count, mutex): (Arc<AtomicU64>, Arc<tokio::sync::Mutex<()>>) = (Arc::default(), Arc::default());
    let mut all = JoinSet::new();
    for _ in 0..TASKS {
        let (count, mutex) = (Arc::clone(&count), Arc::clone(&mutex));
        all.spawn(async move {
            loop {
                let held = mutex.lock().await;
                count.fetch_add(1, Ordering::Relaxed);
                drop(held);
            }
        });
    }
    let rate = counted(&count, window).await;
    all.shutdown().await;
    Ok(rate)
}
