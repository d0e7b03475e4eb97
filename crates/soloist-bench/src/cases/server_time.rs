//! What an uncontended cycle costs the server: its time, and how many commands and messages.

use redis::aio::MultiplexedConnection;
use soloist::Client;

use crate::Outcome;
use crate::bench::{Bench, runtime};
use crate::count::{self, Counts, Monitor};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};
use crate::store::{Bare, rival, rival_cycle};

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Apart)?;
    let rows = runtime()?.block_on(async {
        let mut rows = time(bench, bench.rounds(), bench.size(3000, 500)).await?;
        rows.extend(commands(bench).await?);
        Outcome::Ok(rows)
    })?;
    report.rows.extend(rows);
    bench.place(Placed::Free)
}

/// Something that is done many times, one after the other.
struct Counted<'a> {
    admin: &'a mut MultiplexedConnection,
    times: usize,
}

impl Counted<'_> {
    /// Microseconds of the server a time: in these commands, and in all.
    async fn us<F: Future<Output = Outcome<()>>>(
        &mut self,
        names: &[&str],
        each: impl Fn() -> F,
    ) -> Outcome<[f64; 2]> {
        count::reset_time(self.admin).await?;
        let before = count::server_cpu_us(self.admin).await?;
        for _ in 0..self.times {
            each().await?;
        }
        let cpu = count::server_cpu_us(self.admin).await? - before;
        Ok([count::server_us(self.admin, names).await?, cpu].map(|us| us / self.times as f64))
    }
}

async fn time(bench: &Bench, rounds: usize, times: usize) -> Outcome<Vec<Row>> {
    let url = bench.server.url();
    let client = Client::connect(&url).await?;
    let bare = Bare::new(bench.server.bare().await?);
    let rival = rival(&url).await?;
    let mut admin = bench.server.bare().await?;
    let mut counted = Counted { admin: &mut admin, times };
    let mut series: [[Series; 2]; 3] = Default::default();
    let bare_names = ["set", "evalsha"];
    for round in 0..=rounds {
        let ours = async || Ok(client.lock("cycle").await?.release().await?);
        let floor = async || bare.clone().cycle("bare").await;
        let theirs = async || rival_cycle(&rival, "rival").await;
        let values = [
            // What the few scripts of a cycle run by themselves counts twice.
            counted.us(&["evalsha", "eval", "set", "zadd"], ours).await?,
            counted.us(&bare_names, floor).await?,
            counted.us(&bare_names, theirs).await?,
        ];
        if round > 0 {
            for (series, values) in series.iter_mut().zip(values) {
                series.iter_mut().zip(values).for_each(|(series, value)| series.push(value));
            }
        }
    }
    client.close().await;
    let [[ours, our_cpu], [floor, floor_cpu], [theirs, their_cpu]] = series;
    let time = Row::new("server time of a cycle, in its commands", "us", ours).floor(floor).rival(theirs);
    let cpu = Row::new("server time of a cycle, in all", "us", our_cpu).floor(floor_cpu).rival(their_cpu);
    Ok(vec![time.goal(Of::Floor, Bound::AtMost(1.25)), cpu])
}

/// What clients and server send each other in so many cycles.
pub(crate) async fn count_cycles(bench: &Bench, times: usize) -> Outcome<[Counts; 3]> {
    let url = bench.server.url();
    let client = Client::connect(&url).await?;
    let mut bare = Bare::new(bench.server.bare().await?);
    let rival = rival(&url).await?;
    // The first use of a script is asked for twice: its hash is not known yet.
    client.lock("cycle").await?.release().await?;
    bare.cycle("bare").await?;
    let mut monitor = Monitor::start(&bench.server).await?;
    for _ in 0..times {
        client.lock("cycle").await?.release().await?;
    }
    let ours = monitor.counts().await?;
    for _ in 0..times {
        bare.cycle("bare").await?;
    }
    let floor = monitor.counts().await?;
    for _ in 0..times {
        rival_cycle(&rival, "rival").await?;
    }
    let theirs = monitor.counts().await?;
    client.close().await;
    Ok([ours, floor, theirs])
}

async fn commands(bench: &Bench) -> Outcome<Vec<Row>> {
    let times = bench.size(500, 100);
    let counts = count_cycles(bench, times).await?;
    let row = |case: &str, of: fn(&Counts) -> u64| {
        let [ours, floor, theirs] =
            counts.each_ref().map(|counts| Series::one(of(counts) as f64 / times as f64));
        Row::new(case, "", ours).floor(floor).rival(theirs)
    };
    let sent = row("client commands a cycle, in two writes", Counts::sent);
    Ok(vec![sent, row("commands of scripts in a cycle", |counts| counts.of_scripts)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards what does not swing; docs/performance.md has what it was when this was written.
    #[test]
    fn a_cycle_is_two_writes_no_push_and_bounded_work_of_the_server() {
        const TIMES: u64 = 200;
        let bench = Bench::new(true).unwrap();
        runtime().unwrap().block_on(async {
            let [ours, floor, _] = count_cycles(&bench, TIMES as usize).await.unwrap();
            // Plain cycles are three commands, those by scripts two: once a second, to hear of the server's clock.
            let plain = ours.sent() - 2 * TIMES;
            assert!((TIMES / 2..=TIMES).contains(&plain), "{ours:?}");
            assert_eq!(ours.pushes, 0, "{ours:?}");
            assert_eq!(floor.sent(), 2 * TIMES, "{floor:?}");
            // A plain one: what is held and whether anybody watches, and a deletion. By scripts, each on its short way:
            // the time, four look (whether anybody waits or watches, what is held and for how long), three write.
            // Nobody watches, so nobody is told.
            assert_eq!(ours.of_scripts, 2 * plain + 8 * (TIMES - plain), "{ours:?}");
            // The least of many short rounds: a pause of the whole machine is not in all of them. Still it is a time.
            let rows = time(&bench, 30, 60).await.unwrap();
            let least = |series: &Series| series.range().0;
            let ratio = least(&rows[0].ours) / least(rows[0].floor.as_ref().unwrap());
            assert!(ratio > 0.2 && ratio < 20.0, "server time of a cycle: {ratio:.2} times the floor's");
        });
    }
}
