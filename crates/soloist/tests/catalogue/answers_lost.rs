//! Requests that are carried out and whose answers are lost, for each verb, in each way in which a connection
//! loses them.

use soloist::testing::{FaultyWire, WireFault};
use soloist::{Client, Error, Flight};

use crate::fleet::{in_line, soon, until};
use crate::redis_server::RedisServer;
use crate::{MS, client, client_with, hasty, wire};

/// The answer does not come, comes in part, or the connection falls silent.
const LOST: [WireFault; 4] =
    [WireFault::CutReply, WireFault::CutInReply(1), WireFault::CutInReply(5), WireFault::Silence];

/// One client behind a bad wire and one behind a good one; the server knows all scripts, so the first try is the one
/// that counts.
async fn pair(server: &RedisServer, wire: &FaultyWire) -> (Client, Client) {
    let (one, other) = (client_with(&wire.url(), "a", hasty()).await, client(&server.url(), "b").await);
    let lease = other.lock("warm").await.unwrap();
    lease.renew(MS(60_000)).await.unwrap();
    assert!(other.lock("warm").wait(MS(1)).await.is_err());
    lease.release().await.unwrap();
    let Flight::Leader(leader) = other.once("warm").join::<u8>().await.unwrap() else { panic!() };
    leader.publish(1).await.unwrap();
    other.flush().await;
    (one, other)
}

/// Does it to the next request about a key.
fn plan(wire: &FaultyWire, key: &str, fault: WireFault) {
    wire.on_request(format!(":l:{key}").as_bytes(), fault);
}

async fn is_free(other: &Client, key: &str) -> bool {
    let info = other.inspect(key).await.unwrap();
    info.holding.is_none() && info.waiting == 0
}

fn met(wire: &FaultyWire) -> u64 {
    wire.counts().cut + wire.counts().silenced
}

#[tokio::test]
async fn of_an_acquire_it_is_the_same_grant_and_held_once() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = pair(&server, &wire).await;
    for (at, fault) in LOST.into_iter().enumerate() {
        let mut events = other.events().await.unwrap();
        plan(&wire, "k", fault);
        let lease = soon(async { one.lock("k").await }).await.unwrap();
        assert_eq!(met(&wire), at as u64 + 1, "{fault:?}");
        assert_eq!(other.inspect("k").await.unwrap().holding.unwrap().token, lease.token());
        lease.release().await.unwrap();
        assert!(is_free(&other, "k").await, "held once, so released by one release: {fault:?}");
        // And granted once.
        use futures_util::StreamExt;
        let mut told = Vec::new();
        for _ in 0..2 {
            told.push(soon(events.next()).await.unwrap());
        }
        let kinds = told.iter().map(|told| match told {
            soloist::Told::Event(event) => event.kind.clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(kinds.collect::<Vec<_>>(), [soloist::EventKind::Locked, soloist::EventKind::Released]);
    }
}

#[tokio::test]
async fn of_a_place_in_line_it_is_the_same_place() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = pair(&server, &wire).await;
    for fault in LOST {
        let lease = other.lock("k").await.unwrap();
        let before = met(&wire);
        plan(&wire, "k", fault);
        let waiting = {
            let one = one.clone();
            tokio::spawn(async move { one.lock("k").await.unwrap().release().await })
        };
        soon(wire.watch().wait_for(|counts| counts.cut + counts.silenced > before)).await.unwrap();
        // Asked again: it is one place, and stays one.
        one.inspect("warm").await.unwrap();
        in_line(&other, "k", 1).await;
        lease.release().await.unwrap();
        soon(waiting).await.unwrap().unwrap();
        assert!(is_free(&other, "k").await, "{fault:?}");
    }
}

#[tokio::test]
async fn of_a_release_it_is_unknown_and_never_a_false_yes() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = pair(&server, &wire).await;
    for fault in LOST {
        let lease = one.lock("k").await.unwrap();
        plan(&wire, "k", fault);
        let released = soon(lease.release()).await;
        assert!(matches!(released, Err(Error::Unknown { verb: "release", .. })), "{fault:?}: {released:?}");
        assert!(is_free(&other, "k").await);
    }
    // One that never arrived is asked again, and then it is known.
    let lease = one.lock("k").await.unwrap();
    plan(&wire, "k", WireFault::CutRequest);
    soon(lease.release()).await.unwrap();
    assert!(is_free(&other, "k").await);
}

#[tokio::test]
async fn of_a_renewal_the_lease_is_held_and_renewed_again() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = pair(&server, &wire).await;
    for fault in LOST {
        let lease = one.lock("k").ttl(MS(60_000)).await.unwrap();
        let before = lease.deadline().unwrap();
        plan(&wire, "k", fault);
        soon(lease.renew(MS(60_000))).await.unwrap();
        assert!(!lease.is_lost() && lease.deadline().unwrap() > before, "{fault:?}");
        assert_eq!(other.inspect("k").await.unwrap().holding.unwrap().token, lease.token());
        lease.release().await.unwrap();
    }
}

#[tokio::test]
async fn of_a_publication_the_value_is_published_once() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = pair(&server, &wire).await;
    for (at, fault) in LOST.into_iter().enumerate() {
        let Flight::Leader(leader) = one.once("k").join::<usize>().await.unwrap() else { panic!() };
        let follower = {
            let other = other.clone();
            tokio::spawn(async move { other.once("k").join::<usize>().await })
        };
        in_line(&other, "k", 1).await;
        plan(&wire, "k", fault);
        assert_eq!(soon(leader.publish(at)).await.unwrap(), at, "{fault:?}");
        let heard = soon(follower).await.unwrap().unwrap();
        assert!(matches!(heard, Flight::Done(value) if value == at), "{heard:?}");
        assert!(is_free(&other, "k").await);
    }
}

/// What was published, and replaced by a later leader's result before it was asked for again, was published.
#[tokio::test]
async fn of_a_publication_that_was_followed_by_another_it_is_never_a_false_no() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = pair(&server, &wire).await;
    let Flight::Leader(leader) = one.once("k").join::<u8>().await.unwrap() else { panic!() };
    let follower = {
        let other = other.clone();
        tokio::spawn(async move { other.once("k").join::<u8>().await })
    };
    in_line(&other, "k", 1).await;
    plan(&wire, "k", WireFault::Silence);
    let publishing = tokio::spawn(async move { leader.publish(1).await });
    soon(wire.watch().wait_for(|counts| counts.silenced == 1)).await.unwrap();
    assert!(matches!(soon(follower).await.unwrap().unwrap(), Flight::Done(1)), "it was published");
    let Flight::Leader(next) = other.once("k").join::<u8>().await.unwrap() else { panic!("it is not kept") };
    next.publish(2).await.unwrap();
    let published = soon(publishing).await.unwrap();
    // Ok, if this machine was too slow for the second one to come in between.
    let honest = matches!(published, Ok(1) | Err(Error::Unknown { verb: "publish", .. }));
    assert!(honest, "{published:?}");
}

#[tokio::test]
async fn of_a_leave_the_place_is_given_up() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = pair(&server, &wire).await;
    for fault in LOST {
        let lease = other.lock("k").await.unwrap();
        let waiting = {
            let one = one.clone();
            tokio::spawn(async move { one.lock("k").await.map(drop) })
        };
        in_line(&other, "k", 1).await;
        let before = met(&wire);
        plan(&wire, "k", fault);
        waiting.abort();
        soon(wire.watch().wait_for(|counts| counts.cut + counts.silenced > before)).await.unwrap();
        in_line(&other, "k", 0).await;
        // Asked again, it takes nothing from whoever holds the key meanwhile.
        soon(one.flush()).await;
        assert_eq!(other.inspect("k").await.unwrap().holding.unwrap().token, lease.token());
        lease.release().await.unwrap();
    }
}

/// A lock is broken for whoever holds it when it is asked for, and for nobody who comes after him.
#[tokio::test]
async fn of_a_break_nobody_else_loses_the_key() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = pair(&server, &wire).await;
    for fault in LOST {
        let stuck = other.lock("k").await.unwrap();
        let waiting = {
            let other = other.clone();
            tokio::spawn(async move { other.lock("k").await.unwrap() })
        };
        in_line(&other, "k", 1).await;
        plan(&wire, "k", fault);
        let broken = soon(one.break_lock("k")).await;
        assert!(matches!(broken, Err(Error::Unknown { verb: "release", .. })), "{fault:?}: {broken:?}");
        soon(stuck.lost()).await;
        let next = soon(waiting).await.unwrap();
        assert_eq!(
            other.inspect("k").await.unwrap().holding.map(|held| held.token),
            Some(next.token()),
            "asked again, it broke the lease of the next: {fault:?}"
        );
        next.release().await.unwrap();
    }
}

/// The same for a connection that is cut at random, while many work: nothing is left behind, and nobody meets another.
#[tokio::test]
async fn in_bad_weather_nobody_meets_and_nothing_is_left() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let server = RedisServer::start();
    let wire = wire(&server);
    let (one, other) = pair(&server, &wire).await;
    let two = client_with(&wire.url(), "two", hasty()).await;
    let (inside, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    wire.weather(4711, 60);
    let mut workers = tokio::task::JoinSet::new();
    for at in 0..8 {
        let client = if at % 2 == 0 { one.clone() } else { two.clone() };
        let (inside, done) = (Arc::clone(&inside), Arc::clone(&done));
        workers.spawn(async move {
            for _ in 0..15 {
                let Ok(lease) = client.lock("k").ttl(MS(20_000)).await else { continue };
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                tokio::task::yield_now().await;
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                done.fetch_add(1, Ordering::SeqCst);
                let _ = lease.release().await;
            }
        });
    }
    let all = async {
        while let Some(worker) = workers.join_next().await {
            worker.unwrap()
        }
    };
    tokio::time::timeout(MS(90_000), all).await.expect("all get through");
    wire.weather(0, 0);
    until(async || is_free(&other, "k").await).await;
    assert!(done.load(Ordering::SeqCst) > 60, "hardly anybody got through: {:?}", wire.counts());
    assert!(met(&wire) > 5, "hardly anything went wrong: {:?}", wire.counts());
}
