//! Locks, through the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use soloist::{Client, Error, LeaseId, Loss};

use crate::fleet::{Fleet, in_line, soon};

const MS: fn(u64) -> Duration = Duration::from_millis;

pub async fn one_at_a_time_and_in_order(fleet: &Fleet) {
    let first = fleet.client("first").await;
    let lease = first.lock("k").await.unwrap();
    let (inside, order) = (Arc::new(AtomicU32::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
    let mut tasks = Vec::new();
    for n in 0..9u64 {
        let client = fleet.client(&format!("c{n}")).await;
        let (inside, order) = (Arc::clone(&inside), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let lease = client.lock("k").await.unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
            tokio::task::yield_now().await;
            order.lock().unwrap().push((n, lease.token()));
            inside.fetch_sub(1, Ordering::SeqCst);
            lease.release().await.unwrap();
        }));
        fleet.in_line(&first, "k", n + 1).await;
    }
    let token = lease.token();
    lease.release().await.unwrap();
    for task in tasks {
        soon(task).await.unwrap();
    }
    let order = order.lock().unwrap().clone();
    assert_eq!(order.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    assert!(order.is_sorted_by(|a, b| a.1 < b.1) && token < order[0].1, "tokens grow: {order:?}");
}

pub async fn a_busy_key_is_a_value(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.try_lock("k").await.unwrap().unwrap();
    assert!(b.try_lock("k").await.unwrap().is_none());
    assert!(a.try_lock("k").await.unwrap().is_none(), "not reentrant by name");
    lease.release().await.unwrap();
    assert!(b.try_lock("k").await.unwrap().is_some());
}

pub async fn wait_ends_and_names_the_holder(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let _lease = a.lock("k").await.unwrap();
    match b.lock("k").wait(MS(300)).await {
        Err(Error::TimedOut { key, waited, holder }) => {
            assert_eq!(key.as_str(), "k");
            assert!(waited >= MS(300));
            assert_eq!(holder.unwrap().as_str(), "a");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(a.inspect("k").await.unwrap().waiting, 0, "nobody stays in line");
}

pub async fn a_full_line_is_refused_at_once(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").max_waiting(0).await.unwrap();
    let waiting = tokio::spawn(async move { b.lock("k").await });
    in_line(&a, "k", 1).await;
    let c = fleet.client("c").await;
    let refused = [
        soon(c.lock("k").max_waiting(1).into_future()).await.map(drop),
        soon(c.once("k").max_waiting(1).join::<u8>()).await.map(drop),
    ];
    for refused in refused {
        match refused {
            Err(Error::LineFull { key, waiting: 1, max: 1, holder }) => {
                assert_eq!((key.as_str(), holder.as_str()), ("k", "a"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(c.lock("k").max_waiting(2).wait(MS(30)).await, Err(Error::TimedOut { .. })));
    assert!(c.try_lock("k").await.unwrap().is_none());
    lease.release().await.unwrap();
    soon(waiting).await.unwrap().unwrap().release().await.unwrap();
    assert_eq!(a.inspect("k").await.unwrap().waiting, 0);
}

pub async fn force_takes_over_and_tells(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let old = a.lock("k").no_expiry().await.unwrap();
    let new = b.lock("k").holder("user:20").force().await.unwrap();
    assert!(new.token() > old.token());
    match soon(old.lost()).await {
        Loss::TakenOver { by } => assert_eq!(by.as_str(), "user:20"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(old.release().await, Err(Error::Lost { .. })));
    assert!(!new.is_lost(), "the old holder's release touches nothing");
    new.release().await.unwrap();
}

pub async fn a_lease_renews_itself(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let ttl = MS(600);
    let lease = a.lock("k").ttl(ttl).await.unwrap();
    let first = lease.deadline().unwrap();
    // Until well after the first deadline somebody else tries: an unrenewed lease would be his.
    assert!(b.lock("k").wait(ttl * 3).await.is_err());
    assert!(!lease.is_lost() && lease.deadline().unwrap() > first);
    lease.release().await.unwrap();
}

pub async fn a_lost_lease_is_told_at_its_deadline(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").ttl(MS(400)).await.unwrap();
    assert!(b.break_lock("k").await.unwrap().is_some());
    assert_eq!(soon(lease.lost()).await, Loss::Released);
    assert!(lease.is_lost());
    assert!(matches!(lease.renew(MS(400)).await, Err(Error::Lost { .. })));
}

pub async fn run_until_lost_drops_the_work(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").await.unwrap();
    let work = Arc::new(());
    let inside = Arc::clone(&work);
    let never = async move {
        let _inside = inside;
        std::future::pending::<()>().await;
    };
    let run = async {
        let lost = lease.run_until_lost(never).await.unwrap_err();
        assert!(matches!(lost, Error::Lost { loss: Loss::TakenOver { .. }, .. }), "{lost}");
    };
    let force = async { b.lock("k").force().await.unwrap() };
    let ((), _new) = soon(async { tokio::join!(run, force) }).await;
    assert_eq!(Arc::strong_count(&work), 1, "the work was dropped");
}

pub async fn a_detached_lease_lives_on(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let id = a.lock("k").ttl(MS(60_000)).await.unwrap().detach().await.unwrap();
    a.close().await;
    let id: LeaseId = id.to_string().parse().unwrap();
    assert!(b.try_lock("k").await.unwrap().is_none(), "held without its process");
    assert_eq!(b.renew(&id, MS(60_000)).await.unwrap(), id.token());
    assert_eq!(b.release(&id).await.unwrap(), id.token());
    assert!(matches!(b.release(&id).await, Err(Error::NotHeld { holder: None, .. })));
    assert!(matches!(b.renew(&id, MS(60_000)).await, Err(Error::NotHeld { .. })));
    assert!(b.try_lock("k").await.unwrap().is_some());
}

pub async fn no_expiry_is_held_until_released(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").holder("user:20").no_expiry().await.unwrap();
    assert!(lease.deadline().is_none());
    assert!(b.inspect("k").await.unwrap().holding.unwrap().deadline.is_none());
    lease.detach().await.unwrap();
    assert!(b.release_held_by("k", "user:21").await.is_err());
    assert!(b.renew_held_by("k", "user:20", MS(5000)).await.is_ok());
    assert!(b.inspect("k").await.unwrap().holding.unwrap().deadline.is_some());
    b.release_held_by("k", "user:20").await.unwrap();
    assert!(b.inspect("k").await.unwrap().holding.is_none());
}

pub async fn release_after_loss_says_so(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").await.unwrap();
    let id = lease.id();
    b.release(&id).await.unwrap();
    let next = b.lock("k").await.unwrap();
    assert!(matches!(lease.release().await, Err(Error::Lost { .. })));
    assert!(!next.is_lost());
    assert_eq!(a.inspect("k").await.unwrap().holding.unwrap().token, next.token());
}

pub async fn release_by_id_tells_the_owner_on_the_same_client(fleet: &Fleet) {
    let a = fleet.client("a").await;
    // So long that a renewal would find it out too late for this test.
    let lease = a.lock("k").ttl(MS(3_600_000)).await.unwrap();
    a.release(&lease.id()).await.unwrap();
    assert_eq!(soon(lease.lost()).await, Loss::Released);
}

pub async fn break_lock_tells_the_holder(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    assert_eq!(b.break_lock("k").await.unwrap(), None);
    let lease = a.lock("k").await.unwrap();
    assert_eq!(b.break_lock("k").await.unwrap(), Some(lease.token()));
    assert_eq!(soon(lease.lost()).await, Loss::Released);
}

pub async fn a_drop_releases(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").await.unwrap();
    let waiting = tokio::spawn(async move { b.lock("k").await.map(|lease| lease.token()) });
    in_line(&a, "k", 1).await;
    drop(lease);
    soon(waiting).await.unwrap().unwrap();
}

pub async fn a_handed_over_lease_is_confirmed(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").await.unwrap();
    let ttl = MS(60_000);
    let waiting = tokio::spawn(async move { (b.lock("k").ttl(ttl).await.unwrap(), b) });
    in_line(&a, "k", 1).await;
    lease.release().await.unwrap();
    let (lease, _b) = soon(waiting).await.unwrap();
    // The hand-over grants a short ttl, which the keeper's first renewal lifts to the full one.
    crate::fleet::until(|| async {
        let info = a.inspect("k").await.unwrap();
        info.holding.unwrap().deadline.unwrap() - info.now > 30_000_000
    })
    .await;
    lease.release().await.unwrap();
}

pub async fn bad_input_is_told_before_anything_is_sent(fleet: &Fleet) {
    let a = fleet.client("a").await;
    assert!(matches!(a.lock("").await, Err(Error::EmptyName { what: "key" })));
    assert!(matches!(a.lock("k".repeat(513)).await, Err(Error::LongName { max: 512, .. })));
    assert!(matches!(a.lock("k").ttl(MS(0)).await, Err(Error::BadDuration { what: "ttl", .. })));
    assert!(matches!(a.lock("k").ttl(MS(9)).await, Err(Error::BadDuration { .. })));
    assert!(matches!(a.lock("k").ttl(Duration::MAX).await, Err(Error::BadDuration { .. })));
    assert!(matches!(a.lock("k").wait(Duration::MAX).await, Err(Error::BadDuration { what: "wait", .. })));
    assert!(matches!(a.lock("k").holder("").await, Err(Error::EmptyName { what: "holder" })));
    let long = a.lock("k").holder("h".repeat(257)).await;
    assert!(matches!(long, Err(Error::LongName { what: "holder", max: 256, .. })));
    assert!(matches!(a.lock("k").note("n".repeat(1025)).await, Err(Error::LongName { .. })));
    assert!(matches!(a.once("").join::<u8>().await, Err(Error::EmptyName { .. })));
    let kept = a.once("k").keep(Duration::MAX).join::<u8>().await;
    assert!(matches!(kept, Err(Error::BadDuration { what: "keep", .. })));
    assert!(a.list("*").await.unwrap().is_empty());
}

pub async fn a_prefix_separates(fleet: &Fleet) {
    let plain = fleet.client("plain").await;
    let billing = fleet.client_with(|builder| builder.holder("b").prefix("billing:")).await;
    let lease = billing.lock("k").await.unwrap();
    assert_eq!(lease.key().as_str(), "k");
    assert!(plain.try_lock("k").await.unwrap().is_some());
    assert!(plain.try_lock("billing:k").await.unwrap().is_none());
    assert_eq!(billing.inspect("k").await.unwrap().key.as_str(), "k");
    let listed = billing.list("*").await.unwrap();
    assert_eq!(listed.iter().map(|info| info.key.as_str()).collect::<Vec<_>>(), ["k"]);
    let lease = billing.lock("k".repeat(512)).await.unwrap();
    assert_eq!(plain.list("billing:kk*").await.unwrap().len(), 1, "with its prefix a key may be longer");
    drop(lease);
    let long = Client::builder().prefix("p".repeat(129)).connect("memory:").await;
    assert!(matches!(long, Err(Error::LongName { what: "prefix", .. })));
}

pub async fn list_and_inspect(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let _one = a.lock("job:{1}").note("nightly").await.unwrap();
    let _two = a.lock("job:2").await.unwrap();
    let _other = a.lock("other").await.unwrap();
    let waiting = tokio::spawn(async move { b.lock("job:2").holder("b2").await.map(drop) });
    in_line(&a, "job:2", 1).await;
    let jobs = a.list("job:*").await.unwrap();
    let names: Vec<_> = jobs.iter().map(|info| (info.key.as_str(), info.waiting)).collect();
    assert_eq!(names, [("job:2", 1), ("job:{1}", 0)]);
    assert_eq!(a.list("job:?").await.unwrap().len(), 1);
    let info = a.inspect("job:2").await.unwrap();
    assert_eq!(info.waiters[0].holder.as_str(), "b2");
    let holding = a.inspect("job:{1}").await.unwrap().holding.unwrap();
    assert_eq!(holding.note.unwrap().as_str(), "nightly");
    assert!(a.inspect("nothing").await.unwrap().holding.is_none());
    waiting.abort();
}

pub async fn a_wait_of_zero_tries(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    let lease = a.lock("k").wait(Duration::ZERO).await.unwrap();
    match b.lock("k").wait(Duration::ZERO).await {
        Err(Error::TimedOut { holder, .. }) => assert_eq!(holder.unwrap().as_str(), "a"),
        other => panic!("{other:?}"),
    }
    lease.release().await.unwrap();
}

pub async fn renew_changes_the_ttl(fleet: &Fleet) {
    let a = fleet.client("a").await;
    let lease = a.lock("k").ttl(MS(60_000)).await.unwrap();
    let before = lease.deadline().unwrap();
    lease.renew(MS(600_000)).await.unwrap();
    assert!(lease.deadline().unwrap() > before.after(MS(500_000)));
}

pub async fn closing_frees_what_is_held_and_waited_for(fleet: &Fleet) {
    let b = fleet.client("b").await;
    // The hand-over to a waiter of the client that is closed is a race, so there are many rounds.
    for _ in 0..20 {
        let a = fleet.client("a").await;
        let lease = a.lock("k").no_expiry().await.unwrap();
        let other = a.clone();
        let waiting = tokio::spawn(async move { other.lock("k").await });
        in_line(&b, "k", 1).await;
        soon(a.close()).await;
        let info = b.inspect("k").await.unwrap();
        assert!(info.holding.is_none() && info.waiting == 0, "{info:?}");
        assert!(lease.is_lost());
        if let Ok(lease) = soon(waiting).await.unwrap() {
            soon(lease.lost()).await;
        }
    }
}

pub async fn who_rotates_takes_turns(fleet: &Fleet) {
    let clients = [fleet.client("a").await, fleet.client_with(|builder| builder.holder("b")).await];
    let first = clients[0].lock("k").await.unwrap();
    let turns = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    let (mut first, gate) = (Some(first), Arc::new(tokio::sync::Barrier::new(2)));
    for (who, client) in clients.iter().cloned().enumerate() {
        let (turns, first, gate) = (Arc::clone(&turns), first.take(), Arc::clone(&gate));
        tasks.push(tokio::spawn(async move {
            let mut lease = match first {
                Some(lease) => {
                    gate.wait().await;
                    lease
                }
                None => {
                    let asked = tokio::spawn({
                        let client = client.clone();
                        async move { client.lock("k").await.unwrap() }
                    });
                    while client.inspect("k").await.unwrap().waiting == 0 {
                        tokio::task::yield_now().await;
                    }
                    gate.wait().await;
                    asked.await.unwrap()
                }
            };
            for _ in 0..20 {
                turns.lock().unwrap().push((who, lease.token()));
                assert_eq!(lease.holder().as_str(), ["a", "b"][who]);
                lease = client.lock("k").rotate(lease).await.unwrap();
            }
            lease.release().await.unwrap();
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    let turns = turns.lock().unwrap().clone();
    assert!(turns.is_sorted_by(|a, b| a.1 < b.1), "{turns:?}");
    // The other one is next each time, until one of them has had all of its turns.
    let strict = turns.iter().take(39).map(|(who, _)| *who).collect::<Vec<_>>();
    assert!(strict.windows(2).all(|pair| pair[0] != pair[1]), "{strict:?}");
    assert!(clients[0].inspect("k").await.unwrap().holding.is_none());
}

pub async fn a_rotation_of_a_lost_lease_says_so(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    for known in [true, false] {
        let lease = a.lock("k").await.unwrap();
        let taken = b.lock("k").force().await.unwrap();
        if known {
            soon(lease.lost()).await;
        }
        assert!(matches!(soon(a.lock("k").rotate(lease)).await, Err(Error::Lost { .. })));
        a.flush().await;
        let info = a.inspect("k").await.unwrap();
        assert_eq!((info.holding.unwrap().token, info.waiting), (taken.token(), 0), "nothing was asked for");
        taken.release().await.unwrap();
    }
}

pub async fn a_rotation_ends_the_lease_whatever_comes_of_it(fleet: &Fleet) {
    let (a, b) = (fleet.client("a").await, fleet.client("b").await);
    // Its wait is over: it stands in no line.
    let lease = a.lock("k").await.unwrap();
    let waiting = tokio::spawn({
        let b = b.clone();
        async move { b.lock("k").await.unwrap() }
    });
    in_line(&b, "k", 1).await;
    match a.lock("k").wait(MS(300)).rotate(lease).await {
        Err(Error::TimedOut { holder, .. }) => assert_eq!(holder.unwrap().as_str(), "b"),
        other => panic!("{other:?}"),
    }
    let next = soon(waiting).await.unwrap();
    in_line(&b, "k", 0).await;
    // Of another key: that is asked for.
    let other = b.lock("other").wait(MS(30_000)).rotate(next).await.unwrap();
    assert_eq!(other.key().as_str(), "other");
    // By another client, by force, and with bad options.
    let again = a.lock("other").wait(MS(30_000)).rotate(other).await.unwrap();
    assert_eq!(again.holder().as_str(), "a");
    let forced = a.lock("other").force().rotate(again).await.unwrap();
    assert!(matches!(a.lock("other").ttl(MS(0)).rotate(forced).await, Err(Error::BadDuration { .. })));
    a.flush().await;
    for key in ["k", "other"] {
        assert!(a.inspect(key).await.unwrap().holding.is_none(), "{key}");
    }
}
