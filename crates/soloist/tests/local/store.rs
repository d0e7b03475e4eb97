//! Two sessions on one folder.

use bytes::Bytes;
use futures_util::StreamExt;
use soloist::protocol::{Body, HANDOVER_TTL, Mode, Published, Request, Ttl, Who};
use soloist::store::local::{LocalOptions, LocalStore};
use soloist::store::memory::StoreClock;
use soloist::store::{Notice, Told};
use soloist::{Error, EventKind, FencingToken, Holder, Loss, Store};

use crate::asking::{base, done, flight, granted, hold, key, lock, open, publication, queued, release, soon};

#[tokio::test]
async fn a_release_hands_over_and_wakes_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    let mut held = lock("a");
    let mut token = hold(&one, &held).await.token;
    for round in 0..200 {
        let (from, to) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let next = lock("a");
        let reply = to.acquire(&next).await.unwrap();
        assert_eq!(queued(&reply), 1);
        let (reply, ()) = tokio::join!(soon(to.wait(&next, reply)), release(from, &held));
        let grant = granted(reply.unwrap());
        assert!(grant.token > token, "tokens grow");
        assert_eq!(grant.ttl, Ttl::Forever, "asking again has confirmed it, beyond {HANDOVER_TTL} us");
        (held, token) = (next, grant.token);
    }
}

#[tokio::test]
async fn a_takeover_is_told_to_the_old_holder() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    let mut notices = one.notices();
    let held = lock("a");
    let grant = granted(one.acquire(&held).await.unwrap());
    let by = Holder::new("user:20").unwrap();
    let force = Request { mode: Mode::Force, holder: by.clone(), ..lock("a") };
    granted(other.acquire(&force).await.unwrap());
    let told = soon(notices.recv()).await.unwrap();
    assert_eq!(told, Notice::Lost(held.ticket, grant.token, Loss::TakenOver { by }));
    one.release(&key("a"), &Who::Any).await.unwrap();
    let mut notices = other.notices();
    hold(&other, &lock("a")).await;
    one.release(&key("a"), &Who::Any).await.unwrap();
    assert!(matches!(soon(notices.recv()).await.unwrap(), Notice::Lost(_, _, Loss::Released)));
}

#[tokio::test]
async fn results_of_any_size_come_back_and_their_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    let files = || {
        let boot = std::fs::read_dir(base(&dir)).unwrap().next().unwrap().unwrap();
        std::fs::read_dir(boot.path().join("r")).unwrap().count()
    };
    for size in [0, 1, 4096, 4097, 5 << 20] {
        let bytes: Bytes = (0..size).map(|at| (at % 251) as u8).collect();
        let leader = flight("f");
        hold(&one, &leader).await;
        let follower = flight("f");
        let reply = other.acquire(&follower).await.unwrap();
        let publication = publication(&leader, Body::Inline(bytes.clone()));
        let (reply, published) = tokio::join!(soon(other.wait(&follower, reply)), one.publish(&publication));
        assert_eq!(published.unwrap(), Published::Published);
        assert_eq!(done(reply.unwrap()).body, Body::Inline(bytes.clone()));
        // The same publication again is the same, and leaves no second file.
        assert_eq!(one.publish(&publication).await.unwrap(), Published::Published);
        assert_eq!(files(), usize::from(size > 4096));
        assert_eq!(done(other.acquire(&flight("f")).await.unwrap()).body, Body::Inline(bytes));
        assert!(other.forget(&key("f")).await.unwrap());
        assert_eq!(files(), 0);
    }
    let stranger = publication(&flight("f"), Body::Inline(vec![0; 9000].into()));
    assert_eq!(one.publish(&stranger).await.unwrap(), Published::Refused(None));
    assert_eq!(files(), 0);
}

#[tokio::test]
async fn results_past_their_time_do_not_stay_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let clock = StoreClock::manual(1);
    let options = LocalOptions { path: Some(base(&dir)), clock: Some(clock.clone()) };
    let store = LocalStore::open_with(options).unwrap();
    // Any transaction on the same shard sweeps the results of keys that nobody asks for again.
    for number in 0..600 {
        let leader = flight(&format!("f{number}"));
        hold(&store, &leader).await;
        let publication = publication(&leader, Body::Inline(vec![7; 5000].into()));
        assert_eq!(store.publish(&publication).await.unwrap(), Published::Published);
        clock.advance(std::time::Duration::from_secs(61));
    }
    let boot = std::fs::read_dir(base(&dir)).unwrap().next().unwrap().unwrap();
    let left = std::fs::read_dir(boot.path().join("r")).unwrap().count();
    assert!(left <= 256, "{left} files for 256 shards");
}

#[tokio::test]
async fn events_of_other_sessions_come_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    let mut events = one.events().await.unwrap();
    let mut tokens = Vec::new();
    for _ in 0..100 {
        let request = lock("a");
        tokens.push(hold(&other, &request).await.token);
        release(&other, &request).await;
    }
    for token in tokens {
        for kind in [EventKind::Locked, EventKind::Released] {
            let told = soon(events.next()).await.unwrap();
            let Told::Event(event) = told else { panic!("missed events") };
            assert_eq!((event.kind, event.token), (kind, token));
        }
    }
    drop(events);
    let request = lock("a");
    hold(&other, &request).await;
}

#[tokio::test]
async fn a_slow_subscriber_hears_that_it_missed_something() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    let mut events = one.events().await.unwrap();
    let holder = Holder::new("h".repeat(256)).unwrap();
    for _ in 0..2500 {
        let request = Request { holder: holder.clone(), ..lock("a") };
        hold(&other, &request).await;
        release(&other, &request).await;
    }
    let mut last = FencingToken(0);
    loop {
        match soon(events.next()).await.unwrap() {
            Told::Event(event) => {
                assert!(event.token >= last, "out of order");
                last = event.token;
            }
            Told::Missed => break,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn closing_ends_the_leases_and_wakes_the_waiters() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    hold(&one, &lock("a")).await;
    hold(&other, &lock("b")).await;
    let (mine, theirs) = (lock("b"), lock("a"));
    let waiting = one.acquire(&mine).await.unwrap();
    let next = other.acquire(&theirs).await.unwrap();
    let (closed, _, granted_to) =
        tokio::join!(soon(one.wait(&mine, waiting)), one.close(), soon(other.wait(&theirs, next)));
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
    granted(granted_to.unwrap());
    assert!(matches!(one.inspect(&key("a")).await, Err(Error::Closed)));
    // A dropped store ends as well.
    let reply = {
        let third = open(&base(&dir));
        let last = lock("b");
        assert_eq!(queued(&third.acquire(&last).await.unwrap()), 2);
        third.inspect(&key("b")).await.unwrap()
    };
    assert_eq!(reply.waiting, 2);
}

#[tokio::test]
async fn a_session_that_has_ended_holds_nothing_though_a_copy_of_its_descriptor_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    hold(&one, &lock("a")).await;
    // They have met: the other one has its FIFO open from here on.
    assert!(other.inspect(&key("a")).await.unwrap().holding.is_some());
    // As a process that is being started has one, until it executes its program.
    let copy = one.liveness().unwrap().unwrap();
    one.close().await;
    assert_eq!(other.inspect(&key("a")).await.unwrap().holding, None);
    assert_eq!(other.list("a").await.unwrap().iter().filter(|info| info.holding.is_some()).count(), 0);
    hold(&other, &lock("a")).await;
    drop(copy);
}

#[tokio::test]
async fn renewals_and_lists_go_over_all_shards() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    let mut renewals = Vec::new();
    for number in 0..300 {
        let request =
            Request { ttl: Ttl::Micros(60_000_000), bound: false, ..lock(&format!("k{number:03}")) };
        hold(&one, &request).await;
        let (key, who) = (request.key, Who::Ticket(request.ticket));
        renewals.push(soloist::protocol::Renewal {
            key,
            who,
            ttl: Ttl::Forever,
            detach: false,
            at_least: None,
        });
    }
    let renewed = other.renew(&renewals).await.unwrap();
    assert_eq!(renewed.len(), 300);
    let listed = other.list("k").await.unwrap();
    let names: Vec<_> = listed.iter().map(|info| info.key.to_string()).collect();
    assert_eq!(names, (0..300).map(|number| format!("k{number:03}")).collect::<Vec<_>>());
    for (info, renewed) in listed.iter().zip(renewed) {
        let holding = info.holding.as_ref().unwrap();
        assert_eq!(renewed, soloist::protocol::Renewed::Renewed { token: holding.token, deadline: None });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_requests_leave_nothing_locked() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (std::sync::Arc::new(open(&base(&dir))), open(&base(&dir)));
    for _ in 0..200 {
        let request = lock("a");
        let (store, asked) = (std::sync::Arc::clone(&one), request.clone());
        let task = tokio::spawn(async move { store.acquire(&asked).await.map(drop) });
        tokio::task::yield_now().await;
        task.abort();
        let _ = task.await;
        one.leave(&request.key, request.ticket).await.unwrap();
        let request = Request { mode: Mode::Try, ..lock("a") };
        granted(soon(other.acquire(&request)).await.unwrap());
        release(&other, &request).await;
    }
}
