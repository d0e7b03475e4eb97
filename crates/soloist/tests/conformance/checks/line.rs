//! Standing in line.

use soloist::protocol::{Answer, HANDOVER_TTL, Left, Released, Renewed, Request};

use crate::fixture::*;

pub async fn the_line_is_served_in_order(fixture: &dyn Fixture) {
    let sessions = [fixture.open().await, fixture.open().await, fixture.open().await];
    let mut holding = lock("k", "holder");
    granted(&sessions[0], &holding).await;
    let mut line = Vec::new();
    for n in 0..7 {
        let (store, request) = (&sessions[n % 3], lock("k", &format!("waiter {n}")));
        let standing = queued(store, &request).await;
        assert_eq!(place_of(&standing.answer).place, n as u64 + 1);
        line.push((request.clone(), waiting(store, &request, standing)));
    }
    let mut last = soloist::FencingToken(0);
    for (n, (request, waiter)) in line.into_iter().enumerate() {
        // Whoever releases may do so on any session: the ticket is what proves.
        assert!(matches!(release(&sessions[0], &holding).await, Released::Released { .. }));
        let grant = grant_of(waiter.answer().await);
        assert!(grant.token > last);
        last = grant.token;
        assert_eq!(holder_of(&sessions[1], "k").await, Some(format!("waiter {n}")));
        holding = request;
    }
}

pub async fn a_try_does_not_barge_past_the_line(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    granted(&a, &first).await;
    let second = lock("k", "second");
    queued(&b, &second).await;
    release(&a, &first).await;
    let holding = busy_of(ask(&a, &trying(lock("k", "barger"))).await);
    assert_eq!(holding.holder, holder("second"), "the release made the next in line the holder");
    assert_eq!(place_of(&queued(&a, &lock("k", "third")).await.answer).place, 1);
}

pub async fn a_release_serves_exactly_one(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    granted(&a, &first).await;
    let mut waiters = Vec::new();
    for n in 0..5 {
        waiters.push(in_line(&b, &lock("k", &format!("waiter {n}"))).await);
    }
    release(&a, &first).await;
    grant_of(waiters.remove(0).answer().await);
    let info = inspect(&a, "k").await;
    assert_eq!(info.holding.unwrap().holder, holder("waiter 0"));
    assert_eq!(info.waiting, 4);
    assert!(waiters.iter().all(|waiter| !waiter.is_served()));
}

pub async fn the_grant_comes_by_message(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    // Without expiry nothing but the message makes the waiter look before fifteen seconds.
    let first = soloist::protocol::Request { ttl: soloist::protocol::Ttl::Forever, ..lock("k", "first") };
    granted(&a, &first).await;
    let second = lock("k", "second");
    let waiter = in_line(&b, &second).await;
    release(&a, &first).await;
    let answer = tokio::time::timeout(BY_MESSAGE, waiter.answer()).await.expect("not by the slow look");
    let grant = grant_of(answer);
    assert_eq!(inspect(&a, "k").await.holding.unwrap().token, grant.token);
}

pub async fn who_leaves_the_line_is_not_served(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (first, second, third) = (lock("k", "first"), lock("k", "second"), lock("k", "third"));
    granted(&a, &first).await;
    queued(&b, &second).await;
    queued(&a, &third).await;
    assert_eq!(b.leave(&second.key, second.ticket).await.unwrap(), Left::Line);
    assert_eq!(b.leave(&second.key, second.ticket).await.unwrap(), Left::Absent);
    assert_eq!(inspect(&a, "k").await.waiting, 1);
    release(&a, &first).await;
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("third"));
}

pub async fn leaving_passes_on_a_grant_that_crossed(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (first, second, third) = (lock("k", "first"), lock("k", "second"), lock("k", "third"));
    granted(&a, &first).await;
    queued(&b, &second).await;
    let waiter = in_line(&a, &third).await;
    release(&a, &first).await;
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("second"));
    assert_eq!(b.leave(&second.key, second.ticket).await.unwrap(), Left::Lease);
    grant_of(waiter.answer().await);
    assert_eq!(holder_of(&b, "k").await.as_deref(), Some("third"));
}

pub async fn leaving_what_was_never_asked_is_no_error(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    assert_eq!(a.leave(&first.key, first.ticket).await.unwrap(), Left::Absent);
    granted(&a, &first).await;
    let stranger = lock("k", "stranger");
    assert_eq!(b.leave(&stranger.key, stranger.ticket).await.unwrap(), Left::Absent);
    assert_eq!(holder_of(&b, "k").await.as_deref(), Some("first"));
}

pub async fn a_dropped_wait_keeps_its_place(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (first, second, third) = (lock("k", "first"), lock("k", "second"), lock("k", "third"));
    granted(&a, &first).await;
    let standing = queued(&b, &second).await;
    let dropped = waiting(&b, &second, standing.clone());
    tokio::task::yield_now().await;
    dropped.drop_it().await;
    let behind = in_line(&a, &third).await;
    let again = waiting(&b, &second, standing);
    release(&a, &first).await;
    grant_of(again.answer().await);
    assert!(!behind.is_served());
}

pub async fn a_grant_that_came_while_nobody_waited_is_found(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (first, second) = (lock("k", "first"), lock("k", "second"));
    granted(&a, &first).await;
    let standing = queued(&b, &second).await;
    release(&a, &first).await;
    let found =
        tokio::time::timeout(BY_MESSAGE, b.wait(&second, standing)).await.expect("not by the slow look");
    grant_of(found.unwrap().answer);
}

pub async fn a_handed_over_lease_is_short_until_it_is_confirmed(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (first, second) = (lock("k", "first"), lock("k", "second"));
    granted(&a, &first).await;
    queued(&b, &second).await;
    release(&a, &first).await;
    let holding = inspect(&a, "k").await.holding.unwrap();
    assert_eq!(
        holding.deadline,
        Some(holding.since + HANDOVER_TTL),
        "a frozen waiter costs no more than this"
    );
    let renewed = b.renew(&[renewal(&second, secs(60))]).await.unwrap();
    let Renewed::Renewed { token, deadline } = &renewed[0] else { panic!("{renewed:?}") };
    assert_eq!(*token, holding.token);
    assert!(deadline.unwrap() >= holding.since + 60_000_000, "the confirmation lifts it");
}

pub async fn asking_again_confirms_a_hand_over(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (first, second) = (lock("k", "first"), lock("k", "second"));
    granted(&a, &first).await;
    queued(&b, &second).await;
    release(&a, &first).await;
    let holding = inspect(&a, "k").await.holding.unwrap();
    let grant = granted(&b, &second).await;
    assert_eq!((grant.token, grant.ttl), (holding.token, second.ttl));
}

pub async fn a_short_ttl_is_not_lengthened_by_the_hand_over(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (first, second) = (lock("k", "first"), living(lock("k", "second"), secs(2)));
    granted(&a, &first).await;
    queued(&b, &second).await;
    release(&a, &first).await;
    let holding = inspect(&a, "k").await.holding.unwrap();
    assert_eq!(holding.deadline, Some(holding.since + 2_000_000));
}

pub async fn a_renewal_wakes_nobody(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (first, second) = (lock("k", "first"), lock("k", "second"));
    granted(&a, &first).await;
    let (mut mine, mut theirs) = (a.notices(), b.notices());
    let waiter = in_line(&b, &second).await;
    for _ in 0..5 {
        a.renew(&[renewal(&first, secs(60))]).await.unwrap();
    }
    assert_eq!(place_of(&queued(&b, &second).await.answer).place, 1);
    assert!(!waiter.is_served());
    assert!(mine.try_recv().is_err() && theirs.try_recv().is_err(), "and tells nobody a loss");
}

pub async fn a_full_line_is_not_joined_and_says_so_at_once(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let at_most = |most, who: &str| Request { max_waiting: Some(most), ..lock("k", who) };
    // On a free key nobody has to wait.
    let first = at_most(0, "first");
    granted(&a, &first).await;
    let second = at_most(1, "second");
    let waiter = in_line(&b, &second).await;
    for (store, most) in [(&a, 1), (&b, 1), (&a, 0)] {
        let answer = ask(store, &at_most(most, "third")).await;
        let Answer::Full { holding, waiting } = answer else { panic!("{answer:?}") };
        assert_eq!((holding.holder, waiting), (holder("first"), 1));
    }
    // Who stands there is never thrown out, whatever it says now.
    let place = ask(&b, &Request { max_waiting: Some(0), ..second.clone() }).await;
    assert_eq!(place_of(&place).place, 1);
    assert_eq!(place_of(&ask(&a, &at_most(2, "fourth")).await).place, 2);
    // A flight waits in the same line.
    let answer = ask(&a, &Request { max_waiting: Some(2), ..flight("k", "fifth") }).await;
    assert!(matches!(answer, Answer::Full { waiting: 2, .. }), "{answer:?}");
    assert_eq!(inspect(&a, "k").await.waiting, 2, "nothing was changed");
    granted(&a, &Request { max_waiting: Some(0), ..forcing(lock("k", "by force")) }).await;
    b.release(&key("k"), &soloist::protocol::Who::Any).await.unwrap();
    grant_of(waiter.answer().await);
}

pub async fn who_moved_up_rejoined_or_leaves_is_found_in_the_line(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    granted(&a, &first).await;
    let line: Vec<_> = (0..12).map(|n| lock("k", &format!("waiter {n}"))).collect();
    for (n, request) in line.iter().enumerate() {
        assert_eq!(place_of(&queued(&b, request).await.answer).place, n as u64 + 1);
    }
    // Those in front leave, the one at 5 without this session's knowledge, and joins again at the end.
    for n in [0, 2, 3] {
        assert_eq!(b.leave(&key("k"), line[n].ticket).await.unwrap(), Left::Line);
    }
    assert_eq!(a.leave(&key("k"), line[5].ticket).await.unwrap(), Left::Line);
    for (n, place) in [(11, 8), (4, 2), (1, 1), (5, 9), (5, 9), (11, 8), (6, 3)] {
        assert_eq!(place_of(&queued(&b, &line[n]).await.answer).place, place, "waiter {n}");
    }
    for n in [11, 5, 1, 4] {
        assert_eq!(b.leave(&key("k"), line[n].ticket).await.unwrap(), Left::Line, "waiter {n}");
    }
    let names: Vec<_> = inspect(&a, "k").await.waiters.iter().map(|w| w.holder.to_string()).collect();
    assert_eq!(names, ["waiter 6", "waiter 7", "waiter 8", "waiter 9", "waiter 10"]);
}

pub async fn requests_given_up_at_any_time_leave_nothing(fixture: &dyn Fixture) {
    let sessions = [fixture.open().await, fixture.open().await, fixture.open().await];
    let mut tasks = Vec::new();
    for n in 0..60_usize {
        let store = sessions[n % 3].clone();
        tasks.push(tokio::spawn(async move {
            let request = lock("k", &format!("task {n}"));
            let whole = async {
                let reply = store.acquire(&request).await.unwrap();
                if let Answer::Queued(_) = reply.answer {
                    store.wait(&request, reply).await.unwrap();
                }
                release(&store, &request).await;
            };
            // The future is dropped at whatever await it has come to after so many turns of the runtime.
            tokio::select! {
                biased;
                () = whole => {}
                () = turns(n * 7 % 40) => {}
            }
            store.leave(&request.key, request.ticket).await.unwrap();
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    let info = inspect(&sessions[0], "k").await;
    assert_eq!((info.holding, info.waiting), (None, 0));
    granted(&sessions[1], &trying(lock("k", "after all"))).await;
}

async fn turns(n: usize) {
    for _ in 0..n {
        tokio::task::yield_now().await;
    }
}
