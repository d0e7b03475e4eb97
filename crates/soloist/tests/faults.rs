//! The client over a store that fails: answers that are lost, that come late, a store that is away.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/faulty.rs"]
mod faulty;
#[path = "client/fleet.rs"]
#[allow(dead_code)]
mod fleet;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::time::Duration;

use faulty::{failures, faulty};
use fleet::{soon, until};
use soloist::testing::{Fault, Verb};
use soloist::{Client, Error, Flight, Loss};

const MS: fn(u64) -> Duration = Duration::from_millis;

async fn becomes_free(other: &Client, key: &str) {
    until(|| async {
        let info = other.inspect(key).await.unwrap();
        info.holding.is_none() && info.waiting == 0
    })
    .await;
}

#[tokio::test]
async fn a_grant_whose_answer_was_lost_is_taken_back() {
    let (client, store, other) = faulty();
    store.plan(Verb::Acquire, Fault::AnswerLost);
    assert!(matches!(client.lock("k").await, Err(Error::Unavailable { .. })));
    becomes_free(&other, "k").await;
}

#[tokio::test]
async fn taking_back_is_tried_until_it_is_done() {
    let (client, store, other) = faulty();
    store.plan(Verb::Acquire, Fault::AnswerLost);
    store.plan(Verb::Leave, Fault::Lost);
    store.plan(Verb::Leave, Fault::Lost);
    assert!(client.lock("k").await.is_err());
    becomes_free(&other, "k").await;
    assert_eq!(store.counts().failed(), 3);
}

#[tokio::test]
async fn a_grant_that_comes_later_than_its_ttl_is_no_grant() {
    let (client, store, other) = faulty();
    store.plan(Verb::Acquire, Fault::Late(MS(150)));
    let lease = client.lock("k").ttl(MS(100)).await.unwrap();
    assert!(!lease.is_lost(), "the late grant was given back, this is another");
    assert!(store.counts().requests() >= 3, "acquire, leave, acquire");
    lease.release().await.unwrap();
    becomes_free(&other, "k").await;
}

#[tokio::test]
async fn a_failed_renewal_is_unknown_and_asked_again() {
    let (client, store, _other) = faulty();
    let lease = client.lock("k").ttl(MS(900)).await.unwrap();
    let before = lease.deadline().unwrap();
    store.plan(Verb::Renew, Fault::Lost);
    store.plan(Verb::Renew, Fault::AnswerLost);
    failures(&store, 2).await;
    assert!(!lease.is_lost(), "unknown is not lost");
    soon(async {
        while lease.deadline().unwrap() == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_lost_at_its_deadline() {
    let (client, store, _other) = faulty();
    let lease = client.lock("k").ttl(MS(300)).await.unwrap();
    store.away(true);
    let deadline = lease.deadline().unwrap();
    assert_eq!(soon(lease.lost()).await, Loss::Expired);
    assert!(soloist::Moment::now() >= deadline, "not before");
    assert!(store.counts().requests() > 2, "it was tried");
    assert!(matches!(lease.release().await, Err(Error::Lost { loss: Loss::Expired, .. })));
}

#[tokio::test]
async fn a_lease_that_expired_here_but_not_at_the_store_is_ended_there() {
    let (client, store, other) = faulty();
    let lease = client.lock("k").ttl(MS(300)).await.unwrap();
    store.plan(Verb::Renew, Fault::AnswerLost);
    assert!(lease.renew(Duration::from_secs(3600)).await.is_err());
    store.away(true);
    assert_eq!(soon(lease.lost()).await, Loss::Expired);
    store.away(false);
    assert!(other.inspect("k").await.unwrap().holding.is_some(), "the store has heard of the hour");
    assert!(matches!(lease.release().await, Err(Error::Lost { loss: Loss::Expired, .. })));
    becomes_free(&other, "k").await;
}

#[tokio::test]
async fn a_release_that_cannot_be_sent_is_told_and_done_in_the_background() {
    let (client, store, other) = faulty();
    let lease = client.lock("k").await.unwrap();
    store.plan(Verb::Release, Fault::Lost);
    store.plan(Verb::Release, Fault::Lost);
    assert!(matches!(lease.release().await, Err(Error::Unavailable { .. })));
    becomes_free(&other, "k").await;
}

#[tokio::test]
async fn a_rotation_that_fails_ends_both_in_the_background() {
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::Refused, Fault::Straggles(MS(300))] {
        let (client, store, other) = faulty();
        let lease = client.lock("k").await.unwrap();
        let next = tokio::spawn(async move { other.lock("k").await.map(|lease| (other, lease)) });
        until(|| async { client.inspect("k").await.unwrap().waiting == 1 }).await;
        store.plan(Verb::Rotate, fault);
        let failed = client.lock("k").rotate(lease).await;
        assert!(matches!(failed, Err(Error::Unavailable { .. } | Error::Refused { .. })), "{failed:?}");
        let (other, lease) = soon(next).await.unwrap().unwrap();
        lease.release().await.unwrap();
        client.flush().await;
        becomes_free(&other, "k").await;
    }
}

/// Three of one process in a line of their own, two of which are a row: whoever ends the row asks again for who is left.
#[tokio::test]
async fn a_releaser_that_asks_for_others_and_fails_or_goes_away_holds_nobody_up() {
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::Refused, Fault::LateCall(MS(100_000_000))] {
        let (client, store, other) = faulty();
        let held = other.lock("k").await.unwrap();
        store.plan(Verb::Rotate, fault);
        let (releasing, mut released) = tokio::sync::mpsc::unbounded_channel();
        let tasks: Vec<_> = (0..3)
            .map(|task| {
                let (client, releasing) = (client.clone(), releasing.clone());
                tokio::spawn(async move {
                    let lease = client.lock("k").cohort(2).await.unwrap();
                    releasing.send(task).unwrap();
                    lease.release().await
                })
            })
            .collect();
        until(|| async { other.inspect("k").await.unwrap().waiting == 1 }).await;
        // All of them stand in their line by now, before a turn begins.
        tokio::task::yield_now().await;
        held.release().await.unwrap();
        let mut counts = store.watch();
        soon(counts.wait_for(|counts| counts.of_kind(fault.kind()) == 1)).await.unwrap();
        if matches!(fault, Fault::LateCall(_)) {
            let mut last = 0;
            while let Ok(task) = released.try_recv() {
                last = task;
            }
            tasks[last].abort();
        }
        let mut failed = 0;
        for task in tasks {
            match soon(task).await {
                Ok(Ok(())) => {}
                Ok(Err(Error::Unavailable { .. } | Error::Refused { .. })) | Err(_) => failed += 1,
                Ok(Err(error)) => panic!("{error}"),
            }
        }
        assert_eq!(failed, 1, "{fault:?}: the releaser alone hears of it");
        client.flush().await;
        becomes_free(&other, "k").await;
    }
}

#[tokio::test]
async fn a_lease_dropped_while_the_store_takes_no_writes_is_released_when_it_does() {
    let (client, store, other) = faulty();
    let lease = client.lock("k").no_expiry().await.unwrap();
    store.plan(Verb::Release, Fault::Refused);
    store.plan(Verb::Release, Fault::Refused);
    drop(lease);
    becomes_free(&other, "k").await;
}

#[tokio::test]
async fn a_publish_whose_answer_was_lost_still_reaches_those_who_wait() {
    let (client, store, other) = faulty();
    let Flight::Leader(leader) = client.once("k").join::<u32>().await.unwrap() else { panic!() };
    let follower = other.clone();
    let waiting = tokio::spawn(async move { follower.once("k").join::<u32>().await });
    fleet::in_line(&other, "k", 1).await;
    store.plan(Verb::Publish, Fault::AnswerLost);
    let published = leader.publish(4).await;
    assert!(matches!(soon(waiting).await.unwrap().unwrap(), Flight::Done(4)));
    // The same publication, asked again, is the same publication.
    assert_eq!(published.unwrap(), 4);
}

#[tokio::test]
async fn many_callers_of_one_process_make_one_request() {
    let (client, store, other) = faulty();
    let Flight::Leader(leader) = other.once("k").join::<u32>().await.unwrap() else { panic!() };
    let mut callers = Vec::new();
    for _ in 0..1000 {
        let client = client.clone();
        callers.push(tokio::spawn(async move { client.once("k").wait(MS(600_000)).join::<u32>().await }));
    }
    fleet::in_line(&other, "k", 1).await;
    // Every caller has been polled: each either drives or waits for the one that does.
    tokio::task::yield_now().await;
    leader.publish(9).await.unwrap();
    for caller in callers {
        assert!(matches!(soon(caller).await.unwrap().unwrap(), Flight::Done(9)));
    }
    assert_eq!(store.counts().requests(), 1);
}

#[tokio::test]
async fn a_hand_over_that_is_heard_late_is_confirmed_before_it_is_used() {
    let (client, store, other) = faulty();
    let lease = other.lock("k").await.unwrap();
    store.plan(Verb::Wait, Fault::Late(MS(1200)));
    let waiting = tokio::spawn(async move {
        let lease = client.lock("k").ttl(MS(60_000)).await.unwrap();
        // Without another await, so the keeper had no part in it.
        lease.deadline().unwrap().since(soloist::Moment::now())
    });
    fleet::in_line(&other, "k", 1).await;
    lease.release().await.unwrap();
    assert!(soon(waiting).await.unwrap() > MS(30_000), "the full ttl, not what was left of the hand-over's");
}

#[tokio::test]
async fn a_hand_over_that_is_heard_too_late_is_waited_for_again() {
    let (client, store, other) = faulty();
    let lease = other.lock("k").await.unwrap();
    store.plan(Verb::Wait, Fault::Late(MS(3500)));
    let waiting = tokio::spawn(async move { client.lock("k").await.unwrap().token() });
    fleet::in_line(&other, "k", 1).await;
    lease.release().await.unwrap();
    // The line goes on without the one that did not answer.
    let next = soon(async { other.lock("k").await }).await.unwrap();
    let token = next.token();
    next.release().await.unwrap();
    assert!(soon(waiting).await.unwrap() > token);
}
