//! The boot guard: a real server that loses its data, in every way, while a holder still believes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use redis_server::RedisServer;
use soloist::protocol::{Answer, Mode, Renewal, Renewed, Request, Ttl, Want, Who};
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Client, Error, Holder, Key, Lease, Moment, Store, Ticket};

const LIMIT: Duration = Duration::from_secs(60);
/// The longest ttl of those who are guarded, where it is waited for.
const GUARD: Duration = Duration::from_secs(4);
/// The same where it is not to end before the test says so, however slow the machine.
const LONG: Duration = Duration::from_secs(600);

async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("this should have happened long ago")
}

async fn store(server: &RedisServer, guard: Option<Duration>) -> Arc<RedisStore> {
    let mut options = RedisOptions::default().give_up(LIMIT);
    options.boot_guard = guard;
    Arc::new(RedisStore::connect_with(&server.url(), options).await.unwrap())
}

async fn client(server: &RedisServer, guard: Option<Duration>) -> Client {
    let ttl = guard.unwrap_or(GUARD);
    Client::builder().ttl(ttl).store(store(server, guard).await).unwrap()
}

fn ask(key: &str, ttl: Duration) -> Request {
    Request {
        key: Key::new(key).unwrap(),
        ticket: Ticket::mint(),
        holder: Holder::new("believer").unwrap(),
        note: None,
        want: Want::Lock,
        mode: Mode::Line,
        ttl: Ttl::new(ttl),
        bound: false,
        seen: None,
        max_waiting: None,
        tokens: 1,
    }
}

/// Takes the key as one that is then cut off would: no renewal tells it of anything. Until when it believes.
async fn believer(store: &RedisStore, request: &Request) -> Moment {
    let reply = store.acquire(request).await.unwrap();
    let Answer::Granted(grant) = &reply.answer else { panic!("{reply:?}") };
    reply.began(grant).after(request.ttl.duration().unwrap())
}

/// What befalls the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Flushed,
    Emptied,
    Restarted,
}

impl Fault {
    fn args(self) -> &'static [&'static str] {
        match self {
            Fault::Restarted => &["--appendonly", "yes", "--appendfsync", "always"],
            _ => &[],
        }
    }

    async fn befall(self, server: &mut RedisServer) {
        match self {
            Fault::Flushed => {
                let () = server.run(&["FLUSHALL"]).await;
            }
            _ => server.start_again(), // kill -9
        }
    }
}

async fn second_grant(fault: Fault, guard: Option<Duration>, ttl: Duration) -> (Moment, Moment, Lease) {
    let mut server = RedisServer::start_with(fault.args());
    server.season().await;
    let (first, second) = (store(&server, guard).await, client(&server, guard).await);
    let believed = believer(&first, &ask("k", ttl)).await;
    fault.befall(&mut server).await;
    let lease = soon(second.lock("k")).await.unwrap();
    // Looked at after the grant: later than it at most, which is on the safe side where it must not be later.
    (believed, Moment::now(), lease)
}

#[tokio::test]
async fn nobody_is_granted_a_key_that_a_lost_lease_still_covers() {
    let faults = [Fault::Flushed, Fault::Emptied];
    let [flushed, emptied] = faults.map(|fault| second_grant(fault, Some(GUARD), GUARD));
    let (flushed, emptied) = tokio::join!(flushed, emptied);
    for (fault, (believed, granted, lease)) in faults.into_iter().zip([flushed, emptied]) {
        // It was asked for, and granted, before it was heard: its deadline says when.
        let asked_and_ttl = lease.deadline().unwrap();
        assert!(asked_and_ttl >= believed.after(GUARD), "{fault:?}: two holders");
        assert!(granted >= believed);
    }
}

#[tokio::test]
async fn without_the_guard_there_are_two_holders() {
    // So that the test above can fail; the ttl is longer than any machine is slow.
    for fault in [Fault::Flushed, Fault::Emptied] {
        let (believed, granted, _lease) = second_grant(fault, None, LONG).await;
        assert!(granted < believed, "{fault:?}");
    }
}

#[tokio::test]
async fn a_lease_that_lives_on_over_a_restart_is_honoured() {
    let mut server = RedisServer::start_with(Fault::Restarted.args());
    server.season().await;
    let (first, second) = (store(&server, Some(LONG)).await, client(&server, Some(LONG)).await);
    let request = ask("k", LONG);
    believer(&first, &request).await;
    Fault::Restarted.befall(&mut server).await;
    let who = Who::Ticket(request.ticket);
    let renewal = Renewal {
        key: request.key.clone(),
        who: who.clone(),
        ttl: request.ttl,
        detach: false,
        at_least: None,
    };
    let renewed = soon(first.renew(std::slice::from_ref(&renewal))).await.unwrap().remove(0);
    assert!(matches!(renewed, Renewed::Renewed { .. }), "{renewed:?}");
    // What the last second may have lost is not known: a key that looks free is not granted.
    let free = second.try_lock("other").await;
    assert!(matches!(free, Err(Error::Guarded { .. })), "{free:?}");
    assert!(second.try_lock("k").await.unwrap().is_none(), "it is held, and no more is to be said");
    // Released by the one who holds it, it is not handed over before the guard ends either.
    soon(first.release(&request.key, &who)).await.unwrap();
    let forced = second.lock("k").force().await;
    assert!(matches!(forced, Err(Error::Guarded { .. })), "{forced:?}");
    server.season().await;
    drop(soon(second.lock("k")).await.unwrap());
    assert!(second.try_lock("other").await.unwrap().is_some(), "from then on nobody waits");
}

#[tokio::test]
async fn a_line_that_outlived_its_server_is_not_handed_the_key() {
    let server = RedisServer::start();
    server.season().await;
    let (first, second) = (store(&server, Some(LONG)).await, store(&server, Some(LONG)).await);
    let (holds, waits) = (ask("k", LONG), ask("k", LONG));
    believer(&first, &holds).await;
    let standing = second.acquire(&waits).await.unwrap();
    assert!(matches!(standing.answer, Answer::Queued(_)), "{standing:?}");
    // As after a restart whose data has the line, too.
    let _: u64 = server.run(&["DEL", "soloist:1:epoch"]).await;
    first.release(&holds.key, &Who::Ticket(holds.ticket)).await.unwrap();
    first.touch(&holds.key).await.unwrap();
    let info = first.inspect(&holds.key).await.unwrap();
    assert_eq!((info.holding, info.waiting), (None, 1), "nothing is handed over");
    // Asking again it is told so, and keeps its place.
    let asked = second.acquire(&waits).await;
    assert!(matches!(asked, Err(Error::Guarded { .. })), "{asked:?}");
    assert_eq!(first.inspect(&holds.key).await.unwrap().waiting, 1);
    server.season().await;
    let reply = second.acquire(&waits).await.unwrap();
    assert!(matches!(reply.answer, Answer::Granted(_)), "{reply:?}");
    let info = first.inspect(&holds.key).await.unwrap();
    assert_eq!((info.holding.is_some(), info.waiting), (true, 0));
}

#[tokio::test]
async fn a_server_that_was_never_met_is_waited_for_once() {
    let server = RedisServer::start();
    let guarded = client(&server, Some(LONG)).await;
    let Err(error @ Error::Guarded { left, .. }) = guarded.try_lock("k").await.map(drop) else {
        panic!("granted")
    };
    assert!(left <= LONG && !left.is_zero());
    assert!(error.to_string().contains("boot guard") && error.hint().is_some(), "{error}");
    let short = guarded.lock("k").wait(Duration::from_millis(20)).await;
    assert!(matches!(short, Err(Error::Guarded { .. })), "{short:?}");
    let flight = guarded.once("f").wait(Duration::from_millis(20)).join::<String>().await;
    assert!(matches!(flight, Err(Error::Guarded { .. })));
    // Who has no guard is not held back.
    let unguarded = client(&server, None).await;
    drop(unguarded.try_lock("k").await.unwrap().unwrap());
    unguarded.flush().await;
    // Where leases are short, so is the wait.
    let guarded = client(&server, Some(Duration::from_secs(1))).await;
    let value = async {
        let work = || async { Ok::<_, Error>("computed".to_owned()) };
        guarded.once("f").run(work).await
    };
    let (lease, value) = soon(async { tokio::join!(guarded.lock("k"), value) }).await;
    assert_eq!((lease.is_ok(), value.unwrap()), (true, "computed".into()));
    for key in ["a", "b"] {
        assert!(guarded.try_lock(key).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_ttl_that_would_outlive_the_guard_is_refused() {
    let server = RedisServer::start();
    server.season().await;
    let longer = GUARD + Duration::from_millis(1);
    let too_long =
        |error: Error| assert!(matches!(error, Error::BadDuration { what: "ttl", .. }), "{error:?}");
    too_long(Client::builder().ttl(longer).store(store(&server, Some(GUARD)).await).unwrap_err());
    let guarded = Client::builder().store(store(&server, Some(GUARD)).await).unwrap();
    assert_eq!(guarded.ttl(), GUARD, "the usual one is as long as may be");
    too_long(guarded.lock("k").ttl(longer).await.unwrap_err());
    too_long(guarded.try_lock("k").ttl(longer).await.unwrap_err());
    too_long(guarded.once("k").ttl(longer).join::<String>().await.map(drop).unwrap_err());
    assert!(matches!(guarded.lock("k").no_expiry().await, Err(Error::Refused { .. })));
    let lease = guarded.lock("k").await.unwrap();
    too_long(lease.renew(longer).await.unwrap_err());
    assert!(!lease.is_lost());
    let id = lease.detach().await.unwrap();
    too_long(guarded.renew(&id, longer).await.unwrap_err());
    guarded.renew(&id, GUARD).await.unwrap();

    let by_url = Client::connect(&format!("{}?boot_guard=4s", server.url())).await.unwrap();
    assert_eq!(by_url.ttl(), GUARD);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_end_the_guard() {
    let server = RedisServer::start();
    let guarded = client(&server, Some(GUARD)).await;
    // An epoch in the future is one of before the clock was set back.
    server.season().await;
    let epoch: String = server.run(&["GET", "soloist:1:epoch"]).await;
    let future = format!("{} 9000000000000000", epoch.split(' ').next().unwrap());
    let () = server.run(&["SET", "soloist:1:epoch", &future]).await;
    let Err(Error::Guarded { left, .. }) = guarded.try_lock("k").await else { panic!("granted") };
    assert!(left <= GUARD, "and it ends: {left:?}");
}

#[tokio::test]
async fn a_replica_that_is_promoted_is_another_server() {
    let mut primary = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    primary.season().await;
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let url = format!("{},127.0.0.1:{}?boot_guard=10m", primary.url(), replica.port());
    let guarded = Client::connect(&url).await.unwrap();
    drop(guarded.try_lock("k").await.unwrap().expect("nobody waits at the old one"));
    // It has all the data, the epoch too, and cannot know what it has not got.
    soon(async {
        while replica.run::<Option<String>>(&["GET", "soloist:1:epoch"]).await.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    primary.kill();
    let () = replica.run(&["REPLICAOF", "NO", "ONE"]).await;
    let tried = soon(async {
        loop {
            match guarded.try_lock("other").await {
                Err(Error::Unavailable { .. }) => {} // not found yet
                tried => return tried,
            }
        }
    });
    let tried = tried.await;
    assert!(matches!(tried, Err(Error::Guarded { .. })), "{tried:?}");
    let unguarded = Client::connect(&replica.url()).await.unwrap();
    assert!(unguarded.try_lock("other").await.unwrap().is_some(), "without it, it is granted");
}
