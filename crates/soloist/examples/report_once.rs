//! A report that is computed once: all who ask meanwhile get the same one, and for a while all who ask later.
//!
//! `cargo run --example report_once`

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use soloist::Client;

const KEY: &str = "example:report";
static RUNS: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Serialize, Deserialize)]
struct Report {
    run: u32,
    rows: Vec<u32>,
}

async fn build() -> io::Result<Report> {
    let run = RUNS.fetch_add(1, Ordering::SeqCst) + 1;
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(Report { run, rows: vec![3, 5, 8] })
}

async fn report(client: &Client) -> soloist::Result<Report> {
    client.once(KEY).keep(Duration::from_secs(1800)).wait(Duration::from_secs(60)).run(build).await
}

#[tokio::main]
async fn main() -> soloist::Result<()> {
    let client = Client::from_env().await?;
    client.forget(KEY).await?; // of an earlier run of this example

    let reports = futures_util::future::try_join_all((0..20).map(|_| report(&client))).await?;
    let sum: u32 = reports[0].rows.iter().sum();
    println!("{} callers, runs: {}, sum of the rows: {sum}", reports.len(), RUNS.load(Ordering::SeqCst));
    println!("later: run {}", report(&client).await?.run);
    println!("only looked at: {}", client.result::<Report>(KEY).await?.is_some());
    client.forget(KEY).await?;
    println!("forgotten, computed anew: run {}", report(&client).await?.run);
    client.forget(KEY).await?;
    client.close().await;
    Ok(())
}
