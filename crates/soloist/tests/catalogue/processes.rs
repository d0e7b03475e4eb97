//! Processes that freeze, are killed, panic or abort while they hold or wait.

use futures_util::StreamExt;
use soloist::{EventKind, Told};

use crate::fleet::{in_line, soon, until};
use crate::role::{ask, next, start, write};
use crate::{Ground, MS};

/// The holder sleeps past its ttl: whatever it asks first when it wakes tells it, and its writes come too late.
async fn slept_past_its_ttl(ground: Ground, fenced: bool) {
    let other = ground.client("other").await;
    let mut holder = start("hold", &ground.url, "holding").await;
    let old = ask(&mut holder, "token").await.parse::<u64>().unwrap();
    assert_eq!(ask(&mut holder, "is it lost?").await, "false");
    if fenced {
        assert_eq!(ask(&mut holder, "write").await, "true");
    }
    holder.freeze();
    let lease = soon(async { other.lock("k").await }).await.unwrap();
    assert!(lease.token().0 > old);
    if fenced {
        assert!(write(&ground.url, lease.token().0, "other").await);
    }
    holder.wake();
    assert_eq!(ask(&mut holder, "is it lost?").await, "true");
    assert!(ask(&mut holder, "why?").await.contains("its ttl passed"));
    if fenced {
        assert_eq!(ask(&mut holder, "write").await, "false", "the late write is refused");
    }
    let released = ask(&mut holder, "release").await;
    assert!(released.contains("is lost"), "{released}");
    // Neither the renewals nor the release of the old holder touched the new one's lease.
    let now = other.inspect("k").await.unwrap().holding.unwrap();
    assert_eq!(now.token, lease.token());
    assert!(!lease.is_lost());
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_holder_frozen_past_its_ttl_knows_at_its_first_question_and_writes_no_more() {
    slept_past_its_ttl(Ground::redis(), true).await;
}

#[tokio::test]
async fn a_holder_frozen_past_its_ttl_on_the_local_store_knows_at_its_first_question() {
    slept_past_its_ttl(Ground::local(), false).await;
}

/// A lease that is frozen for less than its ttl, again and again, is not lost.
#[tokio::test]
async fn a_holder_frozen_for_less_than_its_ttl_holds_on() {
    let ground = Ground::redis();
    let other = ground.client("other").await;
    let mut holder = start("hold", &ground.url, "holding").await;
    let token = ask(&mut holder, "token").await;
    for _ in 0..5 {
        holder.freeze();
        holder.wake();
        assert_eq!(ask(&mut holder, "is it lost?").await, "false");
    }
    assert_eq!(other.inspect("k").await.unwrap().holding.unwrap().token.to_string(), token);
    assert_eq!(ask(&mut holder, "release").await, "released");
}

#[tokio::test]
async fn a_killed_holder_is_followed_at_its_ttl() {
    let ground = Ground::redis();
    let other = ground.client("other").await;
    let holder = start("hold", &ground.url, "holding").await;
    let waiting = {
        let other = other.clone();
        tokio::spawn(async move { other.lock("k").await.unwrap().release().await })
    };
    in_line(&other, "k", 1).await;
    holder.reap();
    let began = std::time::Instant::now();
    soon(waiting).await.unwrap().unwrap();
    assert!(began.elapsed() < MS(12_000), "found by the slowest look only, not at its ttl");
}

#[tokio::test]
async fn a_killed_waiter_is_passed_over_in_the_same_step() {
    let ground = Ground::redis();
    let (holder, next_one) = (ground.client("holder").await, ground.client("next").await);
    let lease = holder.lock("k").await.unwrap();
    let dead = start("wait", &ground.url, "waiting").await;
    in_line(&holder, "k", 1).await;
    let waiting = tokio::spawn(async move { next_one.lock("k").await.unwrap() });
    in_line(&holder, "k", 2).await;
    let mut events = holder.events().await.unwrap();
    dead.reap();
    // The server knows of the death as soon as the connections are gone.
    let mut admin = ground._server.as_ref().unwrap().admin().await;
    soon(async {
        loop {
            let channels: Vec<Vec<u8>> = redis::cmd("PUBSUB")
                .arg("CHANNELS")
                .arg("soloist:1:s:*")
                .query_async(&mut admin)
                .await
                .unwrap();
            if channels.len() == 2 {
                return;
            }
        }
    })
    .await;
    lease.release().await.unwrap();
    let served = soon(waiting).await.unwrap();
    // Nobody held in between.
    let mut kinds = Vec::new();
    while let Told::Event(event) = soon(events.next()).await.unwrap() {
        kinds.push(event.kind);
        if event.token == served.token() {
            break;
        }
    }
    assert_eq!(kinds, [EventKind::Released, EventKind::Locked]);
}

#[tokio::test]
async fn the_lease_of_a_task_that_panics_is_released_and_that_of_a_process_that_aborts_ends() {
    for ground in [Ground::redis(), Ground::local()] {
        let other = ground.client("other").await;
        let mut holder = start("panic", &ground.url, "holding").await;
        holder.tell("go");
        assert_eq!(next(&mut holder).await, "panicked");
        // Its ttl is an hour: it was released.
        soon(async { other.lock("k").await.unwrap().release().await }).await.unwrap();
        drop(holder);
        let mut holder = start("abort", &ground.url, "holding").await;
        holder.tell("go");
        soon(async { other.lock("k").await.unwrap().release().await }).await.unwrap();
        assert_eq!(soon(holder.says()).await, None);
    }
}

/// Whoever gives up just when he is handed the key passes it on.
#[tokio::test]
async fn a_waiter_that_gives_up_at_any_moment_leaves_the_key_to_the_next() {
    let ground = Ground::redis();
    let (holder, hasty, next_one) =
        (ground.client("holder").await, ground.client("hasty").await, ground.client("next").await);
    for round in 0..40 {
        let lease = holder.lock("k").await.unwrap();
        let giving_up = {
            let hasty = hasty.clone();
            tokio::spawn(async move { hasty.lock("k").wait(MS(5 + round % 8)).await.map(drop) })
        };
        let next_one = next_one.clone();
        let waiting = tokio::spawn(async move { next_one.lock("k").await.unwrap().release().await });
        tokio::time::sleep(MS(4 + round % 5)).await; // another moment each round
        lease.release().await.unwrap();
        let _ = soon(giving_up).await.unwrap();
        soon(waiting).await.unwrap().unwrap();
    }
    hasty.flush().await;
    let free = async || {
        let info = holder.inspect("k").await.unwrap();
        info.holding.is_none() && info.waiting == 0
    };
    until(free).await;
}
