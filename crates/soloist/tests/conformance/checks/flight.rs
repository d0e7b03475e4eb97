//! Work done once.

use soloist::protocol::{OutcomeKind, Publication, Published, Released, Request};

use crate::fixture::*;

pub async fn one_leads_and_all_others_hear(fixture: &dyn Fixture) {
    let sessions = [fixture.open().await, fixture.open().await, fixture.open().await];
    let leader = flight("k", "leader");
    let grant = granted(&sessions[0], &leader).await;
    let mut followers = Vec::new();
    for n in 0..9 {
        followers.push(in_line(&sessions[n % 3], &flight("k", &format!("follower {n}"))).await);
    }
    let published = sessions[0].publish(&value(&leader, "the result", secs(60))).await.unwrap();
    assert_eq!(published, Published::Published);
    for follower in followers {
        let outcome = outcome_of(follower.answer().await);
        assert_eq!(&bytes_of(&outcome)[..], b"the result");
        assert_eq!((outcome.token, outcome.leader), (grant.token, holder("leader")));
        assert_eq!(outcome.kind, OutcomeKind::Value);
    }
    let info = inspect(&sessions[1], "k").await;
    assert_eq!((info.holding, info.waiting), (None, 0));
}

pub async fn the_result_comes_by_message(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = Request { ttl: soloist::protocol::Ttl::Forever, ..flight("k", "leader") };
    granted(&a, &leader).await;
    let follower = in_line(&b, &flight("k", "follower")).await;
    a.publish(&value(&leader, "v", secs(0))).await.unwrap();
    let answer = tokio::time::timeout(BY_MESSAGE, follower.answer()).await.expect("not by the slow look");
    assert_eq!(&bytes_of(&outcome_of(answer))[..], b"v");
}

pub async fn a_result_that_came_while_nobody_waited_is_found(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (leader, follower) = (flight("k", "leader"), flight("k", "follower"));
    granted(&a, &leader).await;
    let standing = queued(&b, &follower).await;
    a.publish(&value(&leader, "v", secs(0))).await.unwrap();
    let answer = soon(b.wait(&follower, standing)).await.unwrap().answer;
    assert_eq!(&bytes_of(&outcome_of(answer))[..], b"v");
}

pub async fn a_kept_result_serves_those_who_come_later(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = flight("k", "leader");
    granted(&a, &leader).await;
    a.publish(&value(&leader, "v", secs(60))).await.unwrap();
    let late = outcome_of(ask(&b, &flight("k", "late")).await);
    assert_eq!(&bytes_of(&late)[..], b"v");
    assert_eq!(late.until, late.at + 60_000_000);
    let trying = outcome_of(ask(&b, &trying(flight("k", "trying"))).await);
    assert_eq!(trying, late);
    // A result is no lease: the key is free as a lock.
    granted(&b, &lock("k", "locker")).await;
}

pub async fn a_result_is_kept_no_longer_than_its_keep(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = flight("k", "leader");
    let first = granted(&a, &leader).await;
    a.publish(&value(&leader, "v", millis(500))).await.unwrap();
    fixture.pass(millis(501)).await;
    assert_eq!(inspect(&b, "k").await.result, None);
    let second = granted(&b, &flight("k", "late")).await;
    assert!(second.token > first.token);
}

pub async fn without_keep_only_those_who_stood_in_line_are_served(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = flight("k", "leader");
    let grant = granted(&a, &leader).await;
    let follower = flight("k", "follower");
    queued(&b, &follower).await;
    a.publish(&value(&leader, "v", secs(0))).await.unwrap();
    // Its message may have been lost: it asks again, and says behind whom it stood.
    let seen = Request { seen: Some(grant.token), ..follower };
    assert_eq!(&bytes_of(&outcome_of(ask(&b, &seen).await))[..], b"v");
    // Who stood behind a later leader is not served with this one's.
    let newer = Request { seen: Some(soloist::FencingToken(grant.token.0 + 1)), ..flight("k", "newer") };
    granted(&b, &newer).await;
}

pub async fn without_keep_newcomers_compute_anew(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = flight("k", "leader");
    granted(&a, &leader).await;
    a.publish(&value(&leader, "v", secs(0))).await.unwrap();
    granted(&b, &flight("k", "newcomer")).await;
}

pub async fn an_error_is_a_result_too(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = flight("k", "leader");
    granted(&a, &leader).await;
    let follower = in_line(&b, &flight("k", "follower")).await;
    let error = Publication { kind: OutcomeKind::Error, ..value(&leader, "it broke", secs(60)) };
    assert_eq!(a.publish(&error).await.unwrap(), Published::Published);
    for outcome in [outcome_of(follower.answer().await), outcome_of(ask(&b, &flight("k", "late")).await)] {
        assert_eq!((outcome.kind, &bytes_of(&outcome)[..]), (OutcomeKind::Error, &b"it broke"[..]));
    }
    assert_eq!(inspect(&a, "k").await.result.unwrap().kind, OutcomeKind::Error);
}

pub async fn a_leader_that_gives_up_is_replaced_by_the_next(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (leader, next, last) = (flight("k", "leader"), flight("k", "next"), flight("k", "last"));
    granted(&a, &leader).await;
    let second = in_line(&b, &next).await;
    let third = in_line(&a, &last).await;
    release(&a, &leader).await;
    grant_of(second.answer().await);
    b.publish(&value(&next, "second try", secs(0))).await.unwrap();
    assert_eq!(&bytes_of(&outcome_of(third.answer().await))[..], b"second try");
}

pub async fn a_replaced_leader_cannot_publish(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = living(flight("k", "zombie"), millis(500));
    granted(&a, &leader).await;
    let next = flight("k", "next");
    fixture.pass(millis(501)).await;
    let grant = granted(&b, &next).await;
    let refused = a.publish(&value(&leader, "stale", secs(60))).await.unwrap();
    let Published::Refused(Some(holding)) = refused else { panic!("{refused:?}") };
    assert_eq!(holding.token, grant.token, "it says who leads now");
    b.publish(&value(&next, "fresh", secs(60))).await.unwrap();
    let refused = a.publish(&value(&leader, "stale", secs(60))).await.unwrap();
    assert_eq!(refused, Published::Refused(None), "nor after its successor has");
    assert_eq!(&bytes_of(&outcome_of(ask(&a, &flight("k", "late")).await))[..], b"fresh");
}

pub async fn a_leader_taken_over_cannot_publish(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (leader, thief) = (flight("k", "leader"), forcing(flight("k", "thief")));
    granted(&a, &leader).await;
    let follower = in_line(&a, &flight("k", "follower")).await;
    granted(&b, &thief).await;
    let refused = a.publish(&value(&leader, "stale", secs(60))).await.unwrap();
    assert!(matches!(refused, Published::Refused(Some(_))), "{refused:?}");
    b.publish(&value(&thief, "fresh", secs(60))).await.unwrap();
    assert_eq!(&bytes_of(&outcome_of(follower.answer().await))[..], b"fresh");
}

pub async fn force_computes_anew_in_spite_of_a_kept_result(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (leader, again) = (flight("k", "leader"), forcing(flight("k", "again")));
    granted(&a, &leader).await;
    a.publish(&value(&leader, "old", secs(60))).await.unwrap();
    granted(&b, &again).await;
    b.publish(&value(&again, "new", secs(60))).await.unwrap();
    assert_eq!(&bytes_of(&outcome_of(ask(&a, &flight("k", "late")).await))[..], b"new");
}

pub async fn publishing_again_is_the_same_publish(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = flight("k", "leader");
    granted(&a, &leader).await;
    let publication = value(&leader, "v", secs(0));
    for _ in 0..3 {
        assert_eq!(a.publish(&publication).await.unwrap(), Published::Published);
    }
    // Also when the key is somebody else's already.
    granted(&b, &flight("k", "next")).await;
    assert_eq!(a.publish(&publication).await.unwrap(), Published::Published);
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("next"));
}

pub async fn a_flight_forgotten_under_way_is_stale(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (leader, next) = (flight("k", "leader"), flight("k", "next"));
    granted(&a, &leader).await;
    let follower = in_line(&b, &next).await;
    assert!(!b.forget(&key("k")).await.unwrap(), "there was no result yet");
    assert_eq!(a.publish(&value(&leader, "stale", secs(60))).await.unwrap(), Published::Stale);
    grant_of(follower.answer().await);
    assert_eq!(b.publish(&value(&next, "fresh", secs(60))).await.unwrap(), Published::Published);
    assert_eq!(&bytes_of(&outcome_of(ask(&a, &flight("k", "late")).await))[..], b"fresh");
}

pub async fn a_forgotten_result_is_computed_anew(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    assert!(!b.forget(&key("k")).await.unwrap());
    let leader = flight("k", "leader");
    granted(&a, &leader).await;
    a.publish(&value(&leader, "v", secs(60))).await.unwrap();
    assert!(b.forget(&key("k")).await.unwrap());
    assert!(!b.forget(&key("k")).await.unwrap());
    assert_eq!(inspect(&a, "k").await.result, None);
    granted(&b, &flight("k", "next")).await;
}

pub async fn a_lock_waits_behind_a_flight(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let leader = flight("k", "leader");
    granted(&a, &leader).await;
    let before = in_line(&b, &flight("k", "follower 1")).await;
    let locker = lock("k", "locker");
    let lock_wait = in_line(&b, &locker).await;
    let after = in_line(&a, &flight("k", "follower 2")).await;
    a.publish(&value(&leader, "v", secs(60))).await.unwrap();
    // The result is everybody's who wants it, wherever it stands; the key itself is the locker's.
    outcome_of(before.answer().await);
    outcome_of(after.answer().await);
    grant_of(lock_wait.answer().await);
    assert_eq!(holder_of(&a, "k").await.as_deref(), Some("locker"));
    assert!(matches!(release(&b, &locker).await, Released::Released { .. }));
}

pub async fn a_flight_waits_behind_a_lock(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (locker, leader) = (lock("k", "locker"), flight("k", "leader"));
    granted(&a, &locker).await;
    let waiter = in_line(&b, &leader).await;
    let follower = in_line(&a, &flight("k", "follower")).await;
    release(&a, &locker).await;
    grant_of(waiter.answer().await);
    b.publish(&value(&leader, "v", secs(0))).await.unwrap();
    assert_eq!(&bytes_of(&outcome_of(follower.answer().await))[..], b"v");
}

pub async fn a_follower_that_leaves_disturbs_nobody(fixture: &dyn Fixture) {
    let (a, b) = (fixture.open().await, fixture.open().await);
    let (leader, gone) = (flight("k", "leader"), flight("k", "gone"));
    granted(&a, &leader).await;
    queued(&b, &gone).await;
    let stays = in_line(&b, &flight("k", "stays")).await;
    b.leave(&gone.key, gone.ticket).await.unwrap();
    a.publish(&value(&leader, "v", secs(0))).await.unwrap();
    outcome_of(stays.answer().await);
}

pub async fn results_follow_each_other(fixture: &dyn Fixture) {
    let a = fixture.open().await;
    for round in 0..5 {
        let leader = flight("k", "leader");
        granted(&a, &leader).await;
        a.publish(&value(&leader, format!("result {round}"), secs(60))).await.unwrap();
        let outcome = outcome_of(ask(&a, &flight("k", "late")).await);
        assert_eq!(bytes_of(&outcome)[..], *format!("result {round}").as_bytes());
        assert!(a.forget(&key("k")).await.unwrap());
    }
}
