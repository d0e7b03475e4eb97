//! Locks that callers of one client hand to each other.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use soloist::{Client, Error, FencingToken, Lease, Loss, Told};
use tokio::task::{JoinHandle, JoinSet};

use crate::fleet::{Fleet, in_line, soon};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Who had the key, in order, and with which token.
#[derive(Clone, Default)]
struct Grants {
    inside: Arc<AtomicU32>,
    all: Arc<Mutex<Vec<(usize, FencingToken)>>>,
}

impl Grants {
    /// Holds the key for a moment.
    async fn hold(&self, who: usize, lease: Lease) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
        self.all.lock().unwrap().push((who, lease.token()));
        if lease.token().0.is_multiple_of(7) {
            tokio::task::yield_now().await;
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
        match lease.token().0 % 5 {
            0 => drop(lease),
            _ => lease.release().await.unwrap(),
        }
    }

    fn taken(&self) -> Vec<(usize, FencingToken)> {
        self.all.lock().unwrap().clone()
    }
}

fn ask(client: &Client) -> JoinHandle<soloist::Result<Lease>> {
    let client = client.clone();
    tokio::spawn(async move { client.lock("k").cohort(8).await })
}

/// Asks, and stands in the cohort's line: behind a holder of its own client no store tells of that.
async fn stands(client: &Client) -> JoinHandle<soloist::Result<Lease>> {
    let (client, (polled, is_polled)) = (client.clone(), tokio::sync::oneshot::channel());
    let waits = tokio::spawn(async move {
        let mut lease = std::pin::pin!(client.lock("k").cohort(8).into_future());
        let first = lease.as_mut().now_or_never();
        polled.send(()).unwrap();
        match first {
            Some(lease) => lease,
            None => lease.await,
        }
    });
    is_polled.await.unwrap();
    waits
}

pub async fn one_at_a_time_and_tokens_grow(fleet: &Fleet) {
    let (grants, mut all) = (Grants::default(), JoinSet::new());
    for process in 0..3 {
        let client = fleet.client(&format!("p{process}")).await;
        for task in 0..7 {
            let (client, grants) = (client.clone(), grants.clone());
            all.spawn(async move {
                for _ in 0..40 {
                    // Some do not belong to any cohort, or to another one.
                    let lease = match task {
                        0 => client.lock("k").await,
                        1 => client.lock("k").cohort(3).await,
                        _ => client.lock("k").cohort(8).holder(format!("t{task}")).await,
                    };
                    grants.hold(process, lease.unwrap()).await;
                }
            });
        }
    }
    soon(async { while all.join_next().await.transpose().unwrap().is_some() {} }).await;
    let taken = grants.taken();
    assert_eq!(taken.len(), 3 * 7 * 40);
    assert!(taken.is_sorted_by(|one, next| one.1 < next.1), "tokens grow");
}

pub async fn a_row_costs_the_store_one_grant(fleet: &Fleet) {
    let (client, other) = (fleet.client("a").await, fleet.client("b").await);
    let mut events = other.events().await.unwrap();
    let (grants, mut all) = (Grants::default(), JoinSet::new());
    for task in 0..8 {
        let (client, grants) = (client.clone(), grants.clone());
        all.spawn(async move {
            for _ in 0..100 {
                let lease = client.lock("k").cohort(8).holder(format!("t{task}")).await.unwrap();
                assert_eq!(lease.holder().as_str(), format!("t{task}"));
                grants.hold(task, lease).await;
            }
        });
    }
    soon(async { while all.join_next().await.transpose().unwrap().is_some() {} }).await;
    client.flush().await;
    let mut told = 0;
    while let Some(Some(event)) = futures_util::StreamExt::next(&mut events).now_or_never() {
        told += usize::from(matches!(event, Told::Event(_)));
    }
    assert_eq!(grants.taken().len(), 800);
    // A machine that is held up ends rows early: by the clock, not by their number.
    assert!(told < 800, "{told} events for 800 holders");
}

pub async fn processes_take_turns(fleet: &Fleet) {
    const PROCESSES: usize = 3;
    let (grants, mut all) = (Grants::default(), JoinSet::new());
    for process in 0..PROCESSES {
        let client = fleet.client(&format!("p{process}")).await;
        for _ in 0..6 {
            let (client, grants) = (client.clone(), grants.clone());
            all.spawn(async move {
                while grants.taken().len() < 3000 {
                    grants.hold(process, client.lock("k").cohort(8).await.unwrap()).await;
                }
            });
        }
    }
    soon(async { while all.join_next().await.transpose().unwrap().is_some() {} }).await;
    let taken = grants.taken();
    let counts: Vec<f64> =
        (0..PROCESSES).map(|p| taken.iter().filter(|(who, _)| *who == p).count() as f64).collect();
    let (sum, squares) = (counts.iter().sum::<f64>(), counts.iter().map(|c| c * c).sum::<f64>());
    let jain = sum * sum / (PROCESSES as f64 * squares);
    assert!(jain > 0.9, "{counts:?}");
}

pub async fn who_goes_away_is_passed_over(fleet: &Fleet) {
    let client = fleet.client("a").await;
    for gone in 0..4 {
        let first = client.lock("k").cohort(8).await.unwrap();
        let mut waits = Vec::new();
        for _ in 0..4 {
            waits.push(stands(&client).await);
        }
        waits[gone].abort();
        let aborted = waits.remove(gone);
        drop(first);
        let mut last = FencingToken(0);
        for waits in waits {
            let lease = soon(waits).await.unwrap().unwrap();
            assert!(lease.token() > last);
            last = lease.token();
            lease.release().await.unwrap();
        }
        drop(soon(aborted).await);
    }
    client.flush().await;
    drop(soon(fleet.client("b").await.lock("k").into_future()).await.unwrap());
}

pub async fn an_asker_that_goes_away_leaves_its_place(fleet: &Fleet) {
    let (holder, client) = (fleet.client("h").await, fleet.client("a").await);
    let held = holder.lock("k").await.unwrap();
    let first = ask(&client);
    in_line(&holder, "k", 1).await;
    let second = stands(&client).await;
    let behind = fleet.client("b").await;
    let behind = tokio::spawn(async move { behind.lock("k").await });
    in_line(&holder, "k", 2).await;
    first.abort();
    drop(first.await);
    let order = Arc::new(AtomicU32::new(0));
    let place = |waits: JoinHandle<soloist::Result<Lease>>, order: Arc<AtomicU32>| async move {
        let lease = soon(waits).await.unwrap().unwrap();
        let place = order.fetch_add(1, Ordering::SeqCst);
        lease.release().await.unwrap();
        place
    };
    holder.inspect("k").await.unwrap();
    held.release().await.unwrap();
    let places = tokio::join!(place(second, Arc::clone(&order)), place(behind, order));
    assert_eq!(places, (0, 1), "the second has gone on with the place of the first");
}

pub async fn nobody_is_left_in_line_when_all_go_away(fleet: &Fleet) {
    let (holder, client) = (fleet.client("h").await, fleet.client("a").await);
    let held = holder.lock("k").await.unwrap();
    let first = ask(&client);
    in_line(&holder, "k", 1).await;
    let second = stands(&client).await;
    for gone in [second, first] {
        gone.abort();
        drop(gone.await);
    }
    in_line(&holder, "k", 0).await;
    held.release().await.unwrap();
    drop(soon(client.lock("k").cohort(8).into_future()).await.unwrap());
}

pub async fn a_wait_ends_and_names_the_holder(fleet: &Fleet) {
    let (holder, client) = (fleet.client("h").await, fleet.client("a").await);
    let _held = holder.lock("k").await.unwrap();
    let patient = ask(&client);
    in_line(&holder, "k", 1).await;
    match client.lock("k").cohort(8).wait(MS(50)).await {
        Err(Error::TimedOut { waited, holder, .. }) => {
            assert_eq!((waited, holder.unwrap().as_str()), (MS(50), "h"));
        }
        other => panic!("{other:?}"),
    }
    in_line(&holder, "k", 1).await;
    assert!(!patient.is_finished());
    patient.abort();
}

pub async fn a_lost_lease_ends_the_row(fleet: &Fleet) {
    let (other, client) = (fleet.client("b").await, fleet.client("a").await);
    let lease = client.lock("k").cohort(8).await.unwrap();
    let waits = stands(&client).await;
    let taken = other.lock("k").force().await.unwrap();
    assert!(matches!(soon(lease.lost()).await, Loss::TakenOver { .. }));
    // Though the one who has lost it does nothing, the next in the process's line asks anew.
    in_line(&other, "k", 1).await;
    assert!(matches!(lease.release().await, Err(Error::Lost { .. })));
    let token = taken.token();
    taken.release().await.unwrap();
    assert!(soon(waits).await.unwrap().unwrap().token() > token);
}

pub async fn an_id_is_its_holders_alone(fleet: &Fleet) {
    let client = fleet.client("a").await;
    let lease = client.lock("k").cohort(8).await.unwrap();
    let waits = stands(&client).await;
    let id = lease.id();
    lease.release().await.unwrap();
    let next = soon(waits).await.unwrap().unwrap();
    assert!(next.token() > id.token());
    assert!(client.release(&id).await.is_err(), "it ended with its holder");
    assert!(!next.is_lost());
    next.renew(Duration::from_secs(60)).await.unwrap();
    next.release().await.unwrap();
}

pub async fn a_detached_lease_leaves_its_cohort(fleet: &Fleet) {
    let client = fleet.client("a").await;
    let lease = client.lock("k").cohort(8).await.unwrap();
    let waits = stands(&client).await;
    let id = soon(lease.detach()).await.unwrap();
    in_line(&client, "k", 1).await;
    assert!(!waits.is_finished());
    client.release(&id).await.unwrap();
    assert!(soon(waits).await.unwrap().unwrap().token() > id.token());
}

pub async fn closing_ends_a_cohort(fleet: &Fleet) {
    let (other, client) = (fleet.client("b").await, fleet.client("a").await);
    let lease = client.lock("k").cohort(8).await.unwrap();
    let waits = [stands(&client).await, stands(&client).await];
    soon(client.close()).await;
    assert!(lease.is_lost());
    for waits in waits {
        assert!(matches!(soon(waits).await.unwrap(), Err(Error::Closed)));
    }
    drop(soon(other.lock("k").into_future()).await.unwrap());
}
