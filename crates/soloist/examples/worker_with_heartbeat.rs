//! A worker that reserves a resource: the heartbeat keeps it for as long as the work takes, and losing it stops
//! the work.
//!
//! `cargo run --example worker_with_heartbeat`

use std::time::Duration;

use soloist::{Client, Error};

const RESOURCE: &str = "example:resource";
const TTL: Duration = Duration::from_millis(500);

async fn work(time: Duration) -> &'static str {
    tokio::time::sleep(time).await;
    "done"
}

#[tokio::main]
async fn main() -> soloist::Result<()> {
    let client = Client::from_env().await?;

    // Three times as long as the ttl: nothing has to be renewed by hand.
    let lease = client.lock(RESOURCE).holder("worker-7").ttl(TTL).await?;
    println!("worker-7 reserved {}", lease.key());
    let outcome = lease.run_until_lost(work(TTL * 3)).await?;
    println!("worker-7: {outcome}");
    lease.release().await?;

    // An operator takes the resource away: the work is dropped at once, not when it would have ended.
    let lease = client.lock(RESOURCE).holder("worker-7").ttl(TTL).await?;
    let hour = lease.run_until_lost(work(Duration::from_secs(3600)));
    let operator = async { client.lock(RESOURCE).holder("operator").force().await };
    let (hour, operator) = tokio::join!(hour, operator);
    if let Err(lost @ Error::Lost { .. }) = hour {
        println!("worker-7 stops: {lost}");
    }
    println!("worker-7 releases too late: {}", lease.release().await.is_err());
    operator?.release().await?;
    client.close().await;
    Ok(())
}
