//! The matrix of cancels: every request is dropped after each number of polls, and leaves nothing behind.

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use soloist::{Client, Flight};

use crate::fleet::{Fleet, soon, until};

/// Polls a future so many times, each time after it asked for it, and drops it. Says whether it was ready.
async fn drop_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    let polled = std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(out) => Poll::Ready(Some(out)),
            // The last poll is dropped at once, without waiting for a wake-up that may never come.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    // A request that waits for something which does not happen is dropped as it stands.
    tokio::time::timeout(Duration::from_millis(50), polled).await.unwrap_or(None)
}

/// The key is free, and nobody is in line.
async fn nothing_left(client: &Client, key: &str, polls: usize) {
    until(|| async {
        let info = client.inspect(key).await.unwrap();
        info.holding.is_none() && info.waiting == 0
    })
    .await;
    let lease = soon(client.lock(key).into_future()).await;
    lease.unwrap_or_else(|error| panic!("after {polls} polls: {error}")).release().await.unwrap();
}

const POLLS: usize = 8;

pub async fn a_dropped_lock_leaves_nothing(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for polls in 0..POLLS {
        drop(drop_after(polls, a.lock("k").into_future()).await);
        drop(drop_after(polls, a.try_lock("k").into_future()).await);
        drop(drop_after(polls, a.lock("k").force().into_future()).await);
        nothing_left(&b, "k", polls).await;
    }
}

pub async fn a_dropped_wait_leaves_nothing(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for polls in 0..POLLS {
        let held = b.lock("k").await.unwrap();
        // The release crosses the drop: the grant may be on its way.
        let (dropped, released) = tokio::join!(drop_after(polls, a.lock("k").into_future()), async {
            tokio::task::yield_now().await;
            held.release().await
        });
        released.unwrap();
        drop(dropped);
        nothing_left(&b, "k", polls).await;
    }
}

pub async fn a_dropped_release_releases(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for polls in 0..POLLS {
        let lease = a.lock("k").await.unwrap();
        drop(drop_after(polls, lease.release()).await);
        nothing_left(&b, "k", polls).await;
    }
}

pub async fn a_dropped_detach_releases_or_lives(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for polls in 0..POLLS {
        let lease = a.lock("k").await.unwrap();
        if let Some(id) = drop_after(polls, lease.detach()).await {
            b.release(&id.unwrap()).await.unwrap();
        }
        nothing_left(&b, "k", polls).await;
    }
}

pub async fn a_dropped_leader_leaves_nothing(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for polls in 0..POLLS {
        drop(drop_after(polls, a.once("k").join::<u32>()).await);
        nothing_left(&b, "k", polls).await;
        let Flight::Leader(leader) = a.once("k").join::<u32>().await.unwrap() else { panic!("a result") };
        drop(drop_after(polls, leader.publish(1)).await);
        nothing_left(&b, "k", polls).await;
        b.forget("k").await.unwrap();
    }
}

pub async fn a_dropped_follower_leaves_nothing(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for polls in 0..POLLS {
        let Flight::Leader(leader) = b.once("k").join::<u32>().await.unwrap() else { panic!("a result") };
        let (dropped, published) = tokio::join!(drop_after(polls, a.once("k").join::<u32>()), async {
            tokio::task::yield_now().await;
            leader.publish(1).await
        });
        published.unwrap();
        drop(dropped);
        nothing_left(&b, "k", polls).await;
    }
}
