//! Keys that are taken without a script: what that must not break, on a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/request.rs"]
mod request;

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use redis_server::RedisServer;
use soloist::protocol::{Answer, Grant, Mode, Released, Renewal, Renewed, Request, Ttl, Who};
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::store::{EventStream, Told};
use soloist::testing::{FaultyWire, WireFault};
use soloist::{EventKind, FencingToken, Key, Note, Store};

const LIMIT: Duration = Duration::from_secs(30);
const MS: fn(u64) -> Duration = Duration::from_millis;
/// What a client sends to the server in a plain acquire.
const TAKES: &[u8] = b"PXAT";

fn lock(text: &str, holder: &str) -> Request {
    request::lock(text, holder, Ttl::new(Duration::from_secs(60)))
}

fn mine(request: &Request) -> Who {
    Who::Ticket(request.ticket)
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

fn grant(answer: Answer) -> Grant {
    match answer {
        Answer::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

/// A server and those who are at it.
struct Scene {
    server: RedisServer,
    store: RedisStore,
    other: RedisStore,
}

impl Scene {
    async fn new() -> Self {
        let server = RedisServer::start();
        let store = RedisStore::connect(&server.url()).await.unwrap();
        let other = RedisStore::connect(&server.url()).await.unwrap();
        // The first grant of a shard is a script's, which makes its counter.
        let first = lock("k", "first");
        grant(other.acquire(&Request { mode: Mode::Force, ..first.clone() }).await.unwrap().answer);
        other.release(&first.key, &mine(&first)).await.unwrap();
        Scene { server, store, other }
    }

    /// How often a command was run, and did not fail.
    async fn calls(&self, command: &str) -> u64 {
        let info: String = self.server.run(&["INFO", "commandstats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")));
        let mut fields = line.unwrap_or_default().split(',').filter_map(|field| field.split_once('='));
        let mut count = |name| {
            fields
                .find_map(|(field, count)| (field == name).then(|| count.parse::<u64>().unwrap()))
                .unwrap_or(0)
        };
        count("calls") - count("failed_calls")
    }

    /// A script is asked for once more by its source while the server does not know it.
    async fn scripts(&self) -> u64 {
        self.calls("evalsha").await + self.calls("eval").await
    }

    /// Asks, and answers the grant and how many scripts that took.
    async fn plainly(&self, request: &Request) -> (Grant, u64) {
        plainly(&self.store, self, request).await
    }

    async fn name(&self, kind: char) -> String {
        let names: Vec<String> = self.server.run(&["KEYS", &format!("soloist:1:*:{kind}*")]).await;
        let [name] = &names[..] else { panic!("{names:?}") };
        name.clone()
    }

    /// The counter of the only shard: its member and the last token.
    async fn counter(&self) -> (String, u64) {
        let name = self.name('f').await;
        let (member, score): (String, f64) =
            self.server.run(&["ZRANGE", &name, "0", "-1", "WITHSCORES"]).await;
        (member, score as u64)
    }

    async fn holder(&self) -> Option<String> {
        let info = self.other.inspect(&Key::new("k").unwrap()).await.unwrap();
        info.holding.map(|holding| holding.holder.to_string())
    }
}

/// Asks with the clock freshly read: once more where that took so long that it was not fresh any more.
async fn plainly(store: &RedisStore, scene: &Scene, request: &Request) -> (Grant, u64) {
    loop {
        let (before, began) = (scene.scripts().await, Instant::now());
        store.inspect(&request.key).await.unwrap();
        let granted = grant(store.acquire(request).await.unwrap().answer);
        if began.elapsed() < MS(900) {
            return (granted, scene.scripts().await - before - 1);
        }
        store.release(&request.key, &mine(request)).await.unwrap();
    }
}

async fn heard(events: &mut EventStream) -> EventKind {
    match in_time(events.next()).await.unwrap() {
        Told::Event(event) => event.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_free_key_is_taken_without_a_script_and_is_like_any_other() {
    let scene = Scene::new().await;
    let request = Request { note: Some(Note::new("why not").unwrap()), ..lock("k", "first \0") };
    let (_, before) = scene.counter().await;
    let (granted, scripts) = scene.plainly(&request).await;
    assert_eq!((scripts, granted.tokens), (0, 1));
    assert!(granted.token.0 > before);
    assert_eq!(granted.ttl, Ttl::new(scene.store.settles()), "no longer than a late one may harm");
    assert_eq!(scene.counter().await, ("t".into(), granted.token.0));
    let holding = scene.other.inspect(&request.key).await.unwrap().holding.unwrap();
    assert_eq!(
        (holding.token, &holding.holder, &holding.note),
        (granted.token, &request.holder, &request.note)
    );

    // Its first renewal makes it live for as long as was asked.
    let renewal = Renewal {
        key: request.key.clone(),
        who: mine(&request),
        ttl: request.ttl,
        detach: false,
        at_least: None,
    };
    let renewed = scene.store.renew(&[renewal]).await.unwrap();
    assert!(matches!(renewed[..], [Renewed::Renewed { token, .. }] if token == granted.token), "{renewed:?}");
    let left: i64 = scene.server.run(&["PTTL", &scene.name('l').await]).await;
    assert!(left > 100_000, "and a minute more: {left}");

    let released = scene.store.release(&request.key, &mine(&request)).await.unwrap();
    assert_eq!(released, Released::Released { token: granted.token });
    // Another time it is released before it was renewed.
    let (granted, scripts) = scene.plainly(&request).await;
    assert_eq!(scripts, 0);
    let released = scene.store.release(&request.key, &mine(&request)).await.unwrap();
    assert_eq!(released, Released::Released { token: granted.token });
    assert_eq!(scene.holder().await, None);
    let released = scene.store.release(&request.key, &mine(&request)).await.unwrap();
    assert_eq!(released, Released::NotHeld(None));
}

#[tokio::test]
async fn whoever_waits_is_handed_the_key_and_overtaken_by_nobody() {
    let scene = Scene::new().await;
    let (first, next) = (request::lock("k", "first", Ttl::new(MS(400))), lock("k", "next"));
    scene.plainly(&first).await;
    let standing = scene.other.acquire(&next).await.unwrap();
    assert!(matches!(&standing.answer, Answer::Queued(queued) if queued.place == 1));
    scene.store.release(&first.key, &mine(&first)).await.unwrap();
    let handed = in_time(scene.other.wait(&next, standing)).await.unwrap();
    grant(handed.answer);
    scene.other.release(&next.key, &mine(&next)).await.unwrap();

    // The holder is gone, and whoever is next has not noticed yet: who comes now finds no free key.
    let late = RedisStore::connect(&scene.server.url()).await.unwrap();
    let (first, next) = (request::lock("k", "gone", Ttl::new(MS(400))), lock("k", "next"));
    let (_, scripts) = plainly(&late, &scene, &first).await;
    assert_eq!(scripts, 0);
    let standing = scene.other.acquire(&next).await.unwrap();
    assert!(matches!(standing.answer, Answer::Queued(_)));
    in_time(async { while scene.holder().await.is_some() {} }).await;
    let fresh = RedisStore::connect(&scene.server.url()).await.unwrap();
    let answer = fresh.acquire(&Request { mode: Mode::Try, ..lock("k", "late") }).await.unwrap().answer;
    assert!(matches!(&answer, Answer::Busy(holding) if holding.holder == next.holder), "{answer:?}");
    grant(in_time(scene.other.wait(&next, standing)).await.unwrap().answer);
}

#[tokio::test]
async fn what_is_watched_is_told() {
    let scene = Scene::new().await;
    // Begun before anybody watches, ended after it; once by its holder, once by its deadline.
    let early = lock("k", "early");
    let gone = request::lock("k", "gone", Ttl::new(MS(600)));
    scene.plainly(&early).await;
    let mut events = scene.other.events().await.unwrap();
    assert_eq!(scene.counter().await.0, "w", "no plain acquire counts");
    scene.store.release(&early.key, &mine(&early)).await.unwrap();
    assert_eq!(heard(&mut events).await, EventKind::Released);

    let (granted, scripts) = scene.plainly(&early).await;
    assert_eq!(scripts, 1, "the script has to tell of it");
    assert_eq!(heard(&mut events).await, EventKind::Locked);
    let holding = scene.other.inspect(&early.key).await.unwrap().holding.unwrap();
    assert_eq!(holding.token, granted.token);
    scene.store.release(&early.key, &mine(&early)).await.unwrap();
    assert_eq!(heard(&mut events).await, EventKind::Released);

    drop(events);
    let () = scene.server.run(&["DEL", "soloist:1:watched"]).await;
    // Nobody watches any more: the next script has plain acquires count again.
    let again = RedisStore::connect(&scene.server.url()).await.unwrap();
    let (_, scripts) = plainly(&again, &scene, &gone).await;
    assert_eq!((scripts, scene.counter().await.0.as_str()), (1, "t"));
    again.release(&gone.key, &mine(&gone)).await.unwrap();
    let again = RedisStore::connect(&scene.server.url()).await.unwrap();
    let (_, scripts) = plainly(&again, &scene, &gone).await;
    assert_eq!(scripts, 0);
    let mut events = scene.other.events().await.unwrap();
    in_time(async { while scene.holder().await.is_some() {} }).await;
    scene.other.touch(&gone.key).await.unwrap();
    assert_eq!(heard(&mut events).await, EventKind::Expired);
}

#[tokio::test]
async fn a_token_counts_only_if_it_is_the_largest_so_far() {
    let scene = Scene::new().await;
    let request = lock("k", "behind");
    // Somebody whose clock is ahead, or a server whose clock was set back.
    let (_, last) = scene.counter().await;
    let ahead = last + 3_600_000_000;
    let () = scene.server.run(&["ZADD", &scene.name('f').await, &ahead.to_string(), "t"]).await;
    let (granted, scripts) = scene.plainly(&request).await;
    assert_eq!((scripts, granted.token), (1, FencingToken(ahead + 1)));
    let holding = scene.other.inspect(&request.key).await.unwrap().holding.unwrap();
    assert_eq!(holding.token, granted.token);
    let released = scene.store.release(&request.key, &mine(&request)).await.unwrap();
    assert_eq!(released, Released::Released { token: granted.token });

    // Without its data the server knows of no counter, so it is a script that makes one.
    let () = scene.server.run(&["FLUSHALL"]).await;
    let fresh = RedisStore::connect(&scene.server.url()).await.unwrap();
    let (granted, scripts) = plainly(&fresh, &scene, &request).await;
    assert_eq!((scripts, scene.counter().await), (1, ("t".into(), granted.token.0)));
}

#[tokio::test]
async fn a_lost_answer_is_one_grant_whose_token_nobody_else_has() {
    let scene = Scene::new().await;
    let wire = FaultyWire::before(("127.0.0.1", scene.server.port())).unwrap();
    let hasty = RedisOptions::default().response_timeout(MS(300)).health_check(MS(200));
    for fault in [WireFault::Silence, WireFault::CutReply, WireFault::CutRequest] {
        let far = RedisStore::connect_with(&wire.url(), hasty.clone()).await.unwrap();
        let request = lock("k", "far");
        far.inspect(&request.key).await.unwrap();
        wire.on_request(TAKES, fault);
        let granted = grant(in_time(far.acquire(&request)).await.unwrap().answer);
        let holding = scene.other.inspect(&request.key).await.unwrap().holding.unwrap();
        assert_eq!((holding.token, &holding.holder), (granted.token, &request.holder));
        assert!(scene.counter().await.1 >= granted.token.0, "whatever is granted next has a larger one");
        let released = in_time(far.release(&request.key, &mine(&request))).await.unwrap();
        assert_eq!(released, Released::Released { token: granted.token });
        assert_eq!(scene.holder().await, None);
    }
}

#[tokio::test]
async fn a_key_that_was_busy_is_asked_for_by_script_at_once() {
    let scene = Scene::new().await;
    let (first, next) = (lock("k", "first"), Request { mode: Mode::Try, ..lock("k", "next") });
    scene.plainly(&first).await;
    for asked in [1, 0, 0] {
        let before = scene.calls("set").await;
        scene.other.inspect(&next.key).await.unwrap();
        let answer = scene.other.acquire(&next).await.unwrap().answer;
        assert!(matches!(answer, Answer::Busy(_)), "{answer:?}");
        assert_eq!(scene.calls("set").await - before, asked);
    }
}

#[tokio::test]
async fn who_wants_the_whole_ttl_at_once_has_it() {
    let scene = Scene::new().await;
    let whole = RedisOptions::default().plain(false);
    let store = RedisStore::connect_with(&scene.server.url(), whole).await.unwrap();
    let request = lock("k", "whole");
    let (granted, scripts) = plainly(&store, &scene, &request).await;
    assert_eq!((scripts, granted.ttl), (1, request.ttl));
}

#[tokio::test]
async fn a_lease_lives_on_and_so_does_one_that_is_left_behind() {
    let scene = Scene::new().await;
    let url = scene.server.url();
    let ttl = Duration::from_secs(60);
    let connect = async || soloist::Client::builder().holder("h").ttl(ttl).connect(&url).await.unwrap();
    // A plain one is short at first; on a machine that stands still the clock may be known no more.
    let plain = async {
        loop {
            let lease = connect().await.lock("k").await.unwrap();
            let short = lease.deadline().unwrap();
            if short.since(soloist::Moment::now()) <= scene.store.settles() {
                return (lease, short);
            }
            lease.release().await.unwrap();
        }
    };
    let (lease, short) = in_time(plain).await;
    in_time(async {
        while lease.deadline().unwrap().since(short) < ttl / 2 {
            tokio::time::sleep(MS(5)).await;
        }
    })
    .await;
    assert!(!lease.is_lost());
    lease.release().await.unwrap();

    let client = connect().await;
    let id = client.lock("k").await.unwrap().detach().await.unwrap();
    let left: i64 = scene.server.run(&["PTTL", &scene.name('l').await]).await;
    assert!(left > 60_000, "nobody renews it, so it has its whole ttl: {left}");
    client.release(&id).await.unwrap();
}
