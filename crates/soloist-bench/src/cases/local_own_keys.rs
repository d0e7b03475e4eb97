//! 32 processes on the local store, each on a key of its own: all together, and whether they are served alike.

use std::time::{Duration, Instant};

use soloist::Client;

use crate::Outcome;
use crate::bench::Bench;
use crate::child::{ready, say, start_all};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};

const PROCESSES: usize = 32;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Free)?;
    // Long, so that the system's own turns of a few milliseconds even out.
    let millis = if bench.quick { "300" } else { "1500" };
    let (mut rate, mut fair) = (Series::default(), Series::default());
    for _ in 0..bench.size(5, 2) {
        let url = bench.local("own");
        let words =
            |process| ["own-key", &url, &format!("own:{process}"), millis].map(str::to_owned).to_vec();
        let mut children = start_all((0..PROCESSES).map(words))?;
        let rates = children
            .iter_mut()
            .map(|child| Ok(child.says()?.parse::<f64>()?))
            .collect::<Outcome<Vec<_>>>()?;
        rate.push(rates.iter().sum());
        fair.push(jain(&rates));
    }
    let title = format!("local store, {PROCESSES} processes on their own keys");
    let rate = Row::new(format!("{title}: cycles, all CPUs"), "1/s", rate);
    let fair = Row::new(format!("{title}: Jain's index"), "", fair);
    report.rows.push(rate.goal(Of::Ours, Bound::AtLeast(500_000.0)));
    report.rows.push(fair.goal(Of::Ours, Bound::AtLeast(0.95)));
    Ok(())
}

/// Jain's index: 1 when all have the same, 1/n when one has everything.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>())
}

/// A role: locks and releases one key for so long, and says how often a second.
pub(crate) async fn own_key(url: &str, key: &str, millis: u64) -> Outcome<()> {
    let client = Client::connect(url).await?;
    client.lock(key).await?.release().await?;
    ready()?;
    let (began, mut done) = (Instant::now(), 0_u32);
    while began.elapsed() < Duration::from_millis(millis) {
        client.lock(key).await?.release().await?;
        done += 1;
    }
    let rate = f64::from(done) / began.elapsed().as_secs_f64();
    client.close().await;
    say(rate)
}

#[cfg(test)]
mod tests {
    #[test]
    fn jains_index_says_who_has_what() {
        assert_eq!(super::jain(&[2.0, 2.0, 2.0, 2.0]), 1.0);
        assert_eq!(super::jain(&[8.0, 0.0, 0.0, 0.0]), 0.25);
    }
}
