//! Holding and releasing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use soloist::protocol::{Answer, Released, Renewal, Renewed, Ttl, Who};

use crate::fixture::*;

pub async fn one_holds_the_others_do_not(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    let grant = granted(&a, &first).await;
    let busy = busy_of(ask(&b, &trying(lock("k", "second"))).await);
    assert_eq!((busy.holder, busy.token), (holder("first"), grant.token));
    // The same process and the same holder name are no way in either: a request is its ticket.
    busy_of(ask(&a, &trying(lock("k", "first"))).await);
    granted(&b, &trying(lock("another key", "second"))).await;
}

pub async fn tokens_grow_over_releases(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let mut last = soloist::FencingToken(0);
    for turn in 0..20 {
        let store = if turn % 2 == 0 { &a } else { &b };
        let request = lock("k", "h");
        let grant = granted(store, &request).await;
        assert!(grant.token > last, "turn {turn}: {} after {last}", grant.token);
        last = grant.token;
        assert_eq!(release(store, &request).await, Released::Released { token: last });
    }
}

pub async fn asking_again_is_the_same_request(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    let grant = granted(&a, &first).await;
    assert_eq!(granted(&a, &first).await.token, grant.token, "the lease is not granted twice");
    let second = lock("k", "second");
    for _ in 0..3 {
        let reply = queued(&b, &second).await;
        assert_eq!(place_of(&reply.answer).place, 1);
    }
    assert_eq!(inspect(&a, "k").await.waiting, 1, "a place in line is not doubled");
    let third = lock("k", "third");
    assert_eq!(place_of(&queued(&a, &third).await.answer).place, 2);
    assert_eq!(place_of(&queued(&b, &second).await.answer).place, 1);
    // One release ends the lease, however often it was asked for.
    release(&a, &first).await;
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("second"));
}

pub async fn a_repeated_release_is_not_held(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let first = lock("k", "first");
    granted(&a, &first).await;
    release(&a, &first).await;
    assert_eq!(release(&a, &first).await, Released::NotHeld(None));
    let second = lock("k", "second");
    let grant = granted(&b, &second).await;
    let Released::NotHeld(Some(holding)) = release(&a, &first).await else {
        panic!("an old ticket releases nobody else's lease");
    };
    assert_eq!((holding.holder, holding.token), (holder("second"), grant.token));
    assert_eq!(holder_of(&b, "k").await.as_deref(), Some("second"));
}

pub async fn a_lease_can_be_released_by_its_holder_name(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let request = lock("k", "user:20");
    let grant = granted(&a, &request).await;
    let wrong = b.release(&key("k"), &Who::Holder(holder("user:2"))).await.unwrap();
    assert!(matches!(wrong, Released::NotHeld(Some(_))), "{wrong:?}");
    let mut notices = a.notices();
    let right = b.release(&key("k"), &Who::Holder(holder("user:20"))).await.unwrap();
    assert_eq!(right, Released::Released { token: grant.token });
    // The holder is told: somebody else ended its lease.
    let lost = soloist::store::Notice::Lost(request.ticket, grant.token, soloist::Loss::Released);
    assert_eq!(soon(notices.recv()).await.unwrap(), lost);
    assert_eq!(holder_of(&a, "k").await, None);
}

pub async fn a_lock_can_be_broken(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    assert_eq!(b.release(&key("k"), &Who::Any).await.unwrap(), Released::NotHeld(None));
    let mut notices = a.notices();
    let first = lock("k", "first");
    let grant = granted(&a, &first).await;
    let waiter = lock("k", "waiter");
    let line = in_line(&b, &waiter).await;
    assert_eq!(
        b.release(&key("k"), &Who::Any).await.unwrap(),
        Released::Released { token: grant.token },
        "it says which lease was broken"
    );
    let lost = soloist::store::Notice::Lost(first.ticket, grant.token, soloist::Loss::Released);
    assert_eq!(soon(notices.recv()).await.unwrap(), lost);
    assert!(grant_of(line.answer().await).token > grant.token, "tokens grow over a break");
}

pub async fn renewals_name_a_ticket_or_a_holder(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let request = lock("k", "user:20");
    let grant = granted(&a, &request).await;
    let by_ticket = renewal(&request, secs(100));
    let by_holder =
        Renewal { who: Who::Holder(holder("user:20")), ttl: Ttl::new(secs(200)), ..by_ticket.clone() };
    let by_stranger = Renewal { who: Who::Holder(holder("user:21")), ..by_ticket.clone() };
    let elsewhere = Renewal { key: key("free"), ..by_ticket.clone() };
    let all = [by_ticket, by_holder, by_stranger, elsewhere];
    let answers = b.renew(&all).await.unwrap();
    let mut until = Vec::new();
    for answer in &answers[..2] {
        let Renewed::Renewed { token, deadline } = answer else { panic!("{answer:?}") };
        assert_eq!(*token, grant.token, "a renewal is no new grant");
        until.push(deadline.unwrap());
    }
    assert!(until[1] >= until[0] + 99_000_000, "the later renewal asked for 100 s more: {until:?}");
    assert!(matches!(&answers[2], Renewed::NotHeld(Some(h)) if h.holder == holder("user:20")), "{answers:?}");
    assert_eq!(answers[3], Renewed::NotHeld(None));
    assert_eq!(inspect(&a, "k").await.holding.unwrap().deadline, Some(until[1]));
}

pub async fn a_thousand_leases_are_renewed_in_one_call(fixture: &dyn Fixture) {
    let a = fixture.open().await;
    assert_eq!(a.renew(&[]).await.unwrap(), vec![]);
    let requests: Vec<_> = (0..1000).map(|n| lock(&format!("k{n}"), "h")).collect();
    let mut tokens = Vec::new();
    for request in &requests {
        tokens.push(granted(&a, request).await.token);
    }
    release(&a, &requests[500]).await;
    let renewals: Vec<_> = requests.iter().map(|request| renewal(request, secs(90))).collect();
    let answers = a.renew(&renewals).await.unwrap();
    assert_eq!(answers.len(), 1000);
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Renewed::NotHeld(None) => assert_eq!(n, 500),
            Renewed::Renewed { token, .. } => assert_eq!(*token, tokens[n], "in the order of the questions"),
            other => panic!("{n}: {other:?}"),
        }
    }
}

pub async fn a_lease_without_expiry_stays(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let forever = soloist::protocol::Request { ttl: Ttl::Forever, ..lock("k", "first") };
    assert_eq!(granted(&a, &forever).await.ttl, Ttl::Forever);
    let holding = busy_of(ask(&b, &trying(lock("k", "second"))).await);
    assert_eq!(holding.deadline, None);
    let renewed = a.renew(&[Renewal { ttl: Ttl::Forever, ..renewal(&forever, secs(1)) }]).await.unwrap();
    assert!(matches!(renewed[0], Renewed::Renewed { deadline: None, .. }), "{renewed:?}");
    let renewed = a.renew(&[renewal(&forever, secs(60))]).await.unwrap();
    assert!(
        matches!(renewed[0], Renewed::Renewed { deadline: Some(_), .. }),
        "it can be given an end: {renewed:?}"
    );
    release(&a, &forever).await;
    granted(&b, &lock("k", "second")).await;
}

pub async fn contenders_never_work_at_once(fixture: &dyn Fixture) {
    const TASKS: usize = 12;
    const TURNS: usize = 8;
    let sessions = [fixture.open().await, fixture.open().await, fixture.open().await];
    let (busy, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (store, busy, last) = (Arc::clone(&sessions[task % 3]), Arc::clone(&busy), Arc::clone(&last));
        tasks.push(tokio::spawn(async move {
            for _ in 0..TURNS {
                let request = lock("k", &format!("task {task}"));
                let mut reply = store.acquire(&request).await.unwrap();
                if let Answer::Queued(_) = reply.answer {
                    reply = store.wait(&request, reply).await.unwrap();
                }
                let grant = grant_of(reply.answer);
                assert!(!busy.swap(true, Ordering::SeqCst), "two hold at once");
                assert!(last.swap(grant.token.0, Ordering::SeqCst) < grant.token.0, "tokens grow");
                tokio::task::yield_now().await;
                assert!(busy.swap(false, Ordering::SeqCst));
                assert_eq!(release(&store, &request).await, Released::Released { token: grant.token });
            }
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    let info = inspect(&sessions[0], "k").await;
    assert_eq!((info.holding, info.waiting), (None, 0));
}
