//! How cost grows: with waiters, held keys, processes, and the size of a result. Flat where the promise is O(1).

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use soloist::{Client, Error, Lease, Moment, Raw};

use crate::bench::{Bench, runtime};
use crate::cases::{among, with_waiters};
use crate::cpu::Placed;
use crate::report::{Report, table};
use crate::row::Number;
use crate::{Outcome, clock, count};

/// How long a step of a curve may take before the curve ends there.
const PATIENCE: Duration = Duration::from_secs(60);
/// A lease that lives longer than this has been renewed.
const LIFTED: Duration = Duration::from_secs(5);

/// A group of lines over the same values.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) title: &'static str,
    /// What grows.
    pub(crate) over: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) names: Vec<&'static str>,
    /// What grew, and the value of each line there.
    pub(crate) points: Vec<(f64, Vec<f64>)>,
}

impl Curve {
    fn new(title: &'static str, over: &'static str, names: &[&'static str]) -> Self {
        Curve { title, over, unit: "us", names: names.to_vec(), points: Vec::new() }
    }

    pub(crate) fn table(&self) -> String {
        let head = [self.over].into_iter().chain(self.names.iter().copied());
        let head = head.enumerate().map(|(at, name)| match at {
            0 => name.to_owned(),
            _ => format!("{name}, {}", self.unit),
        });
        let mut lines = vec![head.collect::<Vec<_>>()];
        lines.extend(self.points.iter().map(|(over, values)| {
            let cells = [*over].into_iter().chain(values.iter().copied());
            cells.map(|value| Number(value).to_string()).collect()
        }));
        table(&lines)
    }

    pub(crate) fn json(&self) -> Value {
        let points = self.points.iter().map(|(over, values)| json!([over, values])).collect::<Vec<_>>();
        json!({"title": self.title, "over": self.over, "unit": self.unit, "lines": self.names, "points": points})
    }
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Apart)?;
    report.curves.push(waiters(bench)?);
    report.curves.push(runtime()?.block_on(keys(bench))?);
    report.curves.push(runtime()?.block_on(sizes(bench))?);
    bench.place(Placed::Together)?;
    report.curves.push(processes(bench)?);
    bench.place(Placed::Free)
}

fn waiters(bench: &Bench) -> Outcome<Curve> {
    let names = ["server time of a turn", "a turn on the wall"];
    let mut curve = Curve::new("Turns of one key, by the length of its line", "waiters", &names);
    for count in [1, 10, 100, 1_000, bench.size(10_000, 2_000)] {
        let turn = runtime()?.block_on(with_waiters(bench, count, false, bench.size(1_000, 200)))?;
        curve.points.push((count as f64, vec![turn.server_us, turn.us]));
    }
    Ok(curve)
}

/// An uncontended cycle while its client holds so many other keys.
async fn keys(bench: &Bench) -> Outcome<Curve> {
    let names =
        ["server time of a cycle in all, with the renewals", "a cycle on the wall", "to take one more key"];
    let mut curve = Curve::new("Lock + release, by the keys that the client holds", "keys held", &names);
    let mut admin = bench.server.bare().await?;
    let client = Client::connect(&bench.server.url()).await?;
    let mut held = Vec::new();
    for count in [1, 10, 100, 1_000, 10_000, bench.size(100_000, 20_000)] {
        let (began, before) = (Instant::now(), held.len());
        let client = &client;
        let more = stream::iter(before..count)
            .map(|number| async move { Outcome::Ok(client.lock(format!("held:{number}")).await?) })
            .buffered(64)
            .try_collect::<Vec<_>>();
        // A client whose cost grows with its leases would take hours for the last of these.
        let Ok(more) = tokio::time::timeout(PATIENCE, more).await else { break };
        held.extend(more?);
        let taking = clock::us(began.elapsed()) / (count - before) as f64;
        // They are taken for a short life, which the first renewal lifts a second later: how often each is renewed from
        // then on is what is meant.
        let is_new = |lease: &Lease| lease.deadline().is_some_and(|end| end.since(Moment::now()) < LIFTED);
        while held.iter().any(is_new) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let before = count::server_cpu_us(&mut admin).await?;
        let (began, mut times) = (Instant::now(), 0_u32);
        while began.elapsed() < bench.window() * 2 {
            client.lock("one more").await?.release().await?;
            times += 1;
        }
        let us = clock::us(began.elapsed()) / f64::from(times);
        let server = (count::server_cpu_us(&mut admin).await? - before) / f64::from(times);
        curve.points.push((count as f64, vec![server, us, taking]));
    }
    // Not one by one: the server is the bench's own.
    redis::cmd("FLUSHALL").query_async::<()>(&mut admin).await?;
    held.into_iter().for_each(std::mem::forget);
    Ok(curve)
}

/// A result published and read by another client, beside a value set and got.
async fn sizes(bench: &Bench) -> Outcome<Curve> {
    let names = ["publish and read", "SET and GET"];
    let mut curve = Curve::new("A result, by its size", "bytes", &names);
    let (client, reader) =
        (Client::connect(&bench.server.url()).await?, Client::connect(&bench.server.url()).await?);
    let mut bare = bench.server.bare().await?;
    for size in [0, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let (bytes, times) = (vec![b'x'; size], bench.size(100, 20));
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for number in 0..times {
            let key = format!("size:{size}:{number}");
            let work = || async { Ok::<_, Error>(Raw(bytes.clone().into())) };
            let began = Instant::now();
            client.once(&key).keep(Duration::from_secs(60)).run(work).await?;
            let read = reader.result::<Raw>(&key).await?;
            ours.push(clock::us(began.elapsed()));
            if read.is_none_or(|read| read.0.len() != size) {
                return Err("a result is not as it was published".into());
            }
            client.forget(&key).await?;
            let began = Instant::now();
            redis::cmd("SET").arg("size").arg(&bytes).query_async::<()>(&mut bare).await?;
            let read: Vec<u8> = redis::cmd("GET").arg("size").query_async(&mut bare).await?;
            floor.push(clock::us(began.elapsed()));
            if read.len() != size {
                return Err("a value is not as it was set".into());
            }
        }
        let half = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        curve.points.push((size as f64, vec![half(ours), half(floor)]));
    }
    client.close().await;
    reader.close().await;
    Ok(curve)
}

/// Hand-overs among so many processes with two waiters each, all on one CPU.
fn processes(bench: &Bench) -> Outcome<Curve> {
    let names = ["a hand-over on Redis", "a hand-over on the local store"];
    let mut curve = Curve::new("Hand-overs of one key, by the processes that want it", "processes", &names);
    for count in [1, 2, 4, 8, 16, 32, 64] {
        let mut values = Vec::new();
        for url in [bench.server.url(), bench.local("processes")] {
            let key = format!("processes:{count}");
            let mut rates: Vec<f64> = Vec::new();
            for round in 0..bench.size(3, 1) {
                rates.push(among(bench, "ours", &url, &format!("{key}:{round}"), count, 2)?.rate);
            }
            rates.sort_by(f64::total_cmp);
            values.push(1e6 / rates[rates.len() / 2]);
        }
        curve.points.push((count as f64, values));
    }
    Ok(curve)
}
