//! process-locker: one processes a key and publishes, all others wait for what it publishes.

use std::convert::Infallible;
use std::time::Duration;

use serde_json::{Value, json};
use soloist::{Error, Flight, Leader};

use crate::crash::Doomed;
use crate::fleet::{Fleet, in_line, soon, until};

const MS: fn(u64) -> Duration = Duration::from_millis;
const KEEP: Duration = Duration::from_secs(1800);

fn locked<T>(flight: Flight<T>) -> Leader<T> {
    match flight {
        Flight::Leader(leader) => leader,
        Flight::Done(_) => panic!("there should be no result yet"),
    }
}

fn done<T>(flight: Flight<T>) -> T {
    match flight {
        Flight::Done(value) => value,
        Flight::Leader(_) => panic!("there should be a result"),
    }
}

pub async fn request_answers_locked_then_done(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leader = locked(a.once("k").keep(KEEP).join::<u32>().await.unwrap());
    leader.publish(42).await.unwrap();
    assert_eq!(done(b.once("k").join::<u32>().await.unwrap()), 42);
}

pub async fn the_others_wait_until_publish(fleet: &Fleet) {
    let leader = locked(fleet.client("leader").await.once("k").join::<u32>().await.unwrap());
    let look = fleet.client("look").await;
    let mut waiting = Vec::new();
    for n in 0..5u64 {
        let client = fleet.client(&format!("c{n}")).await;
        waiting.push(tokio::spawn(async move { client.once("k").join::<u32>().await.map(done) }));
        in_line(&look, "k", n + 1).await;
    }
    assert!(waiting.iter().all(|task| !task.is_finished()));
    leader.publish(42).await.unwrap();
    for task in waiting {
        assert_eq!(soon(task).await.unwrap().unwrap(), 42);
    }
}

pub async fn a_timeout_for_each_publish(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leader = locked(a.once("k").keep(KEEP).join::<u32>().await.unwrap());
    leader.publish_for(42, MS(100)).await.unwrap();
    until(|| async { b.result::<u32>("k").await.unwrap().is_none() }).await;
    locked(b.once("k").join::<u32>().await.unwrap()).publish_for(43, KEEP).await.unwrap();
    assert_eq!(a.result::<u32>("k").await.unwrap(), Some(43));
}

pub async fn the_result_timeout_is_a_default(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    locked(a.once("k").keep(KEEP).join::<u32>().await.unwrap()).publish(42).await.unwrap();
    let kept = b.inspect("k").await.unwrap().result.unwrap();
    assert_eq!(kept.until - kept.at, 1_800_000_000);
}

pub async fn a_request_that_only_looks(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    assert_eq!(b.result::<u32>("k").await.unwrap(), None);
    let leader = locked(a.once("k").keep(KEEP).join::<u32>().await.unwrap());
    assert_eq!(b.result::<u32>("k").await.unwrap(), None, "it does not wait");
    assert_eq!(a.inspect("k").await.unwrap().waiting, 0);
    leader.publish(42).await.unwrap();
    assert_eq!(b.result::<u32>("k").await.unwrap(), Some(42));
}

pub async fn prefixes_separate(fleet: &Fleet) {
    let one = fleet.client_with(|builder| builder.prefix("one:")).await;
    let two = fleet.client_with(|builder| builder.prefix("two:")).await;
    locked(one.once("k").keep(KEEP).join::<u32>().await.unwrap()).publish(42).await.unwrap();
    drop(locked(two.once("k").join::<u32>().await.unwrap()));
}

pub async fn granted_wish_a_timeout_for_those_who_wait(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leader = locked(a.once("k").join::<u32>().await.unwrap());
    match b.once("k").wait(MS(30)).join::<u32>().await {
        Err(Error::TimedOut { holder, .. }) => assert_eq!(holder.unwrap().as_str(), "a"),
        other => panic!("{other:?}"),
    }
    leader.publish(42).await.unwrap();
}

/// Not after an hour: at its ttl at the latest, and at once where the store can tell.
pub async fn repaired_a_leader_that_dies_is_replaced(fleet: &Fleet) {
    let b = fleet.client("b").await;
    let doomed = Doomed::new(fleet, "a").await;
    let leader = locked(doomed.client.once("k").ttl(MS(400)).join::<u32>().await.unwrap());
    let token = leader.token();
    let next = b.clone();
    let waiting = tokio::spawn(async move { locked(next.once("k").join::<u32>().await.unwrap()) });
    in_line(&b, "k", 1).await;
    doomed.die();
    drop(leader);
    let next = soon(waiting).await.unwrap();
    assert!(next.token() > token);
    next.publish(42).await.unwrap();
}

/// `lockTimeout` had to be longer than the longest job. A ttl need not: the leader renews it.
pub async fn repaired_a_long_leader_is_not_replaced(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leader = locked(a.once("k").ttl(MS(600)).join::<u32>().await.unwrap());
    let late = b.once("k").wait(MS(1800)).join::<u32>().await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    leader.publish(42).await.unwrap();
}

pub async fn repaired_a_falsy_result_survives(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for (n, value) in [json!(null), json!(0), json!(false), json!(""), json!([])].into_iter().enumerate() {
        let key = format!("k{n}");
        let leader = locked(a.once(&key).keep(KEEP).join::<Value>().await.unwrap());
        leader.publish(value.clone()).await.unwrap();
        assert_eq!(done(b.once(&key).join::<Value>().await.unwrap()), value);
        assert_eq!(b.result::<Value>(&key).await.unwrap(), Some(value), "looked at");
    }
}

pub async fn repaired_wait_is_a_value(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leader = locked(a.once("k").keep(KEEP).join::<String>().await.unwrap());
    let other = b.clone();
    let waiting = tokio::spawn(async move { other.once("k").join::<String>().await.map(done) });
    in_line(&b, "k", 1).await;
    leader.publish("WAIT".into()).await.unwrap();
    assert_eq!(soon(waiting).await.unwrap().unwrap(), "WAIT");
    assert_eq!(done(b.once("k").join::<String>().await.unwrap()), "WAIT");
}

pub async fn repaired_a_failure_is_told(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leader = locked(a.once("k").join::<u32>().await.unwrap());
    let other = b.clone();
    let waiting = tokio::spawn(async move { other.once("k").join::<u32>().await.map(drop) });
    in_line(&b, "k", 1).await;
    leader.fail("the disk is full").await;
    match soon(waiting).await.unwrap() {
        Err(Error::Failed { leader, message, .. }) => {
            assert_eq!((leader.as_str(), message.as_str()), ("a", "the disk is full"));
        }
        other => panic!("{other:?}"),
    }
    let next = b.once("k").run(|| async { Ok::<u32, Infallible>(42) }).await;
    assert_eq!(next.unwrap(), 42, "and whoever comes later tries anew");
}

pub async fn repaired_a_replaced_leader_publishes_nothing(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let old = locked(a.once("k").keep(KEEP).join::<u32>().await.unwrap());
    b.break_lock("k").await.unwrap();
    let new = locked(b.once("k").keep(KEEP).join::<u32>().await.unwrap());
    assert!(matches!(old.publish(1).await, Err(Error::Lost { .. })));
    new.publish(2).await.unwrap();
    assert_eq!(a.result::<u32>("k").await.unwrap(), Some(2));
}
