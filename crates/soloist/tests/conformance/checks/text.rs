//! Names of any text, which never meet and never break out of their place.

use soloist::protocol::{Released, Request};

use crate::fixture::*;
use crate::hostile::hostile;

pub async fn hostile_keys_never_meet(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let mut held = Vec::new();
    for name in hostile() {
        let request = lock(&name, "h");
        granted(&a, &trying(request.clone())).await;
        held.push(request);
    }
    for request in &held {
        let info = b.inspect(&request.key).await.unwrap();
        assert_eq!((&info.key, info.holding.is_some()), (&request.key, true), "{:?}", request.key);
        queued(&b, &lock(request.key.as_str(), "waiter")).await;
        assert!(matches!(release(&a, request).await, Released::Released { .. }), "{:?}", request.key);
        let after = b.inspect(&request.key).await.unwrap().holding;
        assert_eq!(after.map(|h| h.holder), Some(holder("waiter")), "{:?}", request.key);
    }
    let mut names: Vec<_> = held.iter().map(|request| request.key.clone()).collect();
    names.sort();
    let listed: Vec<_> = b.list("").await.unwrap().into_iter().map(|info| info.key).collect();
    assert_eq!(listed, names);
}

pub async fn hostile_keys_carry_results(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    for name in hostile() {
        let leader = flight(&name, "h");
        granted(&a, &leader).await;
        let follower = in_line(&b, &flight(&name, "follower")).await;
        a.publish(&value(&leader, name.clone(), secs(60))).await.unwrap();
        assert_eq!(bytes_of(&outcome_of(follower.answer().await)), name.as_bytes());
    }
    for name in hostile() {
        let outcome = outcome_of(ask(&b, &flight(&name, "late")).await);
        assert_eq!(bytes_of(&outcome), name.as_bytes());
    }
}

pub async fn hostile_holders_and_notes_are_shown_as_given(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    for text in hostile().into_iter().filter(|text| text.len() <= 256) {
        let request = Request { note: Some(note(&text.repeat(2))), ..lock("k", &text) };
        granted(&a, &request).await;
        let waiter = Request { note: Some(note(&text)), ..lock("k", &text) };
        let standing = queued(&b, &waiter).await;
        assert_eq!(place_of(&standing.answer).holding.note, request.note, "{text:?}");
        let info = inspect(&b, "k").await;
        let holding = info.holding.unwrap();
        assert_eq!((&holding.holder, &holding.note), (&request.holder, &request.note), "{text:?}");
        assert_eq!(
            (&info.waiters[0].holder, &info.waiters[0].note),
            (&waiter.holder, &waiter.note),
            "{text:?}"
        );
        // By its holder's name it is found again.
        let by_name = soloist::protocol::Who::Holder(holder(&text));
        assert!(
            matches!(b.release(&key("k"), &by_name).await.unwrap(), Released::Released { .. }),
            "{text:?}"
        );
        let holding = inspect(&a, "k").await.holding.unwrap();
        assert_eq!((&holding.holder, &holding.note), (&waiter.holder, &waiter.note), "handed over: {text:?}");
        assert!(matches!(release(&b, &waiter).await, Released::Released { .. }), "{text:?}");
    }
}

pub async fn the_longest_names_fit(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let mut events = b.events().await.unwrap();
    let name = "n".repeat(soloist::MAX_KEY);
    let who = "h".repeat(soloist::MAX_HOLDER);
    let first = Request { note: Some(note(&"r".repeat(soloist::MAX_NOTE))), ..lock(&name, &who) };
    granted(&a, &first).await;
    queued(&b, &Request { note: first.note.clone(), ..lock(&name, &who) }).await;
    granted(&b, &Request { note: first.note.clone(), ..forcing(lock(&name, &who)) }).await;
    let info = b.inspect(&first.key).await.unwrap();
    assert_eq!(info.waiters[0].note, first.note);
    for _ in 0..2 {
        use futures_util::StreamExt;
        match soon(events.next()).await {
            Some(soloist::store::Told::Event(event)) => assert_eq!(event.key, first.key),
            other => panic!("{other:?}"),
        }
    }
}
