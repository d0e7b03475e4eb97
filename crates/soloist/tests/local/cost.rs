//! What steps cost, counted in system calls.

use soloist::Store;
use soloist::protocol::{Answer, HANDOVER_TTL, Request, Ttl};
use soloist::store::Rotated;
use soloist::testing::system_calls;

use crate::asking::{base, granted, hold, key, lock, open, release, soon};

/// The least that any of some rounds takes: now and then more is looked at, and tables are written anew.
async fn least(mut round: impl AsyncFnMut()) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..100 {
        let before = system_calls();
        round().await;
        least = least.min(system_calls() - before);
    }
    least
}

#[tokio::test]
async fn a_step_locks_reads_writes_and_unlocks_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&base(&dir));
    let cycle = least(async || {
        let request = lock("a");
        hold(&store, &request).await;
        release(&store, &request).await;
    });
    assert_eq!(cycle.await, 8, "two steps of four calls");
    let look = least(async || drop(store.inspect(&key("a")).await.unwrap()));
    assert_eq!(look.await, 3, "a look does not write");
}

#[tokio::test]
async fn a_renewal_in_a_long_line_costs_one_call_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&base(&dir));
    let first = lock("a");
    hold(&store, &first).await;
    for _ in 0..100 {
        let answer = store.acquire(&lock("a")).await.unwrap().answer;
        assert!(matches!(answer, Answer::Queued(_)), "{answer:?}");
    }
    let renewal = soloist::protocol::Renewal {
        key: key("a"),
        who: soloist::protocol::Who::Ticket(first.ticket),
        ttl: soloist::protocol::Ttl::Micros(60_000_000),
        detach: false,
        at_least: None,
    };
    let renew = least(async || drop(store.renew(std::slice::from_ref(&renewal)).await.unwrap()));
    assert_eq!(renew.await, 5, "the heads, and then what stands behind a table that is not small");
}

#[tokio::test]
async fn who_is_handed_a_key_holds_it_without_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    let asks = || Request { ttl: Ttl::Micros(60_000_000), ..lock("a") };
    let mut held = asks();
    hold(&one, &held).await;
    let (mut told, mut heard) = (u64::MAX, u64::MAX);
    for round in 0..100 {
        let (from, to) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let next = asks();
        let standing = to.acquire(&next).await.unwrap();
        let before = system_calls();
        release(from, &held).await;
        let between = system_calls();
        let grant = granted(soon(to.wait(&next, standing)).await.unwrap());
        assert_eq!(grant.ttl, Ttl::Micros(HANDOVER_TTL), "its first renewal confirms it");
        heard = heard.min(system_calls() - between);
        // Until they have met they open each other's FIFO.
        if round >= 2 {
            told = told.min(between - before);
        }
        held = next;
    }
    assert_eq!(heard, 0, "the message says it all");
    assert_eq!(told, 7, "a step, two looks whether the next one lives, and the message");
}

#[tokio::test]
async fn who_rotates_takes_one_step() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    let asks = || Request { ttl: Ttl::Micros(60_000_000), ..lock("a") };
    let (mut held, mut waits) = (asks(), asks());
    hold(&one, &held).await;
    let mut standing = other.acquire(&waits).await.unwrap();
    let mut least = u64::MAX;
    for round in 0..100 {
        let (from, to) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let again = asks();
        let before = system_calls();
        let Rotated::Asked(_, reply) = from.rotate(held.ticket, &again).await.unwrap() else {
            panic!("it is held")
        };
        // Until they have met they open each other's FIFO.
        if round >= 2 {
            least = least.min(system_calls() - before);
        }
        granted(soon(to.wait(&waits, standing)).await.unwrap());
        (held, waits, standing) = (waits, again, reply.unwrap());
    }
    // As a release that hands over, and the look whether the one in front lives.
    assert!(least <= 9, "{least} calls");
}

#[tokio::test]
async fn who_locks_and_releases_all_the_time_lets_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&base(&dir));
    let busy = async {
        loop {
            let request = lock("a");
            hold(&store, &request).await;
            release(&store, &request).await;
        }
    };
    let others = std::cell::Cell::new(0);
    let count = async {
        while others.get() < 10 {
            tokio::task::yield_now().await;
            others.set(others.get() + 1);
        }
    };
    tokio::select! {
        biased;
        () = busy => {}
        () = count => {}
    }
    assert_eq!(others.get(), 10);
}
