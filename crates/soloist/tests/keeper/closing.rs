//! A client that is closed while its requests are under way.

use std::time::Duration;

use futures_util::FutureExt;
use soloist::{Client, Error};

use crate::fleet::{Fleet, in_line, soon};

/// Closes a client while it asks for free keys, for busy ones, and for results; again and again.
async fn leaves_nothing(fleet: Fleet, rounds: usize) {
    let other = fleet.client("other").await;
    let busy = other.lock("busy").await.unwrap();
    for round in 0..rounds {
        let client = fleet.client("closed").await;
        let asking: Vec<_> = (0..8)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move { ask(&client, n).await })
            })
            .collect();
        for _ in 0..round % 16 {
            tokio::task::yield_now().await;
        }
        let late = client.clone();
        soon(client.close()).await;
        for key in ["free:0", "free:1", "tried:2", "tried:3", "flight:4", "flight:5"] {
            let info = other.inspect(key).await.unwrap();
            assert!(info.holding.is_none() && info.waiting == 0, "{key} after round {round}: {info:?}");
        }
        in_line(&other, "busy", 0).await;
        for asked in asking {
            soon(asked).await.unwrap();
        }
        assert!(matches!(late.lock("late").await, Err(Error::Closed)));
        assert!(other.inspect("late").await.unwrap().holding.is_none());
    }
    busy.release().await.unwrap();
}

/// Asks for keys until the client is closed. What it gets it holds, until that is lost.
async fn ask(client: &Client, n: usize) {
    loop {
        let lost = match n {
            0 | 1 => client.lock(format!("free:{n}")).no_expiry().await.map(Some),
            2 | 3 => client.try_lock(format!("tried:{n}")).no_expiry().await,
            4 | 5 => {
                match client.once(format!("flight:{n}")).wait(Duration::from_secs(20)).join::<u32>().await {
                    Ok(soloist::Flight::Leader(leader)) => {
                        soon(leader.lease().lost()).await;
                        Ok(None)
                    }
                    Ok(soloist::Flight::Done(_)) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            _ => client.lock("busy").await.map(Some),
        };
        match lost {
            Ok(Some(lease)) => drop(soon(lease.lost()).await),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_takes_back_what_was_asked_for_in_memory() {
    leaves_nothing(Fleet::memory().await, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_takes_back_what_was_asked_for_on_the_local_store() {
    leaves_nothing(Fleet::local().await, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_takes_back_what_was_asked_for_on_redis() {
    // Few rounds: where a request is not found yet, the end waits until it cannot be carried out any more.
    leaves_nothing(Fleet::redis().await, 12).await;
}

#[tokio::test]
async fn a_request_that_nobody_polls_does_not_hold_up_the_end() {
    let fleet = Fleet::redis().await;
    let (client, other) = (fleet.client("closed").await, fleet.client("other").await);
    let held = other.lock("k").await.unwrap();
    let asker = client.clone();
    let mut asking = Box::pin(async move { asker.lock("k").await });
    while other.inspect("k").await.unwrap().waiting == 0 {
        assert!((&mut asking).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    soon(client.close()).await;
    in_line(&other, "k", 0).await;
    held.release().await.unwrap();
    assert!(other.inspect("k").await.unwrap().holding.is_none());
    assert!(matches!(soon(asking).await, Err(Error::Closed)));
}
