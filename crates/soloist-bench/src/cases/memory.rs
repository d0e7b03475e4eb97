//! Bytes: of a held lock and a waiter on the server, of a lease and a waiter in the client.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use soloist::{Client, Store};
use tokio::task::JoinSet;

use super::leases;
use crate::bench::{Bench, runtime};
use crate::count::server_bytes;
use crate::cpu::Placed;
use crate::report::Report;
use crate::row::{Bound, Of, Row, Series};
use crate::{Outcome, alloc};

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Outcome<()> {
    bench.place(Placed::Apart)?;
    let count = bench.size(10_000, 2_000);
    let rows = runtime()?.block_on(async {
        let mut admin = bench.server.bare().await?;
        redis::cmd("FLUSHALL").query_async::<()>(&mut admin).await?;
        // The line first: after very many keys the server's own tables shrink bit by bit, which would count.
        let (waiter, entry) = waiters(bench, &mut admin, count).await?;
        redis::cmd("FLUSHALL").query_async::<()>(&mut admin).await?;
        let locks = locks(bench, &mut admin, count).await?;
        let bare = bare(&mut admin, count).await?;
        let lease = leases_of_a_client(bench, count).await?;
        let row = |case: &str, value| Row::new(case, "bytes", Series::one(value));
        Outcome::Ok([
            row("memory of the server: a held lock / SET", locks)
                .floor(Series::one(bare))
                .goal(Of::Ours, Bound::AtMost(130.0)),
            row("memory of the server: a waiter", entry).goal(Of::Ours, Bound::AtMost(15.0)),
            row("memory of the client: a lease", lease).goal(Of::Ours, Bound::AtMost(1024.0)),
            row("memory of the client: a waiter, with its task", waiter)
                .goal(Of::Ours, Bound::AtMost(1024.0)),
        ])
    })?;
    report.rows.extend(rows);
    bench.place(Placed::Free)
}

/// Of the server, a held lock.
async fn locks(bench: &Bench, admin: &mut MultiplexedConnection, count: usize) -> Outcome<f64> {
    let store = leases::open(bench).await?;
    leases::take(&store, 1).await?;
    let before = server_bytes(admin).await?;
    leases::take(&store, count).await?;
    let bytes = server_bytes(admin).await? - before;
    store.close().await;
    redis::cmd("FLUSHALL").query_async::<()>(admin).await?;
    Ok(bytes / count as f64)
}

/// The same number of bare locks, under names as long.
async fn bare(admin: &mut MultiplexedConnection, count: usize) -> Outcome<f64> {
    let before = server_bytes(admin).await?;
    for number in 0..count {
        let mut set = redis::cmd("SET");
        set.arg(format!("leases:{number}")).arg("0123456789abcdef").arg("NX").arg("PX").arg(3_600_000);
        set.query_async::<()>(admin).await?;
    }
    let bytes = server_bytes(admin).await? - before;
    redis::cmd("FLUSHALL").query_async::<()>(admin).await?;
    Ok(bytes / count as f64)
}

/// Of the client, a lease that it holds and renews.
async fn leases_of_a_client(bench: &Bench, count: usize) -> Outcome<f64> {
    let client = Client::connect(&bench.server.url()).await?;
    client.lock("first").await?.release().await?;
    let mut held = Vec::with_capacity(count);
    alloc::count();
    for number in 0..count {
        held.push(client.lock(format!("held:{number}")).await?);
    }
    let bytes = alloc::counted() + (count * size_of::<soloist::Lease>()) as i64;
    drop(held);
    client.flush().await;
    client.close().await;
    Ok(bytes as f64 / count as f64)
}

/// Of the client, a task that waits; of the server, its place.
async fn waiters(bench: &Bench, admin: &mut MultiplexedConnection, count: usize) -> Outcome<(f64, f64)> {
    let (client, observer) =
        (Client::connect(&bench.server.url()).await?, Client::connect(&bench.server.url()).await?);
    let lease = observer.lock("line").await?;
    let mut all = JoinSet::new();
    let mut stand = |count: usize| {
        for _ in 0..count {
            let client = client.clone();
            all.spawn(async move { client.lock("line").await.map(drop) });
        }
    };
    let in_line = async |count: usize| {
        while observer.list("line").await?.first().is_none_or(|info| info.waiting < count as u64) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Outcome::Ok(())
    };
    stand(1);
    in_line(1).await?;
    let before = server_bytes(admin).await?;
    alloc::count();
    stand(count);
    in_line(count + 1).await?;
    // And until each has heard that it waits.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let bytes = alloc::counted();
    let entry = server_bytes(admin).await? - before;
    all.shutdown().await;
    client.close().await;
    lease.release().await?;
    observer.close().await;
    Ok((bytes as f64 / count as f64, entry / count as f64))
}
