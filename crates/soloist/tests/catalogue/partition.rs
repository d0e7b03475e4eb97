//! The network between a client and its server: nothing passes, or only in one direction, or late.

use std::time::{Duration, Instant};

use soloist::testing::WireFault;
use soloist::{Error, Loss, Moment};

use crate::fleet::{in_line, soon, until};
use crate::redis_server::RedisServer;
use crate::{MS, client, client_with, hasty, wire};

#[tokio::test]
async fn a_holder_that_is_cut_off_is_told_before_anybody_else_holds() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (cut_off, other) =
        (client_with(&wire.url(), "cut off", hasty()).await, client(&server.url(), "b").await);
    let lease = cut_off.lock("k").ttl(MS(1500)).await.unwrap();
    let waiting = {
        let other = other.clone();
        tokio::spawn(async move {
            let lease = other.lock("k").await.unwrap();
            (Moment::now(), lease)
        })
    };
    in_line(&other, "k", 1).await;
    wire.stall(true);
    let lost = async { (lease.lost().await, lease.deadline().unwrap()) };
    let ((loss, deadline), next) = soon(async { tokio::join!(lost, waiting) }).await;
    let (granted, _next) = next.unwrap();
    assert_eq!(loss, Loss::Expired);
    assert!(deadline <= granted, "lost here no later than held there");
    assert!(matches!(lease.release().await, Err(Error::Lost { .. })));
    // What was held back arrives now, and ends nothing of the other's.
    wire.stall(false);
    soon(cut_off.flush()).await;
    assert_eq!(other.inspect("k").await.unwrap().holding.unwrap().holder.as_str(), "b");
}

#[tokio::test]
async fn a_waiter_that_is_cut_off_is_told_by_the_end_of_its_own_wait() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (cut_off, other) = (client_with(&wire.url(), "a", hasty()).await, client(&server.url(), "b").await);
    let lease = other.lock("k").await.unwrap();
    let waiting = {
        let cut_off = cut_off.clone();
        tokio::spawn(async move { cut_off.lock("k").wait(MS(2000)).await.map(drop) })
    };
    in_line(&other, "k", 1).await;
    wire.stall(true);
    let error = soon(waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. } | Error::Unavailable { .. }), "{error:?}");
    let error = soon(async { cut_off.lock("free").wait(MS(1000)).await }).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. } | Error::Unavailable { .. }), "{error:?}");
    // The place that nobody could give up is given up when the wire is back.
    wire.stall(false);
    until(async || other.inspect("k").await.unwrap().waiting == 0).await;
    until(async || other.inspect("free").await.unwrap().holding.is_none()).await;
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_half_open_is_left_whichever_of_both_it_is() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let options = hasty().health_check(MS(300));
    let (one, other) = (client_with(&wire.url(), "a", options).await, client(&server.url(), "b").await);
    for round in 0..3 {
        let lease = other.lock("k").ttl(Duration::from_secs(60)).await.unwrap();
        let waiting = {
            let one = one.clone();
            tokio::spawn(async move { one.lock("k").await.unwrap().release().await })
        };
        in_line(&other, "k", 1).await;
        // Nothing but the health check of the ear is on the wire now.
        wire.on_reply(b"", WireFault::Silence);
        soon(wire.watch().wait_for(|counts| counts.silenced > round)).await.unwrap();
        let began = Instant::now();
        lease.release().await.unwrap();
        soon(waiting).await.unwrap().unwrap();
        assert!(began.elapsed() < MS(12_000), "found by the slowest look only");
    }
    // And the one that carries the verbs.
    wire.on_request(b":l:held", WireFault::Silence);
    let lease = soon(async { one.lock("held").await }).await.unwrap();
    lease.release().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_never_taken_for_that_of_another_question() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = (client_with(&wire.url(), "a", hasty()).await, client(&server.url(), "b").await);
    let _theirs = other.lock("theirs").await.unwrap();
    for round in 0..6 {
        let key = format!("late{round}");
        // It comes after its time is over, while other questions are asked.
        wire.on_request(key.as_bytes(), WireFault::LateReply(MS(310 + 30 * round)));
        let asking = {
            let (one, key) = (one.clone(), key.clone());
            tokio::spawn(async move { one.lock(&key).await })
        };
        for _ in 0..10 {
            let theirs = one.inspect("theirs").await.unwrap();
            assert_eq!(theirs.holding.unwrap().holder.as_str(), "b");
            assert!(one.try_lock("theirs").await.unwrap().is_none());
        }
        let lease = soon(asking).await.unwrap().unwrap();
        assert_eq!(lease.key().as_str(), key);
        assert_eq!(other.inspect(&key).await.unwrap().holding.unwrap().token, lease.token());
        lease.release().await.unwrap();
    }
    assert!(wire.counts().late >= 6, "{:?}", wire.counts());
}

#[tokio::test]
async fn a_grant_that_arrives_after_its_ttl_is_given_back() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let patient = hasty().response_timeout(MS(5000));
    let (one, other) = (client_with(&wire.url(), "a", patient).await, client(&server.url(), "b").await);
    one.lock("k").await.unwrap().release().await.unwrap();
    let mut tokens = Vec::new();
    for _ in 0..3 {
        wire.on_request(b":l:k", WireFault::LateReply(MS(700)));
        let lease = soon(async { one.lock("k").ttl(MS(400)).await }).await.unwrap();
        assert!(!lease.is_lost(), "the late one is no grant");
        tokens.push(lease.token());
        lease.release().await.unwrap();
    }
    assert_eq!(wire.counts().late, 3);
    assert!(tokens.is_sorted());
    assert!(other.try_lock("k").await.unwrap().is_some(), "nothing is left of the late ones");
}
