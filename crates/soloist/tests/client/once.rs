//! Work-once, through the client.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use soloist::{Error, Flight, OnError, Raw};
use tokio::sync::oneshot;

use crate::fleet::{Fleet, in_line, soon};

const LONG: Duration = Duration::from_secs(600);

fn leader<T>(flight: Flight<T>) -> soloist::Leader<T> {
    match flight {
        Flight::Leader(leader) => leader,
        Flight::Done(_) => panic!("there should be no result yet"),
    }
}

pub async fn all_hear_one_leader(fleet: &Fleet) {
    let runs = Arc::new(AtomicU32::new(0));
    let leading = leader(fleet.client("l").await.once("k").join::<String>().await.unwrap());
    let mut tasks = Vec::new();
    let first = fleet.client("c").await;
    for n in 0..8 {
        let client = fleet.client(&format!("c{n}")).await;
        let runs = Arc::clone(&runs);
        tasks.push(tokio::spawn(async move {
            let work = || async {
                runs.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Infallible>("other".to_string())
            };
            client.once("k").run(work).await.unwrap()
        }));
    }
    in_line(&first, "k", 8).await;
    assert_eq!(leading.publish("value".into()).await.unwrap(), "value");
    for task in tasks {
        assert_eq!(soon(task).await.unwrap(), "value");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

pub async fn a_value_is_kept_and_forgotten(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let run = |client: soloist::Client, value: u32| async move {
        client.once("k").keep(LONG).run(|| async move { Ok::<_, Infallible>(value) }).await.unwrap()
    };
    assert_eq!(run(a.clone(), 1).await, 1);
    assert_eq!(run(b.clone(), 2).await, 1, "kept");
    assert_eq!(b.result::<u32>("k").await.unwrap(), Some(1));
    let result = b.inspect("k").await.unwrap().result.unwrap();
    assert_eq!((result.leader.as_str(), result.size), ("a", 1));
    assert!(b.forget("k").await.unwrap());
    assert!(!b.forget("k").await.unwrap());
    assert_eq!(b.result::<u32>("k").await.unwrap(), None);
    assert_eq!(run(b.clone(), 3).await, 3, "forgotten");
}

pub async fn without_keep_the_next_computes(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for (client, n) in [(&a, 1), (&b, 2), (&a, 3)] {
        let value = client.once("k").run(|| async move { Ok::<u32, Infallible>(n) }).await.unwrap();
        assert_eq!(value, n);
    }
}

pub async fn errors_are_shared_with_all_who_wait(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leading = leader(a.once("k").join::<u32>().await.unwrap());
    let other = b.clone();
    let waiting = tokio::spawn(async move { other.once("k").join::<u32>().await });
    in_line(&b, "k", 1).await;
    let mine = leading.fail(std::io::Error::other("disk on fire")).await;
    assert!(matches!(&mine, Error::Failed { source: Some(s), .. } if s.is::<std::io::Error>()), "{mine}");
    match soon(waiting).await.unwrap() {
        Err(Error::Failed { leader, message, .. }) => {
            assert_eq!((leader.as_str(), message.as_str()), ("a", "disk on fire"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(b.once("k").join::<u32>().await.unwrap(), Flight::Leader(_)), "not kept");
}

pub async fn errors_are_retried_by_the_next(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leading = leader(a.once("k").on_error(OnError::Retry).join::<u32>().await.unwrap());
    let other = b.clone();
    let waiting =
        tokio::spawn(async move { other.once("k").run(|| async { Ok::<u32, Infallible>(7) }).await });
    in_line(&b, "k", 1).await;
    assert!(matches!(leading.fail("no").await, Error::Failed { .. }));
    assert_eq!(soon(waiting).await.unwrap().unwrap(), 7);
}

pub async fn errors_are_kept_apart(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let fail = || async { Err::<u32, _>("no") };
    assert!(a.once("k").keep(LONG).run(fail).await.is_err());
    assert!(matches!(b.once("k").join::<u32>().await.unwrap(), Flight::Leader(_)), "keep is for values");
    b.flush().await;
    assert!(a.once("k").keep_errors(LONG).run(fail).await.is_err());
    assert!(matches!(b.once("k").join::<u32>().await, Err(Error::Failed { .. })));
}

pub async fn a_dropped_leader_is_replaced(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leading = leader(a.once("k").join::<u32>().await.unwrap());
    let other = b.clone();
    let waiting = tokio::spawn(async move { other.once("k").join::<u32>().await });
    in_line(&b, "k", 1).await;
    let token = leading.token();
    drop(leading);
    let next = leader(soon(waiting).await.unwrap().unwrap());
    assert!(next.token() > token);
}

pub async fn a_panicking_leader_is_replaced(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let (began, begun) = oneshot::channel();
    let (go, gone) = oneshot::channel::<()>();
    let panicking = tokio::spawn(async move {
        let work = || async move {
            began.send(()).unwrap();
            gone.await.unwrap();
            panic!("the leader panics, as this test wants");
            #[allow(unreachable_code)]
            Ok::<u32, Infallible>(0)
        };
        a.once("k").run(work).await
    });
    soon(begun).await.unwrap();
    let other = b.clone();
    let waiting =
        tokio::spawn(async move { other.once("k").run(|| async { Ok::<u32, Infallible>(7) }).await });
    in_line(&b, "k", 1).await;
    go.send(()).unwrap();
    assert!(soon(panicking).await.unwrap_err().is_panic());
    assert_eq!(soon(waiting).await.unwrap().unwrap(), 7);
}

pub async fn falsy_and_marker_values_survive(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for (n, value) in ["null", "0", "false", "\"\"", "\"WAIT\"", "[]"].into_iter().enumerate() {
        let value: serde_json::Value = serde_json::from_str(value).unwrap();
        let key = format!("k{n}");
        let mine = value.clone();
        a.once(&key).keep(LONG).run(|| async move { Ok::<_, Infallible>(mine) }).await.unwrap();
        match b.once(&key).join::<serde_json::Value>().await.unwrap() {
            Flight::Done(got) => assert_eq!(got, value),
            Flight::Leader(_) => panic!("{value} was lost"),
        }
    }
}

pub async fn too_large_is_told_to_all(fleet: &Fleet) {
    let a = fleet.client_with(|builder| builder.holder("a").max_result(100)).await;
    let b = fleet.client("b").await;
    let leading = leader(a.once("k").join::<String>().await.unwrap());
    let other = b.clone();
    let waiting = tokio::spawn(async move { other.once("k").join::<String>().await });
    in_line(&b, "k", 1).await;
    match leading.publish("x".repeat(99)).await {
        Err(Error::TooLarge { size: 101, limit: 100, .. }) => {}
        other => panic!("{other:?}"),
    }
    match soon(waiting).await.unwrap() {
        Err(Error::Failed { message, .. }) => assert!(message.contains("101 bytes"), "{message}"),
        other => panic!("{other:?}"),
    }
}

pub async fn a_follower_gives_up_alone(fleet: &Fleet) {
    let (a, b, c) = (fleet.client("a").await, fleet.client("b").await, fleet.client("c").await);
    let leading = leader(a.once("k").join::<u32>().await.unwrap());
    let patient = tokio::spawn(async move { b.once("k").join::<u32>().await });
    in_line(&a, "k", 1).await;
    let hasty = c.once("k").wait(Duration::from_millis(20)).join::<u32>().await;
    assert!(matches!(hasty, Err(Error::TimedOut { holder: Some(_), .. })), "{hasty:?}");
    // In the leader's own process, too.
    let hasty = a.once("k").wait(Duration::from_millis(20)).join::<u32>().await;
    assert!(matches!(hasty, Err(Error::TimedOut { holder: Some(_), .. })), "{hasty:?}");
    leading.publish(5).await.unwrap();
    assert!(matches!(soon(patient).await.unwrap().unwrap(), Flight::Done(5)));
}

pub async fn forget_while_computing(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leading = leader(a.once("k").keep(LONG).join::<u32>().await.unwrap());
    let other = b.clone();
    let waiting =
        tokio::spawn(async move { other.once("k").run(|| async { Ok::<u32, Infallible>(2) }).await });
    in_line(&b, "k", 1).await;
    b.forget("k").await.unwrap();
    assert_eq!(leading.publish(1).await.unwrap(), 1, "the leader asked before");
    assert_eq!(soon(waiting).await.unwrap().unwrap(), 2, "who waits gets no stale value");
}

pub async fn a_replaced_leader_is_refused(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let old = leader(a.once("k").keep(LONG).join::<u32>().await.unwrap());
    b.break_lock("k").await.unwrap();
    let new = leader(b.once("k").keep(LONG).join::<u32>().await.unwrap());
    assert!(new.token() > old.token());
    assert!(matches!(old.publish(1).await, Err(Error::Lost { .. })));
    new.publish(2).await.unwrap();
    assert!(matches!(a.once("k").join::<u32>().await.unwrap(), Flight::Done(2)));
}

pub async fn many_callers_one_request(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leading = leader(a.once("k").join::<u32>().await.unwrap());
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let b = b.clone();
            // One that is late computes the next flight, to the same end.
            tokio::spawn(async move { b.once("k").run(|| async { Ok::<u32, Infallible>(9) }).await })
        })
        .collect();
    in_line(&a, "k", 1).await;
    leading.publish(9).await.unwrap();
    for caller in callers {
        assert_eq!(soon(caller).await.unwrap().unwrap(), 9);
    }
    assert!(a.inspect("k").await.unwrap().waiting <= 1);
}

pub async fn raw_bytes(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let all: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let leading = leader(a.once("k").keep(LONG).join::<Raw>().await.unwrap());
    leading.publish(Raw(all.clone().into())).await.unwrap();
    match b.once("k").join::<Raw>().await.unwrap() {
        Flight::Done(Raw(bytes)) => assert!(bytes == all),
        Flight::Leader(_) => panic!("lost"),
    }
    let empty = leader(a.once("e").keep(LONG).join::<Raw>().await.unwrap());
    empty.publish(Raw::default()).await.unwrap();
    assert!(matches!(b.once("e").join::<Raw>().await.unwrap(), Flight::Done(raw) if raw.0.is_empty()));
}

pub async fn a_driver_that_leaves_passes_on(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leading = leader(a.once("k").join::<u32>().await.unwrap());
    let drive = |client: soloist::Client| tokio::spawn(async move { client.once("k").join::<u32>().await });
    let first = drive(b.clone());
    in_line(&a, "k", 1).await;
    let second = drive(b.clone());
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    in_line(&a, "k", 1).await;
    leading.publish(3).await.unwrap();
    assert!(matches!(soon(second).await.unwrap().unwrap(), Flight::Done(3) | Flight::Leader(_)));
}

pub async fn undecodable_is_told(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let leading = leader(a.once("k").keep(LONG).join::<String>().await.unwrap());
    leading.publish("text".into()).await.unwrap();
    let error = b.once("k").join::<u32>().await.unwrap_err();
    assert!(matches!(error, Error::BadResult { verb: "decoded", .. }), "{error}");
    assert!(error.hint().unwrap().contains("forget"));
}

pub async fn a_leader_that_lost_its_lease_holds_nobody_up(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lost = leader(a.once("k").join::<u32>().await.unwrap());
    // In the leader's own process, which has not noticed.
    let other = a.clone();
    let waiting = tokio::spawn(async move { other.once("k").join::<u32>().await });
    b.break_lock("k").await.unwrap();
    let next = leader(soon(waiting).await.unwrap().unwrap());
    assert!(next.token() > lost.token());
    assert!(matches!(lost.publish(1).await, Err(Error::Lost { .. })));
    next.publish(2).await.unwrap();
}
