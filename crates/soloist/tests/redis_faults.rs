//! The Redis store on a real server that misbehaves, or behind a wire that does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/request.rs"]
mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use redis_server::RedisServer;
use soloist::protocol::{
    Answer, Body, Left, Mode, OutcomeKind, Publication, Published, Released, Renewal, Renewed, Request, Ttl,
    Want, Who,
};
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::store::{Notice, Reply, Rotated, Told};
use soloist::testing::{FaultyWire, WireFault};
use soloist::{Error, Store, Ticket};

const LIMIT: Duration = Duration::from_secs(30);

fn ask(text: &str, mode: Mode, want: Want) -> Request {
    Request { want, mode, ..request::lock(text, "somebody", Ttl::new(Duration::from_secs(60))) }
}

fn lock(text: &str) -> Request {
    ask(text, Mode::Line, Want::Lock)
}

fn granted(reply: &Reply) -> u64 {
    match &reply.answer {
        Answer::Granted(grant) => grant.token.0,
        other => panic!("not granted: {other:?}"),
    }
}

fn queued(reply: Reply) -> Reply {
    assert!(matches!(reply.answer, Answer::Queued(_)), "{reply:?}");
    reply
}

fn renewal(request: &Request) -> Renewal {
    Renewal {
        key: request.key.clone(),
        who: Who::Ticket(request.ticket),
        ttl: request.ttl,
        detach: false,
        at_least: None,
    }
}

fn mine(request: &Request) -> Who {
    Who::Ticket(request.ticket)
}

/// Options of a caller who has not much time.
fn hasty() -> RedisOptions {
    RedisOptions::default()
        .response_timeout(Duration::from_millis(300))
        .connect_timeout(Duration::from_secs(1))
        .health_check(Duration::from_millis(200))
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

async fn run(server: &RedisServer, words: &[&str]) -> redis::Value {
    let mut cmd = redis::cmd(words[0]);
    cmd.arg(&words[1..]);
    cmd.query_async(&mut server.admin().await).await.unwrap()
}

/// How many fencing tokens a key's shard gave out, told by what the counter is.
async fn counter(server: &RedisServer, key: &str) -> u64 {
    let names: Vec<String> =
        redis::cmd("KEYS").arg("soloist:1:*:f").query_async(&mut server.admin().await).await.unwrap();
    assert_eq!(names.len(), 1, "only {key:?} was ever locked");
    let (_, last): (String, f64) = server.run(&["ZRANGE", &names[0], "0", "-1", "WITHSCORES"]).await;
    last as u64
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let flush = async || {
        run(&server, &["SCRIPT", "FLUSH"]).await;
    };
    for _ in 0..2 {
        let (first, second) = (ask("k", Mode::Line, Want::Flight), lock("k"));
        flush().await;
        granted(&store.acquire(&first).await.unwrap());
        flush().await;
        queued(store.acquire(&second).await.unwrap());
        flush().await;
        assert!(matches!(store.renew(&[renewal(&first)]).await.unwrap()[0], Renewed::Renewed { .. }));
        flush().await;
        assert_eq!(store.leave(&second.key, second.ticket).await.unwrap(), Left::Line);
        flush().await;
        assert!(matches!(store.rotate(second.ticket, &lock("k")).await.unwrap(), Rotated::NotHeld(Some(_))));
        flush().await;
        store.touch(&first.key).await.unwrap();
        flush().await;
        let publication = Publication {
            key: first.key.clone(),
            ticket: first.ticket,
            kind: OutcomeKind::Value,
            body: Body::Inline(Bytes::from_static(b"value")),
            keep: 60_000_000,
        };
        assert_eq!(store.publish(&publication).await.unwrap(), Published::Published);
        flush().await;
        assert!(store.inspect(&first.key).await.unwrap().result.is_some());
        flush().await;
        assert_eq!(store.list("").await.unwrap().len(), 1);
        flush().await;
        assert!(store.forget(&first.key).await.unwrap());
        flush().await;
        assert_eq!(store.release(&first.key, &Who::Any).await.unwrap(), Released::NotHeld(None));
    }
}

#[tokio::test]
async fn a_waiter_whose_connections_are_killed_is_still_served() {
    let server = RedisServer::start();
    let holder_store = RedisStore::connect(&server.url()).await.unwrap();
    for (round, kinds) in [&["normal"][..], &["pubsub"], &["normal", "pubsub"]].into_iter().enumerate() {
        let store = RedisStore::connect(&server.url()).await.unwrap();
        let mut notices = store.notices();
        let mut events = store.events().await.unwrap();
        let key = format!("k{round}");
        let (holder, waiter) = (lock(&key), lock(&key));
        granted(&holder_store.acquire(&holder).await.unwrap());
        let standing = queued(store.acquire(&waiter).await.unwrap());
        for kind in kinds {
            run(&server, &["CLIENT", "KILL", "TYPE", kind]).await;
        }
        let waiting = tokio::spawn(async move {
            let reply = store.wait(&waiter, standing).await;
            (store, reply)
        });
        if kinds.contains(&"pubsub") {
            // Holders are told to ask, and watchers that they missed something.
            assert_eq!(in_time(notices.recv()).await.unwrap(), Notice::AskAgain);
            while in_time(events.next()).await.unwrap() != Told::Missed {}
        }
        holder_store.release(&holder.key, &mine(&holder)).await.unwrap();
        let (_store, reply) = in_time(waiting).await.unwrap();
        granted(&reply.unwrap());
    }
}

#[tokio::test]
async fn a_server_that_lost_its_data_gives_larger_tokens_and_serves_those_who_wait() {
    let mut server = RedisServer::start();
    let store = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let (holder, waiter) = (lock("k"), lock("k"));
    let before = granted(&store.acquire(&holder).await.unwrap());
    let standing = queued(store.acquire(&waiter).await.unwrap());
    let mut notices = store.notices();
    let waiting = {
        let (store, waiter) = (Arc::clone(&store), waiter.clone());
        tokio::spawn(async move { store.wait(&waiter, standing).await })
    };
    server.start_again();
    let after = granted(&in_time(waiting).await.unwrap().unwrap());
    assert!(after > before);
    assert_eq!(in_time(notices.recv()).await.unwrap(), Notice::AskAgain);
    let renewed = store.renew(&[renewal(&holder), renewal(&waiter)]).await.unwrap();
    assert!(matches!(&renewed[0], Renewed::NotHeld(Some(holding)) if holding.token.0 == after));
    assert!(matches!(renewed[1], Renewed::Renewed { .. }));
}

#[tokio::test]
async fn a_verb_waits_through_an_outage_and_a_waiter_through_a_longer_one() {
    let mut server = RedisServer::start();
    let options = hasty().give_up(Duration::from_millis(500));
    let store = Arc::new(RedisStore::connect_with(&server.url(), options).await.unwrap());
    let (holder, waiter) = (lock("k"), lock("k"));
    granted(&store.acquire(&holder).await.unwrap());
    let standing = queued(store.acquire(&waiter).await.unwrap());
    let waiting = {
        let (store, waiter) = (Arc::clone(&store), waiter.clone());
        tokio::spawn(async move { store.wait(&waiter, standing).await })
    };
    server.kill();
    let error = in_time(store.touch(&holder.key)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains(&server.url()), "{error}");
    server.start_again();
    granted(&in_time(waiting).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_server_that_answers_late_grants_once() {
    let server = RedisServer::start();
    let store = RedisStore::connect_with(&server.url(), hasty()).await.unwrap();
    let request = lock("k");
    run(&server, &["CLIENT", "PAUSE", "1500", "ALL"]).await;
    let token = granted(&in_time(store.acquire(&request)).await.unwrap());
    assert_eq!(counter(&server, "k").await, token, "one grant only");
    assert!(matches!(store.release(&request.key, &mine(&request)).await.unwrap(), Released::Released { .. }));
}

#[tokio::test]
async fn a_server_that_stops_for_a_while_is_noticed_by_the_ear() {
    let server = RedisServer::start();
    let store = RedisStore::connect_with(&server.url(), hasty()).await.unwrap();
    let mut notices = store.notices();
    // For longer than the ear waits for an answer.
    server.freeze();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.wake();
    assert_eq!(in_time(notices.recv()).await.unwrap(), Notice::AskAgain);
}

fn wire(server: &RedisServer) -> FaultyWire {
    FaultyWire::before(("127.0.0.1", server.port())).unwrap()
}

/// Until so many connections have fallen silent.
async fn silenced(wire: &FaultyWire, count: u64) {
    in_time(wire.watch().wait_for(|counts| counts.silenced == count)).await.unwrap();
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_and_never_a_false_yes() {
    let server = RedisServer::start();
    let wire = wire(&server);
    let options = hasty().health_check(Duration::from_secs(3600));
    let store = RedisStore::connect_with(&wire.url(), options).await.unwrap();
    let request = lock("k");

    wire.on_request(b"EVALSHA", WireFault::Silence);
    let token = granted(&in_time(store.acquire(&request)).await.unwrap());
    silenced(&wire, 1).await;
    assert_eq!(counter(&server, "k").await, token, "one grant only");

    let behind = lock("k");
    wire.on_request(b"EVALSHA", WireFault::Silence);
    let standing = queued(in_time(store.acquire(&behind)).await.unwrap());
    silenced(&wire, 2).await;
    assert_eq!(store.inspect(&request.key).await.unwrap().waiting, 1, "one place only");
    assert_eq!(store.leave(&behind.key, behind.ticket).await.unwrap(), Left::Line);
    drop(standing);

    // The server knows the script now, so the reply that is lost is not "no such script".
    let never = Who::Ticket(Ticket::mint());
    assert!(matches!(store.release(&request.key, &never).await.unwrap(), Released::NotHeld(Some(_))));
    wire.on_request(b"EVALSHA", WireFault::Silence);
    let released = in_time(store.release(&request.key, &mine(&request))).await;
    silenced(&wire, 3).await;
    assert!(matches!(&released, Err(Error::Unknown { verb: "release", .. })), "{released:?}");
    assert_eq!(store.inspect(&request.key).await.unwrap().holding, None, "it was carried out, in fact");

    let flight = ask("k", Mode::Line, Want::Flight);
    granted(&store.acquire(&flight).await.unwrap());
    wire.on_request(b"EVALSHA", WireFault::Silence);
    let publication = Publication {
        key: flight.key.clone(),
        ticket: flight.ticket,
        kind: OutcomeKind::Value,
        body: Body::Inline(Bytes::from_static(b"value")),
        keep: 0,
    };
    assert_eq!(in_time(store.publish(&publication)).await.unwrap(), Published::Published);
}

/// A server, a wire in front of it, a store behind that and one beside it.
async fn behind_a_wire() -> (RedisServer, FaultyWire, RedisStore, RedisStore) {
    let server = RedisServer::start();
    let wire = wire(&server);
    let options = hasty().health_check(Duration::from_secs(3600));
    let store = RedisStore::connect_with(&wire.url(), options).await.unwrap();
    let direct = RedisStore::connect(&server.url()).await.unwrap();
    (server, wire, store, direct)
}

#[tokio::test]
async fn a_rotation_whose_reply_was_lost_is_unknown_and_joins_the_line_once() {
    let (_server, wire, store, direct) = behind_a_wire().await;
    let (held, next, again) = (lock("k"), lock("k"), lock("k"));
    granted(&store.acquire(&held).await.unwrap());
    // The server knows the script, so the reply that is lost is not "no such script".
    let never = Who::Ticket(Ticket::mint());
    assert!(matches!(store.release(&held.key, &never).await.unwrap(), Released::NotHeld(Some(_))));
    let standing = queued(direct.acquire(&next).await.unwrap());
    wire.on_request(b"EVALSHA", WireFault::Silence);
    let rotated = in_time(store.rotate(held.ticket, &again)).await;
    silenced(&wire, 1).await;
    assert!(matches!(&rotated, Err(Error::Unknown { verb: "release", .. })), "{rotated:?}");
    granted(&in_time(direct.wait(&next, standing)).await.unwrap());
    assert_eq!(direct.inspect(&held.key).await.unwrap().waiting, 1, "it was carried out, in fact, and once");
    assert_eq!(store.leave(&again.key, again.ticket).await.unwrap(), Left::Line);
    assert_eq!(store.listening(), 0);
}

#[tokio::test]
async fn a_rotation_that_never_arrived_is_asked_for_again() {
    let (_server, wire, store, direct) = behind_a_wire().await;
    let (held, next, again) = (lock("k"), lock("k"), lock("k"));
    granted(&store.acquire(&held).await.unwrap());
    let standing = queued(direct.acquire(&next).await.unwrap());
    wire.on_request(b"EVALSHA", WireFault::CutRequest);
    let Rotated::Asked(_, reply) = in_time(store.rotate(held.ticket, &again)).await.unwrap() else {
        panic!("it was held")
    };
    queued(reply.unwrap());
    granted(&in_time(direct.wait(&next, standing)).await.unwrap());
    assert_eq!(direct.inspect(&held.key).await.unwrap().waiting, 1);
}

#[tokio::test]
async fn a_lost_wake_up_is_recovered_by_the_next_look() {
    let (_server, wire, store, direct) = behind_a_wire().await;
    let holder = Request { ttl: Ttl::new(Duration::from_secs(1)), ..lock("k") };
    let waiter = lock("k");
    granted(&direct.acquire(&holder).await.unwrap());
    let standing = queued(store.acquire(&waiter).await.unwrap());
    wire.on_reply(b"soloist:1:s:", WireFault::Silence);
    direct.release(&holder.key, &mine(&holder)).await.unwrap();
    silenced(&wire, 1).await;
    granted(&in_time(store.wait(&waiter, standing)).await.unwrap());
}

#[tokio::test]
async fn when_memory_is_full_leases_are_renewed_and_released_and_new_ones_refused() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (holder, waiter, flight) = (lock("k"), lock("k"), ask("f", Mode::Line, Want::Flight));
    granted(&store.acquire(&holder).await.unwrap());
    granted(&store.acquire(&flight).await.unwrap());
    let standing = queued(store.acquire(&waiter).await.unwrap());
    run(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;

    for request in [lock("new"), lock("k"), ask("new", Mode::Try, Want::Lock)] {
        let error = store.acquire(&request).await.unwrap_err();
        assert!(matches!(&error, Error::Refused { why, .. } if why.contains("OOM")), "{error:?}");
        assert!(error.hint().unwrap().contains("maxmemory"));
    }
    let renewed = store.renew(&[renewal(&holder), renewal(&flight)]).await.unwrap();
    assert!(renewed.iter().all(|renewed| matches!(renewed, Renewed::Renewed { .. })), "{renewed:?}");
    assert!(matches!(store.release(&holder.key, &mine(&holder)).await.unwrap(), Released::Released { .. }));
    granted(&in_time(store.wait(&waiter, standing)).await.unwrap());
    // Confirming a grant is a renewal too.
    granted(&store.acquire(&waiter).await.unwrap());
    // Who asks for it again is refused, and has released it.
    let Rotated::Asked(_, refused) = store.rotate(waiter.ticket, &lock("k")).await.unwrap() else {
        panic!("it was held")
    };
    assert!(matches!(&refused, Err(Error::Refused { why, .. }) if why.contains("OOM")), "{refused:?}");
    assert_eq!(store.inspect(&waiter.key).await.unwrap().holding, None);
    let publication = Publication {
        key: flight.key.clone(),
        ticket: flight.ticket,
        kind: OutcomeKind::Value,
        body: Body::Inline(Bytes::from_static(b"value")),
        keep: 60_000_000,
    };
    assert_eq!(store.publish(&publication).await.unwrap(), Published::Published);
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_refuses_and_serves_again_later() {
    let (server, primary) = (RedisServer::start(), RedisServer::start());
    let store =
        RedisStore::connect_with(&server.url(), hasty().give_up(Duration::from_millis(500))).await.unwrap();
    run(&server, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    let error = in_time(store.acquire(&lock("k"))).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("READONLY")), "{error:?}");
    assert!(error.hint().unwrap().contains("primary"));
    let error = RedisStore::connect(&server.url()).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("READONLY")), "{error:?}");
    run(&server, &["REPLICAOF", "NO", "ONE"]).await;
    loop {
        match in_time(store.acquire(&lock("k"))).await {
            Ok(reply) => {
                granted(&reply);
                return;
            }
            Err(Error::Refused { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn the_number_of_connections_does_not_grow() {
    let server = RedisServer::start();
    let store = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let events = store.events().await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    let mut held = Vec::new();
    for at in 0..200 {
        let (holder, waiter) = (lock(&format!("k{at}")), lock(&format!("k{at}")));
        granted(&store.acquire(&holder).await.unwrap());
        let standing = queued(store.acquire(&waiter).await.unwrap());
        let store = Arc::clone(&store);
        waiting.spawn(async move { store.wait(&waiter, standing).await });
        held.push(holder);
    }
    let clients: String =
        redis::cmd("CLIENT").arg("LIST").query_async(&mut server.admin().await).await.unwrap();
    assert_eq!(clients.lines().count(), 3, "two and this one:\n{clients}");
    assert_eq!(store.list("k").await.unwrap().len(), 200);
    for holder in held {
        store.release(&holder.key, &mine(&holder)).await.unwrap();
    }
    while let Some(served) = in_time(waiting.join_next()).await {
        granted(&served.unwrap().unwrap());
    }
    drop(events);
}
