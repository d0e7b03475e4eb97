//! Results that are kept in the process, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use soloist::{Client, Error, Flight};

use crate::fleet::{Fleet, soon, until};

const LONG: Duration = Duration::from_secs(600);

async fn cached(fleet: &Fleet, holder: &str) -> Client {
    fleet.client_with(|builder| builder.holder(holder).result_cache(100, 1 << 20)).await
}

/// The value, or the one that this call computes.
async fn read(client: &Client, own: u32) -> u32 {
    soon(client.once("k").keep(LONG).run(|| async move { Ok::<u32, Error>(own) })).await.unwrap()
}

/// Waits until a reader sees this value.
async fn until_it_reads(client: &Client, value: u32) {
    until(|| async { read(client, value).await == value }).await;
}

pub async fn a_forgotten_result_is_not_served(fleet: &Fleet) {
    let (a, b) = (cached(fleet, "a").await, cached(fleet, "b").await);
    assert_eq!((read(&a, 1).await, read(&a, 0).await, read(&b, 0).await), (1, 1, 1));
    // By this client: at once.
    assert!(a.forget("k").await.unwrap());
    assert_eq!(read(&a, 2).await, 2);
    // By another one: soon.
    until_it_reads(&b, 2).await;
    b.forget("k").await.unwrap();
    assert_eq!(read(&b, 3).await, 3);
    until_it_reads(&a, 3).await;
}

pub async fn a_result_that_was_replaced_is_not_served(fleet: &Fleet) {
    let (a, b) = (cached(fleet, "a").await, cached(fleet, "b").await);
    for value in 1..20 {
        b.forget("k").await.unwrap();
        assert_eq!(read(&b, value).await, value);
        until_it_reads(&a, value).await;
        assert_eq!(read(&a, 0).await, value);
    }
}

pub async fn the_end_of_its_keep_is_the_end(fleet: &Fleet) {
    let a = cached(fleet, "a").await;
    let once = || a.once("k").keep(Duration::from_millis(100));
    let first = once().run(|| async { Ok::<u32, Error>(1) }).await.unwrap();
    assert_eq!(first, 1);
    let began = std::time::Instant::now();
    until(|| async { once().run(|| async { Ok::<u32, Error>(2) }).await.unwrap() == 2 }).await;
    assert!(began.elapsed() < Duration::from_secs(20));
}

pub async fn errors_are_kept_like_values(fleet: &Fleet) {
    let (a, calls) = (cached(fleet, "a").await, Arc::new(AtomicU32::new(0)));
    for _ in 0..3 {
        let calls = Arc::clone(&calls);
        let fails = || async move {
            calls.fetch_add(1, Ordering::SeqCst);
            Err::<u32, _>("no rows")
        };
        let got = a.once("k").keep_errors(LONG).run(fails).await;
        assert!(matches!(got, Err(Error::Failed { message, .. }) if message == "no rows"));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

pub async fn a_result_that_goes_stale_is_not_kept_here(fleet: &Fleet) {
    let (a, b) = (cached(fleet, "a").await, fleet.client("b").await);
    let Flight::Leader(leader) = a.once("k").keep(LONG).join::<u32>().await.unwrap() else {
        panic!("a result")
    };
    b.forget("k").await.unwrap();
    assert_eq!(leader.publish(1).await.unwrap(), 1);
    assert_eq!(read(&a, 2).await, 2);
    assert_eq!(read(&a, 0).await, 2);
}

pub async fn whoever_asks_the_store_sees_the_newest(fleet: &Fleet) {
    let (a, b) = (cached(fleet, "a").await, fleet.client("b").await);
    for value in 1..50 {
        b.forget("k").await.unwrap();
        assert_eq!(read(&b, value).await, value);
        let asked = a.once("k").cached(false).run(|| async { Ok::<u32, Error>(0) }).await.unwrap();
        assert_eq!(asked, value);
        assert_eq!(a.result::<u32>("k").await.unwrap(), Some(value));
        // This may be an earlier one, for a moment.
        let kept = read(&a, 0).await;
        assert!((1..=value).contains(&kept), "{kept}");
    }
}

/// Several publish, forget and read at once: when all is quiet, everybody reads the last.
pub async fn when_all_is_quiet_all_read_the_last(fleet: &Fleet) {
    for _ in 0..5 {
        let clients = [cached(fleet, "a").await, cached(fleet, "b").await, cached(fleet, "c").await];
        let tasks = clients.iter().enumerate().map(|(n, client)| {
            let client = client.clone();
            tokio::spawn(async move {
                for step in 0..60_u32 {
                    let value = step * 10 + u32::try_from(n).unwrap();
                    read(&client, value).await;
                    if step % 3 == u32::try_from(n).unwrap() {
                        client.forget("k").await.unwrap();
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            soon(task).await.unwrap();
        }
        let asks = clients[0].once("k").keep(LONG).cached(false);
        let last = asks.run(|| async { Ok::<u32, Error>(9999) }).await.unwrap();
        for client in &clients {
            until(|| async { read(client, 0).await == last }).await;
        }
        clients[0].forget("k").await.unwrap();
    }
}

pub async fn a_closed_client_serves_nothing(fleet: &Fleet) {
    let a = cached(fleet, "a").await;
    assert_eq!(read(&a, 1).await, 1);
    let again = a.clone();
    soon(a.close()).await;
    let got = again.once("k").run(|| async { Ok::<u32, Error>(0) }).await;
    assert!(matches!(got, Err(Error::Closed)), "{got:?}");
}
