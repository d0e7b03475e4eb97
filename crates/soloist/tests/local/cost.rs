//! What steps cost, counted in system calls.

use soloist::Store;
use soloist::protocol::Answer;
use soloist::testing::system_calls;

use crate::asking::{base, hold, key, lock, open, release};

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
    };
    let renew = least(async || drop(store.renew(std::slice::from_ref(&renewal)).await.unwrap()));
    assert_eq!(renew.await, 5, "the heads, and then what stands behind a table that is not small");
}
