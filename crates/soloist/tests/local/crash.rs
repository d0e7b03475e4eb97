//! Processes that are killed or frozen at any moment.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use soloist::Store;
use soloist::protocol::{Answer, Mode, Request};

use crate::asking::{granted, hold, lock, open, queued, release, soon};
use crate::child::Child;

/// So many in front that the timed look, which is the later the longer the line, comes after the test's limit.
const IN_FRONT: u64 = 6;

#[tokio::test]
async fn a_killed_holder_is_followed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = open(&path);
    for _ in 0..5 {
        let mut holder = Child::start("hold a", &path);
        assert_eq!(holder.says().await.unwrap(), "holding");
        let request = lock("a");
        let reply = store.acquire(&request).await.unwrap();
        assert_eq!(queued(&reply), 1);
        // The timed look comes after 15 s; that it is noticed much sooner is the point. The killed process
        // is a zombie all the while.
        let began = Instant::now();
        holder.kill();
        granted(soon(store.wait(&request, reply)).await.unwrap());
        assert!(began.elapsed() < Duration::from_secs(10), "found only by the timed look");
        release(&store, &request).await;
        holder.reap().await;
    }
}

#[tokio::test]
async fn a_killed_waiter_is_passed_over_and_the_one_behind_watches_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = open(&path);
    let mut holder = Child::start("hold a", &path);
    assert_eq!(holder.says().await.unwrap(), "holding");
    let mut waiters = Vec::new();
    for _ in 0..IN_FRONT {
        let mut waiter = Child::start("wait a", &path);
        assert_eq!(waiter.says().await.unwrap(), "waiting");
        waiters.push(waiter);
    }
    let request = lock("a");
    let reply = store.acquire(&request).await.unwrap();
    assert_eq!(queued(&reply), IN_FRONT + 1);
    for waiter in waiters {
        waiter.kill();
        waiter.reap().await;
    }
    let began = Instant::now();
    holder.kill();
    granted(soon(store.wait(&request, reply)).await.unwrap());
    assert!(began.elapsed() < Duration::from_secs(10), "found only by the timed look");
}

#[tokio::test]
async fn a_waiter_behind_one_that_left_watches_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (first, second) = (open(&path), open(&path));
    let mut holder = Child::start("hold a", &path);
    assert_eq!(holder.says().await.unwrap(), "holding");
    let leavers: Vec<_> = (0..IN_FRONT).map(|_| lock("a")).collect();
    for leaver in &leavers {
        first.acquire(leaver).await.unwrap();
    }
    let stayer = lock("a");
    let reply = second.acquire(&stayer).await.unwrap();
    assert_eq!(queued(&reply), IN_FRONT + 1);
    for leaver in &leavers {
        first.leave(&leaver.key, leaver.ticket).await.unwrap();
    }
    let began = Instant::now();
    let waiting = second.wait(&stayer, reply);
    let killing = async {
        // Until the waiter has looked: it is the first in line then, and watches the holder.
        tokio::task::yield_now().await;
        holder.kill();
    };
    let (reply, ()) = tokio::join!(soon(waiting), killing);
    granted(reply.unwrap());
    assert!(began.elapsed() < Duration::from_secs(10), "found only by the timed look");
}

#[tokio::test]
async fn a_lease_lives_on_while_somebody_keeps_its_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (one, other) = (open(&path), open(&path));
    hold(&one, &lock("a")).await;
    let kept = one.liveness().unwrap().unwrap();
    let attempt = Request { mode: Mode::Try, ..lock("a") };
    assert!(matches!(other.acquire(&attempt).await.unwrap().answer, Answer::Busy(_)));
    drop(kept);
    one.close().await;
    granted(other.acquire(&attempt).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_stops_nobody_on_other_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = open(&path);
    let mut child = Child::start("spin frozen", &path);
    assert_eq!(child.says().await.unwrap(), "spinning");
    for round in 0..30 {
        child.signal(Signal::STOP);
        for name in ["a", "b", "c", "d"] {
            let request = lock(name);
            soon(hold(&store, &request)).await;
            release(&store, &request).await;
        }
        child.signal(Signal::CONT);
        // While it runs, its key goes round as well.
        if round % 10 == 0 {
            let request = lock("frozen");
            hold(&store, &request).await;
            release(&store, &request).await;
        }
    }
    child.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_kills_break_nothing() {
    let long = std::env::var_os("SOLOIST_SOAK").is_some();
    random_kills(Duration::from_secs(if long { 300 } else { 4 })).await;
}

/// The same for as many `SECONDS` as are wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs for as long as it is told to"]
async fn random_kills_for_a_while() {
    let seconds = std::env::var("SECONDS").map_or(60, |text| text.parse().expect("SECONDS is a number"));
    random_kills(Duration::from_secs(seconds)).await;
}

/// Random kill -9 of processes that race for a few keys: nobody is ever two, tokens grow, and all goes on.
async fn random_kills(time: Duration) {
    const KEYS: u64 = 3;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let end = Instant::now() + time;
    let mut racers = Vec::new();
    for _ in 0..5 {
        racers.push(Child::start(&format!("race {KEYS}"), &path));
    }
    for racer in &mut racers {
        assert_eq!(racer.says().await.unwrap(), "racing");
    }
    let mut kills = 0;
    while Instant::now() < end {
        let random = soloist::Ticket::mint().as_u128();
        let victim = racers.swap_remove((random % 5) as usize);
        victim.kill();
        finished(victim).await;
        kills += 1;
        let mut next = Child::start(&format!("race {KEYS}"), &path);
        assert_eq!(next.says().await.unwrap(), "racing");
        racers.push(next);
    }
    for racer in &racers {
        racer.kill();
    }
    for racer in racers {
        finished(racer).await;
    }
    let store = open(&path);
    let mut held = 0;
    for number in 0..KEYS {
        hold(&store, &lock(&format!("key-{number}"))).await;
        let tokens = std::fs::read_to_string(dir.path().join(format!("witness-{number}"))).unwrap();
        let tokens: Vec<u64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
        assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "tokens of key {number} do not grow");
        assert!(tokens.len() > 10, "hardly anything went on");
        held += tokens.len();
    }
    println!("local store: {held} leases, {kills} kills, 0 violations");
}

/// Reads on to the end of a killed racer, which must have had nothing to say.
async fn finished(mut racer: Child) {
    assert_eq!(racer.says().await, None);
    racer.reap().await;
}
