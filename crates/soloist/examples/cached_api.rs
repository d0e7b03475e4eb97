//! A rate-limited API behind a cache: look, lock, look again, fill, release. One of ten callers asks the API.
//!
//! `cargo run --example cached_api`

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use soloist::Client;
use tokio::sync::Mutex;

/// Stands for the cache that all processes share.
static CACHE: Mutex<Option<String>> = Mutex::const_new(None);
static CALLS: AtomicU32 = AtomicU32::new(0);

async fn rate_limited_api() -> String {
    CALLS.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(100)).await;
    "12 °C, rain".into()
}

async fn look() -> Option<String> {
    CACHE.lock().await.clone()
}

async fn weather(client: &Client) -> soloist::Result<String> {
    if let Some(cached) = look().await {
        return Ok(cached);
    }
    // The lease renews itself for as long as the API takes, and ends with its ttl if this process dies.
    let lease = client.lock("example:weather").ttl(Duration::from_secs(120)).await?;
    let answer = match look().await {
        Some(cached) => cached, // filled while we stood in line
        None => rate_limited_api().await,
    };
    *CACHE.lock().await = Some(answer.clone());
    lease.release().await?;
    Ok(answer)
}

#[tokio::main]
async fn main() -> soloist::Result<()> {
    let client = Client::from_env().await?;
    let callers = (0..10).map(|_| weather(&client));
    let answers = futures_util::future::try_join_all(callers).await?;
    println!("{} callers read: {}", answers.len(), answers[0]);
    println!("calls of the API: {}", CALLS.load(Ordering::SeqCst));
    client.close().await;
    Ok(())
}
