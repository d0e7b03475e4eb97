//! What a process knows of a shard is never used after another one has written.

use soloist::protocol::{Answer, Body, KeyInfo, Mode, Request, Who};
use soloist::store::local::LocalStore;
use soloist::{Holder, Note, Store};

use crate::asking::{base, flight, granted, key, lock, open, publication, soon};
use crate::child::Child;

/// All that is told of some keys, but the time at which it was.
async fn seen(store: &LocalStore) -> Vec<KeyInfo> {
    let mut all = Vec::new();
    for name in ["a", "b"] {
        all.push(KeyInfo { now: 0, ..store.inspect(&key(name)).await.unwrap() });
    }
    all
}

fn random(below: usize) -> usize {
    (soloist::Ticket::mint().as_u128() % below as u128) as usize
}

#[tokio::test]
async fn two_stores_that_take_turns_know_what_a_fresh_one_reads() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(&base(&dir)), open(&base(&dir))];
    let mut asked: Vec<Request> = Vec::new();
    let mut longest = 0;
    for step in 0..1500 {
        let store = &stores[random(2)];
        let name = ["a", "b"][random(2)];
        let what = random(10);
        match what {
            // In line, with names of any length: lines grow to some dozens, and shrink to nothing.
            0..=4 if step % 300 < 200 => {
                let mut request = if random(3) == 0 { flight(name) } else { lock(name) };
                request.holder = Holder::new("h".repeat(1 + random(256))).unwrap();
                request.note = (random(4) == 0).then(|| Note::new("n".repeat(1 + random(900))).unwrap());
                request.mode = if random(9) == 0 { Mode::Force } else { Mode::Line };
                store.acquire(&request).await.unwrap();
                asked.push(request);
            }
            0..=6 if !asked.is_empty() => {
                let gone = asked.swap_remove(random(asked.len()));
                store.leave(&gone.key, gone.ticket).await.unwrap();
            }
            7 => {
                let text = vec![b'x'; random(6000)];
                if let Some(leader) = asked.iter().find(|request| request.key == key(name)) {
                    store.publish(&publication(leader, Body::Inline(text.into()))).await.unwrap();
                }
            }
            8 => drop(store.forget(&key(name)).await.unwrap()),
            _ => drop(store.release(&key(name), &Who::Any).await.unwrap()),
        }
        let fresh = seen(&open(&base(&dir))).await;
        longest = longest.max(fresh[0].waiting);
        for store in &stores {
            assert_eq!(seen(store).await, fresh, "after step {step}, {what}");
        }
    }
    assert!(longest > 10, "{longest} waiting");
}

#[tokio::test]
async fn a_lock_of_another_process_is_seen_by_who_knew_the_key_free() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&base(&dir));
    for _ in 0..3 {
        let request = Request { mode: Mode::Try, ..lock("a") };
        granted(store.acquire(&request).await.unwrap());
        store.release(&key("a"), &Who::Ticket(request.ticket)).await.unwrap();
        let mut child = Child::start("hold a", &base(&dir));
        assert_eq!(soon(child.says()).await.as_deref(), Some("holding"));
        let answer = store.acquire(&Request { mode: Mode::Try, ..lock("a") }).await.unwrap().answer;
        assert!(matches!(answer, Answer::Busy(_)), "{answer:?}");
        child.kill();
        child.reap().await;
        // Its end frees the key.
        let next = lock("a");
        let standing = store.acquire(&next).await.unwrap();
        granted(soon(store.wait(&next, standing)).await.unwrap());
        store.release(&key("a"), &Who::Ticket(next.ticket)).await.unwrap();
    }
}
