//! The primary changes under clients that hold and wait.

use std::sync::Arc;
use std::time::Duration;

use soloist::store::redis::RedisStore;
use soloist::{Client, Lease, Loss};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::connect::{served, two_primaries, url};
use crate::fake::Fake;
use crate::redis_server::free_port;
use crate::team::{Team, role, until};
use crate::trio::{careless, hasty, run, soon};

const LONG: Duration = Duration::from_secs(300);

/// Somebody who waits behind a holder. Answers who then has it, and how long after this call.
async fn waiting(client: &Client) -> JoinHandle<(Lease, Instant)> {
    let next = client.clone();
    let waiting = tokio::spawn(async move {
        let lease = next.lock("k").ttl(LONG).await.unwrap();
        (lease, Instant::now())
    });
    until(async || client.inspect("k").await.unwrap().waiting == 1).await;
    waiting
}

pub fn print(what: &str, began: Instant, granted: Instant) {
    println!("first grant after {what}: {:.2} s", granted.duration_since(began).as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_is_followed() {
    let mut team = Team::start().await;
    let (a, b) = (team.client("a").await, team.client("b").await);
    let held = a.lock("k").ttl(LONG).await.unwrap();
    let waits = waiting(&b).await;
    team.nodes.copied(1, 2).await;
    team.nodes.all_at(1, 2).await;

    let began = Instant::now();
    team.nodes.0[1].kill();
    let next = team.next(0, 1).await;
    team.nodes.all_at(next, 2).await;
    let free = soon(a.lock("free").into_future()).await.unwrap();
    print("kill -9 of the primary", began, Instant::now());
    soon(free.release()).await.unwrap();

    // The new primary knows the lease and the line: nothing is lost.
    assert!(!held.is_lost());
    let before = held.token();
    soon(held.release()).await.unwrap();
    let (second, _) = soon(waits).await.unwrap();
    assert!(second.token() > before);

    // The old one comes back as if nothing had been, and calls itself primary until it is told.
    team.nodes.start_again(1, None);
    run::<()>(&team.nodes.0[next], &["CLIENT", "KILL", "USER", "store"]).await;
    soon(second.release()).await.unwrap();
    team.nodes.all_at(next, 2).await;
}

/// An old primary that lives on takes writes for seconds. Whoever only notices errors stays there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_lives_on_is_left_at_once() {
    let team = Team::start().await;
    for sentinel in &team.sentinels {
        sentinel.hurry("2000").await;
    }
    // They look at nothing by themselves, and one of them sends nothing.
    let a = Client::builder().holder("a").store(team.store(careless()).await).unwrap();
    let b = Client::builder().holder("b").store(team.store(careless()).await).unwrap();
    let held = a.lock("k").ttl(LONG).await.unwrap();
    let waits = waiting(&b).await;
    team.nodes.copied(1, 2).await;

    let began = Instant::now();
    team.fail_over().await;
    let next = team.next(0, 1).await;
    let switched = Instant::now();
    team.nodes.all_at(next, 2).await;
    assert_eq!(
        role(&team.nodes.0[1]).await,
        "master",
        "they left because they were told, not because of a no"
    );
    let free = soon(b.lock("free").into_future()).await.unwrap();
    print("SENTINEL FAILOVER", began, Instant::now());
    print("its switch", switched, Instant::now());
    drop(free);
    soon(held.release()).await.unwrap();
    soon(soon(waits).await.unwrap().0.release()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_copied_is_told_as_lost_and_tokens_grow() {
    let mut team = Team::start().await;
    let (a, b) = (team.client("a").await, team.client("b").await);
    let copied = a.lock("copied").ttl(LONG).await.unwrap();
    team.nodes.copied(1, 2).await;
    team.cut_replicas(1).await;
    let held = a.lock("k").ttl(LONG).await.unwrap();
    let waits = waiting(&b).await;

    let began = Instant::now();
    team.nodes.0[1].kill();
    let (second, granted) = soon(waits).await.unwrap();
    print("kill -9 with a cut replication link", began, granted);
    assert!(second.token() > held.token(), "whoever checks the token refuses the first");
    assert_eq!(soon(held.lost()).await, Loss::Gone);
    assert!(!copied.is_lost());
    soon(copied.release()).await.unwrap();
    soon(second.release()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_is_left() {
    let team = Team::start().await;
    let (a, b) = (team.client("a").await, team.client("b").await);
    let held = a.lock("k").ttl(LONG).await.unwrap();
    let waits = waiting(&b).await;
    team.nodes.copied(1, 2).await;
    let began = Instant::now();
    team.nodes.0[1].freeze();
    let next = team.next(0, 1).await;
    until(async || held.deadline().is_some() && a.inspect("k").await.is_ok()).await;
    soon(held.release()).await.unwrap();
    let (second, granted) = soon(waits).await.unwrap();
    print("a primary that hangs", began, granted);
    // It wakes up as a primary that knows nothing of all this.
    team.nodes.0[1].wake();
    soon(second.release()).await.unwrap();
    team.nodes.all_at(next, 2).await;
}

/// The store knows one Sentinel by its URL, and that one dies: the others are known through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sentinels_are_known_when_one_dies() {
    let mut team = Team::start().await;
    let options = careless();
    let store = RedisStore::connect_with(&team.url_of(&[0]), options).await.unwrap();
    team.nodes.all_at(1, 1).await;
    team.sentinels[0].kill();
    let began = Instant::now();
    team.nodes.0[1].kill();
    let next = team.next(1, 1).await;
    served(&store).await;
    print("kill -9 of the primary and a Sentinel", began, Instant::now());
    team.nodes.all_at(next, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_sentinel_the_primary_serves_on() {
    let mut team = Team::start().await;
    let client = team.client("a").await;
    for sentinel in &mut team.sentinels {
        sentinel.kill();
    }
    // Long enough for each look at the primary, and for each try to hear a Sentinel.
    let end = Instant::now() + 5 * hasty().health_check;
    while Instant::now() < end {
        soon(client.lock("k").into_future()).await.unwrap().release().await.unwrap();
    }
    team.nodes.all_at(1, 1).await;
    // A connection that is lost needs one to come back: the primary may have changed.
    run::<()>(&team.nodes.0[1], &["CLIENT", "KILL", "USER", "store"]).await;
    until(async || {
        let list: String = run(&team.nodes.0[1], &["CLIENT", "LIST"]).await;
        !list.contains("user=store")
    })
    .await;
    team.sentinels[2].start_again();
    soon(async {
        while client.try_lock("k").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    team.nodes.all_at(1, 1).await;
}

/// A request is under way at the old primary when another is named, and is carried out there after all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_primary_still_answers_does_not_count() {
    let trio = two_primaries().await;
    let mut sentinel = Fake::start(4, trio.0[1].port()).await;
    let options = careless().response_timeout(Duration::from_secs(3600));
    let store = RedisStore::connect_with(&url(&[sentinel.port()]), options).await.unwrap();
    let client = Client::builder().store(Arc::new(store)).unwrap();
    run::<()>(&trio.0[1], &["CLIENT", "PAUSE", "3600000", "WRITE"]).await;
    let asking = client.clone();
    let asks = tokio::spawn(async move { asking.lock("k").await });
    until(async || run::<String>(&trio.0[1], &["INFO", "clients"]).await.contains("blocked_clients:1")).await;
    sentinel.kill().await;
    sentinel.say(5, trio.0[2].port());
    sentinel.start_again().await;
    // The connection on which the request is under way stays open until it is answered.
    until(async || {
        let list: String = run(&trio.0[2], &["CLIENT", "LIST"]).await;
        list.matches("user=store").count() == 2
    })
    .await;
    run::<()>(&trio.0[1], &["CLIENT", "UNPAUSE"]).await;
    let lease = soon(asks).await.unwrap().unwrap();
    let there = Client::builder().store(Arc::new(trio.at(2).await)).unwrap();
    let holding = there.inspect("k").await.unwrap().holding.expect("it is held where the primary is");
    assert_eq!(holding.token, lease.token());
}

/// The new primary cannot be reached, and the old one would go on renewing what is the new one's to grant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_renews_nothing() {
    let trio = two_primaries().await;
    let mut sentinel = Fake::start(4, trio.0[1].port()).await;
    let store = RedisStore::connect_with(&url(&[sentinel.port()]), careless()).await.unwrap();
    let client = Client::builder().store(Arc::new(store)).unwrap();
    let lease = client.lock("k").ttl(Duration::from_secs(3)).await.unwrap();
    // Those that carry something. The one that hears may stay until there is another node to hear at.
    let carry = async || {
        let list: String = run(&trio.0[1], &["CLIENT", "LIST"]).await;
        list.lines().filter(|line| line.contains("user=store") && line.contains(" sub=0 ")).count()
    };
    until(async || carry().await == 2).await;
    sentinel.kill().await;
    sentinel.say(5, free_port());
    sentinel.start_again().await;
    until(async || carry().await == 0).await;
    assert_eq!(soon(lease.lost()).await, Loss::Expired);
}
