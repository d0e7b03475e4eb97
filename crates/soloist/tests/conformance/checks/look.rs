//! Looking at keys changes nothing and tells everything.

use soloist::Level;
use soloist::protocol::{Request, Want};

use crate::fixture::*;

pub async fn inspect_tells_holder_waiters_and_result(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let empty = inspect(&a, "k").await;
    assert_eq!((empty.holding, empty.waiting, empty.result), (None, 0, None));
    assert_eq!(empty.key, key("k"));
    let leader = flight("k", "leader");
    let led = granted(&a, &leader).await;
    a.publish(&value(&leader, "four", secs(60))).await.unwrap();
    let first = Request { note: Some(note("why")), ..lock("k", "first") };
    let grant = granted(&a, &first).await;
    queued(&b, &Request { note: Some(note("me too")), ..lock("k", "second") }).await;
    queued(&a, &lock("k", "third")).await;
    let info = inspect(&b, "k").await;
    let holding = info.holding.unwrap();
    assert_eq!((holding.holder, holding.token, holding.want), (holder("first"), grant.token, Want::Lock));
    assert_eq!((holding.since, holding.note), (grant.from, Some(note("why"))));
    assert_eq!(holding.deadline, grant.ttl.deadline(grant.from));
    assert!(info.now >= grant.from);
    let waiters: Vec<_> = info.waiters.iter().map(|w| (w.holder.as_str(), w.note.clone(), w.want)).collect();
    assert_eq!(waiters, [("second", Some(note("me too")), Want::Lock), ("third", None, Want::Lock)]);
    assert_eq!(info.waiting, 2);
    let result = info.result.unwrap();
    assert_eq!((result.leader, result.token, result.size), (holder("leader"), led.token, 4));
    assert_eq!(result.until, result.at + 60_000_000);
}

pub async fn inspect_names_flight_waiters(fixture: &dyn Fixture) {
    let a = fixture.open().await;
    granted(&a, &flight("k", "leader")).await;
    queued(&a, &flight("k", "follower")).await;
    let info = inspect(&a, "k").await;
    assert_eq!(info.holding.unwrap().want, Want::Flight);
    assert_eq!(info.waiters[0].want, Want::Flight);
}

pub async fn list_tells_the_keys_with_a_prefix_in_order(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    assert_eq!(b.list("").await.unwrap(), vec![]);
    for name in ["b:2", "a:1", "b:1", "b*", "b:10", "c", "[b]:1", "b"] {
        granted(&a, &lock(name, "h")).await;
    }
    queued(&b, &lock("b:1", "waiter")).await;
    let leader = flight("b:result", "leader");
    granted(&a, &leader).await;
    a.publish(&value(&leader, "v", secs(60))).await.unwrap();
    let gone = lock("b:gone", "h");
    granted(&a, &gone).await;
    release(&a, &gone).await;
    let names = |infos: &[soloist::protocol::KeyInfo]| -> Vec<String> {
        infos.iter().map(|info| info.key.to_string()).collect()
    };
    let listed = b.list("b:").await.unwrap();
    assert_eq!(names(&listed), ["b:1", "b:10", "b:2", "b:result"]);
    assert_eq!((listed[0].waiting, listed[0].waiters.len()), (1, 0), "waiters are only counted in a list");
    assert_eq!(listed[3].result.as_ref().unwrap().leader, holder("leader"));
    // A prefix is a text and no pattern.
    assert_eq!(names(&b.list("b*").await.unwrap()), ["b*"]);
    assert_eq!(names(&b.list("[b]").await.unwrap()), ["[b]:1"]);
    assert_eq!(names(&b.list("?").await.unwrap()), Vec::<String>::new());
    assert_eq!(b.list("").await.unwrap().len(), 9);
}

pub async fn looking_changes_nothing(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    let grant = granted(&a, &first).await;
    queued(&b, &lock("k", "second")).await;
    let before = inspect(&a, "k").await;
    for _ in 0..3 {
        b.list("").await.unwrap();
        b.touch(&key("k")).await.unwrap();
        inspect(&b, "k").await;
    }
    let after = inspect(&a, "k").await;
    assert_eq!((before.holding.clone(), before.waiters), (after.holding, after.waiters));
    assert_eq!(before.holding.unwrap().token, grant.token);
}

pub async fn the_store_has_a_name_without_secrets(fixture: &dyn Fixture) {
    let a = fixture.open().await;
    assert!(!a.name().is_empty());
    assert!(!a.name().contains("secret") && !format!("{a:?}").contains("secret"));
}

pub async fn an_examination_says_something_and_changes_nothing(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let held = granted(&a, &lock("k", "first")).await;
    queued(&b, &lock("k", "second")).await;
    let findings = soon(b.examine(secs(30))).await.unwrap();
    let errors: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Error).collect();
    assert!(!findings.is_empty() && errors.is_empty(), "{errors:?}");
    let info = inspect(&a, "k").await;
    assert_eq!((info.holding.map(|now| now.token), info.waiting), (Some(held.token), 1));
    assert_eq!(a.list("").await.unwrap().len(), 1, "no key is left behind");
}
