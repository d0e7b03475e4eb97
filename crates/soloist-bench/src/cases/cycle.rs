//! Uncontended lock + release on Redis: one task, and many tasks on keys of their own over one client.

use std::time::{Duration, Instant};

use soloist::Client;
use tokio::task::JoinSet;

use crate::bench::{Bench, runtime};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};
use crate::store::{Bare, rival, rival_cycle};
use crate::{Outcome, clock};

/// How deep the floor's pipelines are.
const DEEP: usize = 64;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    for placed in bench.cpus.placements() {
        for tasks in [1, 64, 1024] {
            bench.place(placed)?;
            report.rows.extend(runtime()?.block_on(measure(bench, placed, tasks))?);
        }
    }
    bench.place(Placed::Free)
}

async fn measure(bench: &Bench, placed: Placed, tasks: usize) -> Outcome<Vec<Row>> {
    let url = bench.server.url();
    let client = Client::connect(&url).await?;
    let bare = Bare::new(bench.server.bare().await?);
    let rival = rival(&url).await?;
    let (mut ours, mut floor, mut theirs) = (Series::default(), Series::default(), Series::default());
    let (mut our_work, mut floor_work, mut rival_work) =
        (Series::default(), Series::default(), Series::default());
    for round in 0..=bench.rounds() {
        let window = bench.window();
        let (rate, work) = ours_of(&client, tasks, window).await?;
        let one = |task: usize| {
            let (rival, key) = (rival.clone(), format!("rival:{task}"));
            move || {
                let (rival, key) = (rival.clone(), key.clone());
                async move { rival_cycle(&rival, &key).await }
            }
        };
        let (their_rate, their_work) = many(tasks, window, one).await?;
        let (floor_rate, floor_cost) = floor_of(&bare, tasks, window).await?;
        // The first round only warms up.
        if round > 0 {
            [&mut ours, &mut floor, &mut theirs]
                .into_iter()
                .zip([rate, floor_rate, their_rate])
                .for_each(|(series, value)| series.push(value));
            [&mut our_work, &mut floor_work, &mut rival_work]
                .into_iter()
                .zip([work, floor_cost, their_work])
                .for_each(|(series, value)| series.push(value));
        }
    }
    client.close().await;
    let name = named(tasks);
    let rate = Row::new(format!("lock + release, {name}, {placed}"), "1/s", ours).floor(floor).rival(theirs);
    let rate = match tasks {
        1 => rate.goal(Of::Floor, Bound::AtLeast(0.95)),
        _ => rate.goal(Of::Floor, Bound::AtLeast(0.8)).goal(Of::Rival, Bound::AtLeast(1.3)),
    };
    let mut rows = vec![rate];
    if placed == Placed::Together {
        let work = Row::new(format!("the same: work of the client, {name}"), "us", our_work);
        rows.push(work.floor(floor_work).rival(rival_work));
    }
    Ok(rows)
}

/// So many tasks, as rows name them.
pub(crate) fn named(tasks: usize) -> String {
    if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks, one client") }
}

/// The cycles of so many tasks, each on a key of its own.
pub(crate) async fn ours_of(client: &Client, tasks: usize, window: Duration) -> Outcome<(f64, f64)> {
    let one = |task: usize| {
        let (client, key) = (client.clone(), format!("cycle:{task}"));
        move || {
            let (client, key) = (client.clone(), key.clone());
            async move { Ok(client.lock(&key).await?.release().await?) }
        }
    };
    many(tasks, window, one).await
}

/// The floor of so many tasks.
pub(crate) async fn floor_of(bare: &Bare, tasks: usize, window: Duration) -> Outcome<(f64, f64)> {
    if tasks == 1 { alone(bare, window).await } else { piped(bare, window).await }
}

/// Cycles a second of so many tasks, and the microseconds that this process worked for each.
async fn many<C, F>(tasks: usize, window: Duration, one: impl Fn(usize) -> C) -> Outcome<(f64, f64)>
where
    C: Fn() -> F + Send + 'static,
    F: Future<Output = Outcome<()>> + Send,
{
    let (began, worked) = (Instant::now(), clock::worked());
    let mut all = JoinSet::new();
    for task in 0..tasks {
        let cycle = one(task);
        all.spawn(async move {
            let mut done = 0_u64;
            while began.elapsed() < window {
                cycle().await?;
                done += 1;
            }
            Outcome::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(count) = all.join_next().await {
        done += count??;
    }
    Ok(per_cycle(done, began, worked))
}

/// The floor of one task.
async fn alone(bare: &Bare, window: Duration) -> Outcome<(f64, f64)> {
    let one = |_| {
        let bare = bare.clone();
        move || {
            let mut bare = bare.clone();
            async move { bare.cycle("bare").await }
        }
    };
    many(1, window, one).await
}

/// The floor of many tasks: pipelines, one after the other.
async fn piped(bare: &Bare, window: Duration) -> Outcome<(f64, f64)> {
    let mut bare = bare.clone();
    bare.cycle("bare").await?; // the server knows the script
    let keys: Vec<String> = (0..DEEP).map(|key| format!("bare:{key}")).collect();
    let (began, worked) = (Instant::now(), clock::worked());
    let mut done = 0;
    while began.elapsed() < window {
        bare.cycles(&keys).await?;
        done += DEEP as u64;
    }
    Ok(per_cycle(done, began, worked))
}

fn per_cycle(done: u64, began: Instant, worked: Duration) -> (f64, f64) {
    let rate = done as f64 / began.elapsed().as_secs_f64();
    (rate, clock::us(clock::worked() - worked) / done as f64)
}
