//! A cluster-wide mutex with failover: the active node dies without a word, and the standby takes over.
//!
//! `cargo run --example mutex_with_failover`

use std::time::Duration;

use soloist::{Client, FencingToken};

const KEY: &str = "example:active-node";

/// The active node: works until it is killed. A detached lease is what a killed machine leaves behind on a
/// Redis: held by nobody who could renew it, until its ttl has passed.
async fn active(client: &Client) -> soloist::Result<FencingToken> {
    let lease = client.lock(KEY).holder("node-1").ttl(Duration::from_secs(1)).await?;
    let token = lease.token();
    println!("node-1 is active");
    lease.run_until_lost(tokio::time::sleep(Duration::from_millis(100))).await?;
    lease.detach().await?;
    println!("node-1 is killed");
    Ok(token)
}

#[tokio::main]
async fn main() -> soloist::Result<()> {
    let client = Client::from_env().await?;
    let before = active(&client).await?;
    if let Err(busy) = client.lock(KEY).holder("node-2").wait(Duration::ZERO).await {
        println!("node-2 tried once: {busy}");
    }
    let lease = client.lock(KEY).holder("node-2").wait(Duration::from_secs(30)).await?;
    println!("node-2 is active");
    // Whatever the mutex protects refuses a token that is smaller than one it has seen.
    println!("a write of node-1 that comes late is refused: {}", before < lease.token());
    lease.release().await?;
    client.close().await;
    Ok(())
}
