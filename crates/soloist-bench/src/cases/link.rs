//! A hand-over when the server is 20 ms away, there and back.

use std::time::{Duration, Instant};

use soloist::Client;

use crate::bench::{Bench, runtime};
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};
use crate::store::{TTL, rival};
use crate::{Outcome, delay, server};

const EACH_WAY: Duration = Duration::from_millis(10);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Apart)?;
    report.rows.push(runtime()?.block_on(measure(bench))?);
    bench.place(Placed::Free)
}

async fn measure(bench: &Bench) -> Outcome<Row> {
    let url = format!("redis://127.0.0.1:{}", delay::before(bench.server.port(), EACH_WAY)?);
    let (one, other) = (Client::connect(&url).await?, Client::connect(&url).await?);
    let (their_one, their_other) = (rival(&url).await?, rival(&url).await?);
    let near = Client::connect(&bench.server.url()).await?;
    let mut bare = server::connect(&url).await?;
    let (mut ours, mut floor, mut theirs) = (Series::default(), Series::default(), Series::default());
    for round in 0..bench.size(15, 5) {
        let key = format!("link:{round}");
        let began = Instant::now();
        redis::cmd("PING").query_async::<()>(&mut bare).await?;
        floor.push(began.elapsed().as_secs_f64() * 1e3);

        let lease = one.lock(&key).await?;
        let (waiting, name) = (other.clone(), key.clone());
        let waiter = tokio::spawn(async move {
            let lease = waiting.lock(&name).await?;
            let granted = Instant::now();
            Outcome::Ok((lease, granted))
        });
        // Asked of the server directly, so that nobody waits longer than is needed.
        while near.inspect(&key).await?.waiting == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // What was sent on the way into the line has arrived.
        tokio::time::sleep(3 * EACH_WAY).await;
        let began = Instant::now();
        lease.release().await?;
        let (lease, granted) = waiter.await??;
        ours.push(granted.duration_since(began).as_secs_f64() * 1e3);
        lease.release().await?;

        let key = format!("rival:{key}");
        let lock = their_one.acquire(key.as_bytes(), TTL).await?;
        let waiting = their_other.clone();
        let waiter = tokio::spawn(async move {
            let lock = waiting.acquire(key.as_bytes(), TTL).await?;
            let granted = Instant::now();
            lock.release().await;
            Outcome::Ok(granted)
        });
        tokio::time::sleep(3 * EACH_WAY).await;
        let began = Instant::now();
        lock.release().await;
        theirs.push(waiter.await??.duration_since(began).as_secs_f64() * 1e3);
    }
    one.close().await;
    other.close().await;
    near.close().await;
    let row =
        Row::new("hand-over over a link of 20 ms / its round trip", "ms", ours).floor(floor).rival(theirs);
    Ok(row.goal(Of::Floor, Bound::AtMost(1.05)))
}
