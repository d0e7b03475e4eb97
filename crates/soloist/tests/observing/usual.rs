//! A day like any other, in memory.

use std::sync::Arc;
use std::time::Duration;

use soloist::store::memory::MemoryStore;
use soloist::{Client, Flight, Leader, LeaseId, OnError};

use crate::soon;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn leader<T>(flight: Flight<T>) -> Leader<T> {
    match flight {
        Flight::Leader(leader) => leader,
        Flight::Done(_) => panic!("there should be no result yet"),
    }
}

/// The secret part of a lease's id.
pub fn ticket(id: &LeaseId) -> String {
    id.to_string().rsplit('.').next().unwrap().to_owned()
}

/// Waits until so many stand in line.
async fn in_line(client: &Client, key: &str, count: u64) {
    soon(async {
        while client.inspect(key).await.unwrap().waiting != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Does everything that goes well, and some that does not. Answers what must not be logged.
pub async fn everything() -> Vec<String> {
    let store = MemoryStore::new();
    let client = |holder: &str| Client::builder().holder(holder).store(Arc::new(store.peer())).unwrap();
    let (a, b) = (client("a"), client("b"));
    let mut tickets = Vec::new();

    // Hand-over, renewal, release.
    let lease = a.lock("k").await.unwrap();
    tickets.push(ticket(&lease.id()));
    lease.renew(MS(60_000)).await.unwrap();
    let other = b.clone();
    let waiting = tokio::spawn(async move { other.lock("k").await.unwrap() });
    in_line(&a, "k", 1).await;
    lease.release().await.unwrap();
    let lease = soon(waiting).await.unwrap();
    tickets.push(ticket(&lease.id()));
    assert!(a.lock("k").wait(MS(20)).await.is_err());

    // Taken over, detached, broken.
    let forced = a.lock("k").holder("operator").force().await.unwrap();
    soon(lease.lost()).await;
    let id = forced.detach().await.unwrap();
    tickets.push(ticket(&id));
    a.release(&id).await.unwrap();
    let broken = a.lock("k").await.unwrap();
    b.break_lock("k").await.unwrap();
    soon(broken.lost()).await;

    // Flights.
    let keep = MS(600_000);
    let leading = leader(a.once("f").keep(keep).join::<String>().await.unwrap());
    let other = b.clone();
    let waiting = tokio::spawn(async move { other.once("f").join::<String>().await });
    in_line(&a, "f", 1).await;
    tickets.push(ticket(&leading.lease().id()));
    leading.publish("the value".into()).await.unwrap();
    assert!(matches!(soon(waiting).await.unwrap().unwrap(), Flight::Done(_)));
    for on_error in [OnError::Share, OnError::Retry] {
        let leading = leader(a.once("g").on_error(on_error).join::<String>().await.unwrap());
        leading.fail("the reason").await;
    }
    a.close().await;
    b.close().await;
    tickets
}
