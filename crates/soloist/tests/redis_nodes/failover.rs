//! The primary changes under clients that hold, wait and follow.

use std::sync::Arc;
use std::time::Duration;

use soloist::protocol::{Answer, Released, Request, Ttl, Who};
use soloist::store::Reply;
use soloist::store::redis::RedisStore;
use soloist::{Client, Error, Flight, Key, Loss, Store};

use crate::trio::{Trio, careless, hasty, run, soon};

const LONG: Duration = Duration::from_secs(300);

fn lock(text: &str) -> Request {
    crate::request::lock(text, "somebody", Ttl::new(LONG))
}

fn granted(reply: &Reply) -> u64 {
    match &reply.answer {
        Answer::Granted(grant) => grant.token.0,
        other => panic!("not granted: {other:?}"),
    }
}

fn queued(reply: Reply) -> Reply {
    assert!(matches!(reply.answer, Answer::Queued(_)), "{reply:?}");
    reply
}

async fn release(store: &RedisStore, request: &Request) {
    let released = soon(store.release(&request.key, &Who::Ticket(request.ticket))).await.unwrap();
    assert!(matches!(released, Released::Released { .. }), "{released:?}");
}

async fn in_line(client: &Client, key: &str, count: u64) {
    soon(async {
        while client.inspect(key).await.unwrap().waiting != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A store whose waiter stands in line behind a holder, at a server that both know.
async fn waiter_behind_holder(trio: &Trio, store: &Arc<RedisStore>) -> (Request, Waiting) {
    let (holder, waiter) = (lock("k"), lock("k"));
    granted(&store.acquire(&holder).await.unwrap());
    let standing = queued(store.acquire(&waiter).await.unwrap());
    trio.copied(1, 2).await;
    let store = Arc::clone(store);
    (holder, tokio::spawn(async move { store.wait(&waiter, standing).await }))
}

type Waiting = tokio::task::JoinHandle<soloist::Result<Reply>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_is_followed_to_the_next() {
    let mut trio = Trio::start().await;
    let (a, b) = (trio.client("a").await, trio.client("b").await);
    let held = a.lock("k").ttl(LONG).await.unwrap();
    let before = held.token();
    let next = b.clone();
    let waiting = tokio::spawn(async move { next.lock("k").ttl(LONG).await.unwrap() });
    in_line(&a, "k", 1).await;
    let Flight::Leader(leader) = a.once("f").ttl(LONG).join::<String>().await.unwrap() else {
        panic!("there should be no result yet")
    };
    let follower = b.clone();
    let following = tokio::spawn(async move { follower.once("f").join::<String>().await.unwrap() });
    in_line(&a, "f", 1).await;
    trio.copied(1, 2).await;

    trio.0[1].kill();
    trio.promote(2).await;
    trio.follow(2, &[0]).await;

    // The new primary knows the lease and the line: nothing is lost.
    trio.all_at(2, 2).await;
    soon(leader.publish("the result".into())).await.unwrap();
    let Flight::Done(result) = soon(following).await.unwrap() else { panic!("led by two") };
    assert_eq!(result, "the result");
    assert!(!held.is_lost());
    soon(held.release()).await.unwrap();
    let second = soon(waiting).await.unwrap();
    assert!(second.token() > before);

    // The old primary comes back as a replica: all stay where they are, also when they are cut off.
    trio.start_again(1, Some(2));
    trio.follow(2, &[1]).await;
    run::<()>(&trio.0[2], &["CLIENT", "KILL", "USER", "store"]).await;
    soon(second.release()).await.unwrap();
    let third = soon(a.lock("k").into_future()).await.unwrap();
    trio.all_at(2, 2).await;
    assert!(third.token() > before);
    soon(third.release()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_new_primary_never_got_is_told_as_lost() {
    let mut trio = Trio::start().await;
    let (a, b) = (trio.client("a").await, trio.client("b").await);
    let copied = a.lock("copied").ttl(LONG).await.unwrap();
    trio.copied(1, 2).await;
    for cut_off in [0, 2] {
        run::<()>(&trio.0[cut_off], &["REPLICAOF", "127.0.0.1", "1"]).await;
    }
    let held = a.lock("k").ttl(LONG).await.unwrap();
    let next = b.clone();
    let waiting = tokio::spawn(async move { next.lock("k").ttl(LONG).await.unwrap() });
    in_line(&a, "k", 1).await;

    trio.0[1].kill();
    trio.promote(0).await;

    let second = soon(waiting).await.unwrap();
    assert!(second.token() > held.token(), "whoever checks the token refuses the first");
    assert_eq!(soon(held.lost()).await, Loss::Gone);
    assert!(!copied.is_lost());
    soon(copied.release()).await.unwrap();
    soon(second.release()).await.unwrap();
    trio.all_at(0, 2).await;
}

#[tokio::test]
async fn a_primary_deposed_under_us_is_left_at_its_no() {
    let trio = Trio::start().await;
    let store = trio.store(careless()).await;
    let request = lock("k");
    let before = granted(&store.acquire(&request).await.unwrap());
    trio.copied(1, 2).await;
    trio.promote(2).await;
    trio.follow(2, &[0, 1]).await;
    release(&store, &request).await;
    assert!(granted(&soon(store.acquire(&lock("k"))).await.unwrap()) > before);
    trio.all_at(2, 1).await;
}

/// A waiter sends nothing, and nothing breaks its connections: somebody has to look.
#[tokio::test]
async fn a_primary_deposed_under_us_is_left_though_nothing_is_sent() {
    let trio = Trio::start().await;
    let (store, _idle) = (trio.store(hasty()).await, trio.store(hasty()).await);
    let (holder, waiting) = waiter_behind_holder(&trio, &store).await;
    trio.promote(2).await;
    trio.follow(2, &[0, 1]).await;
    trio.all_at(2, 2).await;
    release(&trio.at(2).await, &holder).await;
    granted(&soon(waiting).await.unwrap().unwrap());
}

/// The network is cut, and the old primary still calls itself one: `min-replicas-to-write` has it refuse.
#[tokio::test]
async fn a_primary_that_is_cut_off_and_says_so_is_left() {
    let trio = Trio::start().await;
    let store = trio.store(hasty()).await;
    let (holder, waiting) = waiter_behind_holder(&trio, &store).await;
    run::<()>(&trio.0[1], &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    trio.promote(2).await;
    trio.follow(2, &[0]).await;
    trio.all_at(2, 1).await;
    release(&store, &holder).await;
    granted(&soon(waiting).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_primary_that_hangs_is_left() {
    let trio = Trio::start().await;
    let store = trio.store(hasty()).await;
    let (holder, waiting) = waiter_behind_holder(&trio, &store).await;
    trio.0[1].freeze();
    trio.promote(2).await;
    // The kernel still takes connections for the one that hangs, so only the new one can be asked.
    release(&store, &holder).await;
    granted(&soon(waiting).await.unwrap().unwrap());
    trio.0[1].wake();
    trio.all_at(2, 1).await;
}

/// Two that call themselves primary. Each client is at one of them with both of its connections, whichever of
/// the two was lost: a wake-up is counted by who hears at that server.
#[tokio::test]
async fn both_connections_go_to_the_same_of_two_primaries() {
    for lost in ["normal", "pubsub"] {
        let mut trio = Trio::start().await;
        trio.0[1].kill();
        trio.promote(2).await;
        let store = trio.store(careless()).await;
        trio.all_at(2, 1).await;
        // The first of the list becomes a primary, too; whoever asks anew goes there.
        trio.start_again(1, None);
        store.touch(&Key::new("k").unwrap()).await.unwrap();
        trio.all_at(2, 1).await;
        run::<()>(&trio.0[2], &["CLIENT", "KILL", "USER", "store", "TYPE", lost]).await;
        soon(store.touch(&Key::new("k").unwrap())).await.unwrap();
        trio.all_at(1, 1).await;

        let (holder, waiter) = (lock("k"), lock("k"));
        let other = trio.at(1).await;
        granted(&other.acquire(&holder).await.unwrap());
        let standing = queued(store.acquire(&waiter).await.unwrap());
        release(&other, &holder).await;
        granted(&soon(store.wait(&waiter, standing)).await.unwrap());
    }
}

#[tokio::test]
async fn when_all_are_down_all_are_named_and_one_that_is_back_is_enough() {
    let mut trio = Trio::start().await;
    let store = trio.store(hasty().give_up(Duration::from_secs(1))).await;
    let (holder, waiting) = waiter_behind_holder(&trio, &store).await;
    for server in &mut trio.0 {
        server.kill();
    }
    let said = loop {
        let error = soon(store.touch(&holder.key)).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        // The first to be lost says only that.
        if error.to_string().contains("none of its nodes") {
            break error.to_string();
        }
    };
    assert!(trio.all_named(&said), "{said}");
    trio.start_again(0, None);
    granted(&soon(waiting).await.unwrap().unwrap());
    trio.start_again(1, Some(0));
    trio.follow(0, &[1]).await;
    soon(store.touch(&holder.key)).await.unwrap();
}

/// A failover takes its time. Until a replica is promoted, that is an outage like another.
#[tokio::test]
async fn while_all_are_replicas_a_waiter_waits() {
    let trio = Trio::start().await;
    let store = trio.store(hasty().give_up(Duration::from_millis(300))).await;
    let (holder, waiting) = waiter_behind_holder(&trio, &store).await;
    let impatient = trio.store(careless().give_up(Duration::ZERO)).await;
    run::<()>(&trio.0[1], &["REPLICAOF", "127.0.0.1", "1"]).await;
    let error = soon(impatient.acquire(&lock("free"))).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    drop(impatient);
    for _ in 0..3 {
        let error = soon(store.acquire(&lock("free"))).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable { why, .. } if why.contains("READONLY")), "{error:?}");
    }
    trio.promote(2).await;
    trio.all_at(2, 1).await;
    release(&store, &holder).await;
    granted(&soon(waiting).await.unwrap().unwrap());
}
