//! Those who wait, those who tell, and the end of a session, each on a thread, with one hub.
#![allow(clippy::expect_used)]

use std::sync::Arc;

use futures_util::future::{Either, select};
use shuttle::future::block_on;

use super::*;
use crate::interleavings::{Thread, both, ended, key, thread};
use crate::name::FencingToken;
use crate::protocol::{Grant, Ttl};

const TICKET: Ticket = Ticket::from_u128(1);

fn granted() -> Wake {
    Wake::Granted(Grant { token: FencingToken(7), tokens: 1, from: 1, ttl: Ttl::Forever })
}

fn tells(hub: &Arc<Hub>, wake: impl FnOnce() -> Wake + Send + 'static) -> Thread {
    let hub = Arc::clone(hub);
    thread(move || hub.tell(TICKET, wake()))
}

fn hints(hub: &Arc<Hub>) -> Thread {
    let hub = Arc::clone(hub);
    thread(move || hub.look_all(false))
}

/// Waits for the grant past all hints, unless it is given up before.
async fn waits(slot: &Slot, given_up: &Notify) -> bool {
    let served = std::pin::pin!(async { while slot.told().await == Wake::Look {} });
    matches!(select(served, std::pin::pin!(given_up.notified())).await, Either::Left(_))
}

/// What is told is taken once, by whoever waits: by the first, or by the one that goes on with its place.
pub fn a_grant_is_taken_once() {
    let (hub, given_up) = (Arc::new(Hub::new()), Arc::new(Notify::new()));
    let slot = hub.listen(TICKET, &key()).expect("it is open");
    let mut threads = vec![tells(&hub, granted), hints(&hub)];
    let gives_up = Arc::clone(&given_up);
    threads.push(thread(move || gives_up.notify_one()));
    let first = block_on(waits(&slot, &given_up));
    let again = hub.listen(TICKET, &key()).expect("it is open");
    if !first {
        assert!(block_on(waits(&again, &Notify::new())));
    }
    ended(threads);
    assert_ne!(lock(&again.told).take(), Some(Box::new(granted())), "told once, and taken twice");
}

/// A waiter that looks when it is told to finds the grant, though the look of another before it was given up.
pub fn a_hint_that_is_needed_is_not_lost() {
    let (hub, tells) = both(Hub::new());
    let (given_up, gives_up) = both(Notify::new());
    let (is_granted, grants) = both(crate::sync::atomic::AtomicBool::new(false));
    let slot = hub.listen(TICKET, &key()).expect("it is open");
    let threads = [
        thread(move || {
            grants.store(true, Ordering::SeqCst);
            tells.tell(TICKET, Wake::Look);
        }),
        thread(move || gives_up.notify_one()),
    ];
    let looks = async |given_up: &Notify| {
        let finds = std::pin::pin!(async {
            loop {
                slot.told().await;
                let look = slot.look();
                // The question is on its way.
                crate::testing::orders::step().await;
                let found = is_granted.load(Ordering::SeqCst);
                look.done();
                if found {
                    break;
                }
            }
        });
        matches!(select(finds, std::pin::pin!(given_up.notified())).await, Either::Left(_))
    };
    if !block_on(looks(&given_up)) {
        assert!(block_on(looks(&Notify::new())));
    }
    ended(threads);
}

/// An answer that comes as soon as the request was sent finds who listens.
pub fn whoever_listens_before_it_asks_hears() {
    let (hub, store) = both(Hub::new());
    let (asked, hears) = both(Notify::new());
    let answers = thread(move || {
        block_on(hears.notified());
        store.tell(TICKET, granted());
    });
    let slot = hub.listen(TICKET, &key()).expect("it is open");
    asked.notify_one();
    assert_eq!(block_on(slot.told()), granted());
    ended([answers]);
}

/// Whoever waits when the session is closed is told, or cannot begin to; and whoever still listened is named.
pub fn closing_wakes_who_waits() {
    let (hub, closing) = both(Hub::new());
    let waits = |number: u128| {
        let hub = Arc::clone(&hub);
        shuttle::thread::spawn(move || {
            let ticket = Ticket::from_u128(number);
            let mut listened = false;
            while let Some(slot) = hub.listen(ticket, &key()) {
                listened = true;
                block_on(slot.told());
            }
            listened.then_some(ticket)
        })
    };
    let waiting = [waits(1), waits(2)];
    let named = shuttle::thread::spawn(move || closing.close());
    let listened: Vec<_> =
        waiting.into_iter().filter_map(|waiter| waiter.join().expect("it has not panicked")).collect();
    let named: Vec<_> =
        named.join().expect("it has not panicked").into_iter().map(|(_, ticket, _)| ticket).collect();
    assert_eq!(named, listened, "whoever listened is to be left at the store");
    assert!(lock(&hub.state).slots.is_empty(), "somebody listens after the end");
}
