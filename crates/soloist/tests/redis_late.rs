//! Requests that reach a Redis after their callers have given them up: on a server that was paused, or over a wire
//! that kept them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/request.rs"]
mod request;

use std::time::Duration;

use redis_server::RedisServer;
use soloist::protocol::{Answer, KeyInfo, Left, Mode, Released, Renewal, Renewed, Request, Ttl, Want, Who};
use soloist::store::redis::{RedisOptions, RedisStore};
use soloist::{Error, Key, Result, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(30);
const MS: fn(u64) -> Duration = Duration::from_millis;

fn lock(text: &str, holder: &str) -> Request {
    request::lock(text, holder, Ttl::new(Duration::from_secs(60)))
}

fn mine(request: &Request) -> Who {
    Who::Ticket(request.ticket)
}

fn renewal(request: &Request) -> Renewal {
    Renewal { key: request.key.clone(), who: mine(request), ttl: request.ttl, detach: false, at_least: None }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

async fn granted(store: &RedisStore, request: &Request) -> u64 {
    match store.acquire(request).await.unwrap().answer {
        Answer::Granted(grant) => grant.token.0,
        other => panic!("not granted: {other:?}"),
    }
}

async fn look(store: &RedisStore, request: &Request) -> KeyInfo {
    store.inspect(&request.key).await.unwrap()
}

fn holder_of(info: &KeyInfo) -> Option<&str> {
    info.holding.as_ref().map(|now| now.holder.as_str())
}

#[track_caller]
fn given_up<T: std::fmt::Debug>(answer: Result<T>) {
    assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
}

/// A wire that keeps what is sent to the server while it is told to. Whoever hangs up here does not hang up there:
/// so it is when a network is cut.
struct Wire {
    url: String,
    keeps: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    async fn to(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (keeps, kept) = watch::channel(false);
        let port = server.port();
        let task = tokio::spawn(async move {
            let mut wires = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                wires.spawn(carry(client, server, kept.clone()));
            }
        });
        Wire { url, keeps, task }
    }

    fn keep(&self, keep: bool) {
        self.keeps.send_replace(keep);
    }
}

async fn carry(client: TcpStream, server: TcpStream, mut kept: watch::Receiver<bool>) {
    let (mut from_server, mut to_server) = server.into_split();
    let (mut from_client, mut to_client) = client.into_split();
    let there = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from_client.read(&mut buffer).await {
            kept.wait_for(|keeps| !keeps).await.unwrap();
            to_server.write_all(&buffer[..len]).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from_server.read(&mut buffer).await {
            let _ = to_client.write_all(&buffer[..len]).await;
        }
    };
    tokio::select! { () = there => {}, () = back => {} }
}

/// A server, somebody who is at it, and somebody else who asks over a wire, once and with little patience.
struct Scene {
    server: RedisServer,
    direct: RedisStore,
    wire: Wire,
    far: RedisStore,
}

impl Scene {
    async fn new() -> Self {
        let server = RedisServer::start();
        let direct = RedisStore::connect(&server.url()).await.unwrap();
        let wire = Wire::to(&server).await;
        let options = RedisOptions::default()
            .response_timeout(MS(250))
            .give_up(MS(50))
            .connect_timeout(MS(2000))
            .health_check(Duration::from_secs(3600));
        let far = RedisStore::connect_with(&wire.url, options).await.unwrap();
        // The server has to know the scripts, or it answers that it does not instead of carrying anything out.
        let any = lock("any", "any");
        granted(&direct, &any).await;
        direct.renew(&[renewal(&any)]).await.unwrap();
        direct.leave(&any.key, any.ticket).await.unwrap();
        direct.release(&any.key, &mine(&any)).await.unwrap();
        direct.forget(&any.key).await.unwrap();
        direct.inspect(&any.key).await.unwrap();
        Scene { server, direct, wire, far }
    }

    /// How often the server has run a script.
    async fn runs(&self) -> u64 {
        let mut admin = self.server.admin().await;
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut admin).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
        line.split(',').next().unwrap().parse().unwrap()
    }

    /// Waits until it has run so many.
    async fn has_run(&self, runs: u64) {
        in_time(async {
            while self.runs().await < runs {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Carries out what was kept on the wire: so many requests.
    async fn deliver(&self, kept: u64) {
        let runs = self.runs().await;
        self.wire.keep(false);
        self.has_run(runs + kept).await;
    }

    async fn connected_again(&self) {
        in_time(async { while self.far.inspect(&Key::new("any").unwrap()).await.is_err() {} }).await;
    }
}

#[tokio::test]
async fn what_a_paused_server_carries_out_late_is_held_by_nobody() {
    let scene = Scene::new().await;
    let runs = scene.runs().await;
    let pause = ["PAUSE", "2500", "WRITE"];
    redis::cmd("CLIENT").arg(&pause).query_async::<()>(&mut scene.server.admin().await).await.unwrap();
    let asked = [Mode::Line, Mode::Try, Mode::Force].map(|mode| Request { mode, ..lock("k", "gone") });
    for request in &asked {
        given_up(scene.far.acquire(request).await);
    }
    scene.has_run(runs + 3).await;
    let info = look(&scene.direct, &asked[0]).await;
    assert_eq!((holder_of(&info), info.waiting), (None, 0));
    granted(&scene.direct, &lock("k", "next")).await;
}

#[tokio::test]
async fn a_pause_that_is_shorter_than_the_limit_costs_the_pause_only() {
    let scene = Scene::new().await;
    let (url, patient) =
        (scene.server.url(), RedisOptions::default().response_timeout(Duration::from_secs(20)));
    let store = RedisStore::connect_with(&url, patient).await.unwrap();
    let request = lock("k", "h");
    let runs = scene.runs().await;
    for _ in 0..3 {
        let pause = ["PAUSE", "400", "WRITE"];
        redis::cmd("CLIENT").arg(&pause).query_async::<()>(&mut scene.server.admin().await).await.unwrap();
        granted(&store, &request).await;
    }
    assert_eq!(scene.runs().await, runs + 3, "none was refused");
}

#[tokio::test]
async fn what_means_whoever_holds_the_key_does_not_end_who_holds_it_later() {
    let scene = Scene::new().await;
    let first = lock("k", "worker");
    for who in [Who::Any, Who::Holder(first.holder.clone())] {
        granted(&scene.direct, &first).await;
        scene.wire.keep(true);
        given_up(scene.far.release(&first.key, &who).await);
        scene.direct.release(&first.key, &mine(&first)).await.unwrap();
        // The same worker has it again, as another request.
        let second = lock("k", "worker");
        let token = granted(&scene.direct, &second).await;
        scene.deliver(1).await;
        let holding = look(&scene.direct, &first).await.holding.unwrap();
        assert_eq!(holding.token.0, token, "{who:?}");
        scene.direct.release(&second.key, &mine(&second)).await.unwrap();
        scene.connected_again().await;
    }
}

#[tokio::test]
async fn what_is_said_by_ticket_is_carried_out_however_late() {
    let scene = Scene::new().await;
    let (holder, waiter) = (lock("k", "far"), lock("k", "waiter"));
    granted(&scene.far, &holder).await;
    scene.wire.keep(true);
    given_up(scene.far.release(&holder.key, &mine(&holder)).await);
    scene.deliver(1).await;
    assert_eq!(holder_of(&look(&scene.direct, &holder).await), None, "nobody waits for its ttl");
    scene.connected_again().await;

    granted(&scene.direct, &lock("k", "near")).await;
    assert!(matches!(scene.far.acquire(&waiter).await.unwrap().answer, Answer::Queued(_)));
    scene.wire.keep(true);
    given_up(scene.far.leave(&waiter.key, waiter.ticket).await);
    scene.deliver(1).await;
    assert_eq!(look(&scene.direct, &waiter).await.waiting, 0);
    assert_eq!(scene.direct.leave(&waiter.key, waiter.ticket).await.unwrap(), Left::Absent);
}

#[tokio::test]
async fn a_renewal_that_runs_late_lengthens_no_lease() {
    let scene = Scene::new().await;
    let request = Request { ttl: Ttl::new(Duration::from_secs(20)), ..lock("k", "far") };
    granted(&scene.far, &request).await;
    let before = look(&scene.direct, &request).await.holding.unwrap().deadline;
    scene.wire.keep(true);
    given_up(scene.far.renew(&[renewal(&request)]).await);
    scene.deliver(1).await;
    assert_eq!(look(&scene.direct, &request).await.holding.unwrap().deadline, before);
    // Asked again it is, being the holder's still.
    scene.connected_again().await;
    let renewed = scene.far.renew(&[renewal(&request)]).await.unwrap();
    assert!(matches!(&renewed[0], Renewed::Renewed { deadline, .. } if *deadline > before), "{renewed:?}");
    assert!(matches!(
        scene.far.release(&request.key, &mine(&request)).await.unwrap(),
        Released::Released { .. }
    ));
}

#[tokio::test]
async fn a_late_forget_spares_the_result_that_came_since() {
    let scene = Scene::new().await;
    let leader = Request { want: Want::Flight, ..lock("k", "leader") };
    let publication = soloist::protocol::Publication {
        key: leader.key.clone(),
        ticket: leader.ticket,
        kind: soloist::protocol::OutcomeKind::Value,
        body: soloist::protocol::Body::Inline(bytes::Bytes::from_static(b"value")),
        keep: 60_000_000,
    };
    scene.wire.keep(true);
    given_up(scene.far.forget(&leader.key).await);
    granted(&scene.direct, &leader).await;
    scene.direct.publish(&publication).await.unwrap();
    scene.deliver(1).await;
    assert!(look(&scene.direct, &leader).await.result.is_some());
}

#[tokio::test]
async fn how_long_a_request_may_still_be_carried_out_is_told() {
    let scene = Scene::new().await;
    assert!(scene.far.settles() >= MS(250) && scene.far.settles() <= MS(2000));
    assert_eq!(soloist::store::memory::MemoryStore::new().settles(), Duration::ZERO);
}
