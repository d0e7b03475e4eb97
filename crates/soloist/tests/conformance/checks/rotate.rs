//! Releasing a key and asking for it again in one request.

use std::sync::Arc;

use soloist::Store;
use soloist::protocol::{Answer, Request};
use soloist::store::{Reply, Rotated};

use crate::fixture::*;

/// Rotates what is held, and must be told that it has ended.
async fn rotate(store: &Arc<dyn Store>, held: &Request, request: &Request) -> Reply {
    match store.rotate(held.ticket, request).await.unwrap() {
        Rotated::Asked(_, reply) => reply.unwrap(),
        other => panic!("expected that it was held, got {other:?}"),
    }
}

pub async fn who_rotates_stands_behind_all_who_wait(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (held, again) = (lock("k", "first"), lock("k", "again"));
    let token = granted(&a, &held).await.token;
    let mut line = Vec::new();
    for n in 0..3 {
        let request = lock("k", &format!("waiter {n}"));
        line.push((request.clone(), in_line(&b, &request).await));
    }
    let rotated = match a.rotate(held.ticket, &again).await.unwrap() {
        Rotated::Asked(ended, reply) => {
            assert_eq!(ended, token);
            reply.unwrap()
        }
        other => panic!("{other:?}"),
    };
    let queued = place_of(&rotated.answer);
    assert_eq!((queued.place, &queued.holding.holder), (3, &holder("waiter 0")));
    let waiter = waiting(&a, &again, rotated);
    let mut last = token;
    for (request, waits) in line {
        let grant = grant_of(waits.answer().await);
        assert!(grant.token > last);
        last = grant.token;
        assert!(!waiter.is_served());
        release(&b, &request).await;
    }
    assert!(grant_of(waiter.answer().await).token > last);
    assert_eq!(holder_of(&b, "k").await.as_deref(), Some("again"));
}

pub async fn all_take_turns(fixture: &dyn Fixture) {
    let sessions = [fixture.open().await, fixture.open().await];
    let mut held = lock("k", "0");
    granted(&sessions[0], &held).await;
    let next = lock("k", "1");
    let mut waiter = in_line(&sessions[1], &next).await;
    let mut waits = next;
    // Alone in line, one behind the other.
    for turn in 1..20_usize {
        let (from, to) = (&sessions[(turn + 1) % 2], &sessions[turn % 2]);
        let again = lock("k", &format!("{}", turn + 1));
        let reply = rotate(from, &held, &again).await;
        assert_eq!(place_of(&reply.answer).place, 1);
        let grant = grant_of(waiter.answer().await);
        let info = inspect(to, "k").await;
        assert_eq!((info.holding.unwrap().token, info.waiting), (grant.token, 1));
        (held, waits, waiter) = (waits, again.clone(), waiting(from, &again, reply));
    }
    release(&sessions[0], &waits).await;
    waiter.drop_it().await;
}

pub async fn alone_it_is_granted_again(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (held, again) = (lock("k", "first"), lock("k", "again"));
    let token = granted(&store, &held).await.token;
    let grant = grant_of(rotate(&store, &held, &again).await.answer);
    assert!(grant.token > token);
    assert_eq!(inspect(&store, "k").await.holding.unwrap().token, grant.token);
    assert!(matches!(release(&store, &held).await, soloist::protocol::Released::NotHeld(Some(_))));
}

pub async fn what_is_not_held_is_not_rotated(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (held, other, again) = (lock("k", "first"), lock("k", "other"), lock("k", "again"));
    assert!(matches!(a.rotate(held.ticket, &again).await.unwrap(), Rotated::NotHeld(None)));
    granted(&b, &other).await;
    match a.rotate(held.ticket, &again).await.unwrap() {
        Rotated::NotHeld(Some(holding)) => assert_eq!(holding.holder, holder("other")),
        asked => panic!("{asked:?}"),
    }
    let info = inspect(&b, "k").await;
    assert_eq!((info.holding.unwrap().holder, info.waiting), (holder("other"), 0), "nothing was asked for");
    release(&b, &other).await;
    assert_eq!(holder_of(&a, "k").await, None);
}

pub async fn a_full_line_is_not_joined(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let held = lock("k", "first");
    granted(&a, &held).await;
    let waits = [lock("k", "second"), lock("k", "third")];
    for request in &waits {
        queued(&b, request).await;
    }
    let again = Request { max_waiting: Some(1), ..lock("k", "again") };
    match rotate(&a, &held, &again).await.answer {
        Answer::Full { holding, waiting: 1 } => assert_eq!(holding.holder, holder("second")),
        other => panic!("{other:?}"),
    }
    assert_eq!(inspect(&a, "k").await.waiting, 1);
    release(&b, &waits[0]).await;
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("third"));
}

pub async fn a_request_given_up_after_it_is_gone(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (held, next, again) = (lock("k", "first"), lock("k", "second"), lock("k", "again"));
    granted(&a, &held).await;
    let waiter = in_line(&b, &next).await;
    rotate(&a, &held, &again).await;
    grant_of(waiter.answer().await);
    assert_eq!(a.leave(&again.key, again.ticket).await.unwrap(), soloist::protocol::Left::Line);
    release(&b, &next).await;
    assert_eq!(holder_of(&b, "k").await, None);
}
