//! What a turn costs under contention, with few waiters and with very many: commands, messages, server time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use soloist::Client;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::bench::{Bench, runtime};
use crate::clock;
use crate::count::{self, Monitor};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};

/// How long a line may take to form, and so many turns to be had.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a turn costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) commands: f64,
    pub(crate) pushes: f64,
    pub(crate) server_us: f64,
    /// Commands that the server carried out, those of its scripts too.
    pub(crate) calls: f64,
    /// From one grant to the next, on the wall.
    pub(crate) us: f64,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Apart)?;
    let mut first = None;
    for waiters in [1, 100, bench.size(10_000, 1_000)] {
        let turn = runtime()?.block_on(with(bench, waiters, false, bench.size(2_000, 300)))?;
        let title = match waiters {
            1 => "1 waiter".to_owned(),
            many => format!("{} waiters", crate::row::Number(many as f64)),
        };
        let row =
            |what: &str, unit, value| Row::new(format!("{what} a turn, {title}"), unit, Series::one(value));
        // A count has a little room for what happens at its edges and by the clock.
        report.rows.push(row("client commands", "", turn.commands).goal(Of::Ours, Bound::AtMost(2.05)));
        report.rows.push(row("pushes", "", turn.pushes).goal(Of::Ours, Bound::AtMost(1.05)));
        report.rows.push(row("commands of the server, those of scripts too,", "", turn.calls));
        let time = row("server time", "us", turn.server_us);
        let one = *first.get_or_insert(turn.server_us);
        report.rows.push(match waiters {
            1 => time,
            _ => time.floor(Series::one(one)).goal(Of::Floor, Bound::AtMost(1.25)),
        });
    }
    let turn = runtime()?.block_on(with(bench, 100, true, bench.size(2_000, 300)))?;
    let row = |what: &str, unit, value| {
        Row::new(format!("{what} a turn in rotation, 100 waiters"), unit, Series::one(value))
    };
    report.rows.push(row("client commands", "", turn.commands).goal(Of::Ours, Bound::AtMost(1.05)));
    report.rows.push(row("pushes", "", turn.pushes).goal(Of::Ours, Bound::AtMost(1.05)));
    report.rows.push(row("commands of the server, those of scripts too,", "", turn.calls));
    report.rows.push(row("server time", "us", turn.server_us));
    bench.place(Placed::Free)
}

/// The cost of a turn while so many stand in line behind the holder: each asks again as soon as it has had its turn,
/// or in the same step.
pub(crate) async fn with(bench: &Bench, waiters: usize, rotates: bool, turns: usize) -> Outcome<Turn> {
    let client = Client::connect(&bench.server.url()).await?;
    let had = Arc::new(AtomicU64::new(0));
    let key: Arc<str> = format!("turns:{waiters}:{rotates}").into();
    let first = client.lock(&*key).await?;
    let mut all = JoinSet::<Outcome<()>>::new();
    for _ in 0..=waiters {
        let (client, key, had) = (client.clone(), Arc::clone(&key), Arc::clone(&had));
        all.spawn(async move {
            let mut lease = client.lock(&*key).await?;
            loop {
                had.fetch_add(1, Ordering::Relaxed);
                lease = if rotates {
                    client.lock(&*key).rotate(lease).await?
                } else {
                    lease.release().await?;
                    client.lock(&*key).await?
                };
            }
        });
    }
    let line = async {
        while bench_line(&client, &key).await? <= waiters as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Outcome::Ok(())
    };
    tokio::time::timeout(PATIENCE, line).await.map_err(|_| "the line did not form in time")??;
    let mut admin = bench.server.bare().await?;
    let had_now = || had.load(Ordering::Relaxed);
    let mut turned = async |from: u64| {
        let enough = async {
            while had_now() < from + turns as u64 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            Some(failed) = all.join_next() => failed??,
            done = tokio::time::timeout(PATIENCE, enough) => done.map_err(|_| "the line does not move")?,
        }
        Outcome::Ok(())
    };
    first.release().await?;
    turned(0).await?; // warm
    count::reset_time(&mut admin).await?;
    let (from, began) = (had_now(), Instant::now());
    turned(from).await?;
    let server = count::server_us(&mut admin, &["evalsha", "eval"]).await?;
    let calls = count::server_calls(&mut admin).await?;
    let (count, took) = ((had_now() - from) as f64, began.elapsed());
    let mut monitor = Monitor::start(&bench.server).await?;
    monitor.counts().await?;
    let from = had_now();
    turned(from).await?;
    let counts = monitor.counts().await?;
    let counted = (had_now() - from) as f64;
    all.shutdown().await;
    client.close().await;
    Ok(Turn {
        commands: (counts.sent() as f64) / counted,
        pushes: counts.pushes as f64 / counted,
        server_us: server / count,
        calls: calls / count,
        us: clock::us(took) / count,
    })
}

/// How many stand in line, without a list of them.
async fn bench_line(client: &Client, key: &str) -> Outcome<u64> {
    let infos = client.list(key).await?;
    Ok(infos.first().map_or(0, |info| info.waiting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_costs_the_same_in_a_short_and_in_a_long_line() {
        let bench = Bench::new(true).unwrap();
        let turn = |waiters| runtime().unwrap().block_on(with(&bench, waiters, false, 300)).unwrap();
        let (short, long) = (turn(3), turn(500));
        // A release and the next question; one message. In a short line some turns need no message: whoever asks
        // finds the key free. Some room for those who are held up so long that their hand-over is confirmed.
        for turn in [short, long] {
            assert!(turn.commands > 1.5 && turn.commands < 2.2, "{turn:?}");
            assert!(turn.pushes < 1.1, "{turn:?}");
        }
        assert!(long.pushes > 0.9, "{long:?}");
        // What the server does for a turn is counted, not timed: on a busy machine times mean little.
        assert!(long.calls > 5.0 && long.calls < 16.0, "{short:?} {long:?}");
        // In one step: one command, and the same message.
        let rotating = runtime().unwrap().block_on(with(&bench, 100, true, 300)).unwrap();
        assert!(rotating.commands > 0.9 && rotating.commands < 1.1, "{rotating:?}");
        assert!(rotating.pushes > 0.9 && rotating.pushes < 1.1, "{rotating:?}");
        assert!(rotating.calls < long.calls, "{rotating:?} {long:?}");
    }
}
