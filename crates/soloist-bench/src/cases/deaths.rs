//! A waiter that was killed is passed over, and a holder that was killed is replaced when its lease ends.

use std::time::{Duration, Instant};

use soloist::Client;

use crate::Outcome;
use crate::bench::{Bench, runtime};
use crate::child::{Child, ready, say};
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};

const TTL: Duration = Duration::from_millis(600);
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    for (name, url) in [("Redis", bench.server.url()), ("local store", bench.local("deaths"))] {
        let (mut skipped, mut replaced) = (Series::default(), Series::default());
        for round in 0..bench.rounds() {
            // A runtime of its own, so that nothing of one round lives on in the next.
            let (runtime, key) = (runtime()?, format!("deaths:{round}"));
            skipped.push(runtime.block_on(skip(&url, &format!("{key}:skip")))?);
            replaced.push(runtime.block_on(replace(&url, &key))?);
        }
        let most = TTL.as_secs_f64() * 1e3 + 20.0;
        let skipped = Row::new(format!("dead waiter skipped, {name}"), "ms", skipped);
        let title = format!("dead holder replaced, ttl {} ms, {name}", TTL.as_millis());
        let replaced = Row::new(title, "ms", replaced);
        report.rows.push(skipped.goal(Of::Ours, Bound::AtMost(10.0)));
        report.rows.push(replaced.goal(Of::Ours, Bound::AtMost(most)));
    }
    Ok(())
}

/// From a release to the grant of the second in line, when the first is dead.
async fn skip(url: &str, key: &str) -> Outcome<f64> {
    let (holder, waiting) = (Client::connect(url).await?, Client::connect(url).await?);
    let lease = holder.lock(key).await?;
    let mut first = Child::start(&["wait", url, key])?;
    first.expect("ready")?;
    first.tell("go")?;
    in_line(&holder, key, 1).await?;
    let waiter = wait_on(waiting, key);
    in_line(&holder, key, 2).await?;
    first.kill();
    let began = Instant::now();
    lease.release().await?;
    let granted = tokio::time::timeout(PATIENCE, waiter).await???;
    Ok(granted.duration_since(began).as_secs_f64() * 1e3)
}

/// From the death of the holder to the grant of the first in line.
async fn replace(url: &str, key: &str) -> Outcome<f64> {
    let waiting = Client::connect(url).await?;
    let mut holder = Child::start(&["hold", url, key, &TTL.as_millis().to_string()])?;
    holder.expect("ready")?;
    holder.tell("go")?;
    holder.expect("held")?;
    let waiter = wait_on(waiting.clone(), key);
    in_line(&waiting, key, 1).await?;
    holder.kill();
    let killed = Instant::now();
    let granted = tokio::time::timeout(PATIENCE, waiter).await???;
    Ok(granted.duration_since(killed).as_secs_f64() * 1e3)
}

type Waiter = tokio::task::JoinHandle<Outcome<Instant>>;

/// Waits for a key, and says when it was granted.
fn wait_on(client: Client, key: &str) -> Waiter {
    let key = key.to_owned();
    tokio::spawn(async move {
        let lease = client.lock(key).await?;
        let granted = Instant::now();
        lease.release().await?;
        client.close().await;
        Ok(granted)
    })
}

async fn in_line(client: &Client, key: &str, count: u64) -> Outcome<()> {
    let line = async {
        while client.inspect(key).await?.waiting < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Outcome::Ok(())
    };
    tokio::time::timeout(PATIENCE, line).await.map_err(|_| "nobody came into the line")?
}

/// A role: waits for a key until it is killed.
pub(crate) async fn wait(url: &str, key: &str) -> Outcome<()> {
    let client = Client::connect(url).await?;
    ready()?;
    let lease = client.lock(key).await?;
    Ok(lease.release().await?)
}

/// A role: holds a key until it is killed.
pub(crate) async fn hold(url: &str, key: &str, ttl: u64) -> Outcome<()> {
    let client = Client::connect(url).await?;
    ready()?;
    let lease = client.lock(key).ttl(Duration::from_millis(ttl)).await?;
    say("held")?;
    Err(format!("the lease was lost: {}", lease.lost().await).into())
}
