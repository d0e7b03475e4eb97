//! The fault kit does what it says: a fault that is not injected would be a test that cannot fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/request.rs"]
mod request;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use soloist::protocol::{Request, Ttl};
use soloist::store::memory::MemoryStore;
use soloist::testing::{Fault, FaultyStore, FaultyWire, Injected, Rates, RedisServer, SecondProcess};
use soloist::testing::{Verb, WireFault, simulate};
use soloist::{Client, Error, Key, Store, Told};

const LIMIT: Duration = Duration::from_secs(30);
const MS: fn(u64) -> Duration = Duration::from_millis;

fn request(key: &str) -> Request {
    request::lock(key, "somebody", Ttl::new(Duration::from_secs(60)))
}

/// A thousand requests under one seed: what became of each, what was counted, and how long it took.
async fn run(seed: u64) -> (Vec<bool>, Injected, Duration) {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    store.seed(seed);
    store.rates(Rates {
        lost: 50,
        answer_lost: 50,
        refused: 50,
        late_call: 50,
        late: 50,
        twice: 50,
        straggles: 50,
        lateness: Duration::from_secs(60),
    });
    let began = tokio::time::Instant::now();
    let mut answered = Vec::new();
    for at in 0..1000 {
        answered.push(store.acquire(&request(&format!("k{at}"))).await.is_ok());
    }
    (answered, store.counts(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_is_the_same_run() {
    let (answered, counts, took) = run(7).await;
    assert_eq!((answered, counts.clone(), took), run(7).await);
    assert_ne!(counts, run(8).await.1);
    for kind in ["lost", "answer lost", "refused", "late call", "late", "twice", "straggles"] {
        assert!((20..100).contains(&counts.of_kind(kind)), "{kind}: {counts:?}");
    }
    assert!(took > Duration::from_secs(600), "delays take the clock's time: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn each_planned_fault_is_what_it_is_called() {
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let store = FaultyStore::new(Arc::clone(&inner));
    let held = async |key: &str| inner.inspect(&Key::new(key).unwrap()).await.unwrap().holding.is_some();
    let plan = |fault| store.plan(Verb::Acquire, fault);
    plan(Fault::Lost);
    assert!(matches!(store.acquire(&request("lost")).await, Err(Error::Unavailable { .. })));
    assert!(!held("lost").await);
    plan(Fault::AnswerLost);
    assert!(matches!(store.acquire(&request("answer")).await, Err(Error::Unavailable { .. })));
    assert!(held("answer").await);
    plan(Fault::Refused);
    assert!(matches!(store.acquire(&request("refused")).await, Err(Error::Refused { .. })));
    assert!(!held("refused").await);
    plan(Fault::Straggles(Duration::from_secs(5)));
    assert!(matches!(store.acquire(&request("straggler")).await, Err(Error::Unavailable { .. })));
    assert!(!held("straggler").await);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(held("straggler").await);
    assert_eq!(store.settles(), Duration::from_secs(5), "whoever leaves such a request leaves it once more");
    store.away(true);
    assert!(matches!(store.acquire(&request("away")).await, Err(Error::Unavailable { .. })));
    store.away(false);
    plan(Fault::Lost);
    store.calm(true);
    assert!(store.acquire(&request("calm")).await.is_ok());
    store.calm(false);
    assert!(store.acquire(&request("again")).await.is_err(), "what was planned stays planned");
    assert_eq!(store.counts().failed(), 6);
}

/// What a store says by itself: a notice that is lost is not heard, an event that is lost leaves a gap.
#[tokio::test]
async fn a_lost_notice_is_not_heard_and_a_lost_event_is_a_gap() {
    let root = MemoryStore::new();
    let other = Client::builder().store(Arc::new(root.peer())).unwrap();
    let store = Arc::new(FaultyStore::new(Arc::new(root)));
    let (mut notices, mut events) = (store.notices(), store.events().await.unwrap());
    let (one, two) = (request("k"), request("j"));
    store.plan(Verb::Event, Fault::Lost);
    for request in [&one, &two] {
        store.acquire(request).await.unwrap();
    }
    assert_eq!(tokio::time::timeout(LIMIT, events.next()).await.unwrap(), Some(Told::Missed));
    let told = tokio::time::timeout(LIMIT, events.next()).await.unwrap();
    assert!(matches!(&told, Some(Told::Event(event)) if event.key == two.key), "{told:?}");
    store.plan(Verb::Notice, Fault::Lost);
    other.break_lock("k").await.unwrap();
    other.break_lock("j").await.unwrap();
    let heard = tokio::time::timeout(LIMIT, notices.recv()).await.unwrap().unwrap();
    assert!(matches!(heard, soloist::store::Notice::Lost(ticket, ..) if ticket == two.ticket), "{heard:?}");
    store.away(true);
    store.away(false);
    let heard = tokio::time::timeout(LIMIT, notices.recv()).await.unwrap().unwrap();
    assert_eq!(heard, soloist::store::Notice::AskAgain);
}

#[test]
fn a_lost_wake_up_is_found_by_the_next_look_and_a_late_one_late() {
    simulate(7, |_| async {
        for (fault, least, most) in
            [(None, 0, 1), (Some(Fault::Lost), 15, 16), (Some(Fault::Late(MS(2000))), 2, 3)]
        {
            let root = MemoryStore::new();
            let other = Client::builder().store(Arc::new(root.peer())).unwrap();
            let store = Arc::new(FaultyStore::new(Arc::new(root)));
            let client = Client::builder().store(Arc::clone(&store) as Arc<dyn Store>).unwrap();
            let lease = other.lock("k").await.unwrap();
            if let Some(fault) = fault {
                store.plan(Verb::Wait, fault);
            }
            let waiting = tokio::spawn(async move { client.lock("k").await.map(drop) });
            while other.inspect("k").await.unwrap().waiting == 0 {
                tokio::task::yield_now().await;
            }
            let began = tokio::time::Instant::now();
            lease.release().await.unwrap();
            waiting.await.unwrap().unwrap();
            // On this clock times are exact, however slow the machine is.
            assert!((least..=most).contains(&began.elapsed().as_secs()), "{fault:?}: {:?}", began.elapsed());
        }
    });
}

/// A server that answers every request with the same bytes in reverse.
fn mirror() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for mut client in server.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok(len @ 1..) = client.read(&mut bytes) {
                    bytes[..len].reverse();
                    if client.write_all(&bytes[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    listener
}

fn knock(wire: &FaultyWire) -> TcpStream {
    let client = TcpStream::connect(wire.addr()).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client
}

/// What comes back: a text, or as much as came before the end.
fn says(client: &mut TcpStream, request: &str, len: usize) -> String {
    let _ = client.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = client.take(len as u64).read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_wire_does_to_the_request_what_was_planned() {
    let server = mirror();
    let wire = FaultyWire::before(server.local_addr().unwrap()).unwrap();
    let mut client = knock(&wire);
    assert_eq!(says(&mut client, "abc", 3), "cba");
    wire.on_request(b"second", WireFault::CutInReply(2));
    assert_eq!(says(&mut client, "first", 5), "tsrif", "it does not concern this one");
    assert_eq!(says(&mut client, "second", 6), "dn");
    wire.on_request(b"", WireFault::CutReply);
    assert_eq!(says(&mut knock(&wire), "third", 5), "");
    wire.on_request(b"", WireFault::CutRequest);
    assert_eq!(says(&mut knock(&wire), "fourth", 6), "");
    wire.on_reply(b"ht", WireFault::CutReply);
    assert_eq!(says(&mut knock(&wire), "fifth", 5), "");
    let late = Duration::from_millis(200);
    for fault in [WireFault::LateReply(late), WireFault::LateRequest(late)] {
        wire.on_request(b"", fault);
        let began = Instant::now();
        assert_eq!(says(&mut knock(&wire), "sixth", 5), "htxis");
        assert!(began.elapsed() >= late);
    }
    wire.delay(late, late);
    let began = Instant::now();
    assert_eq!(says(&mut knock(&wire), "seventh", 7), "htneves");
    assert!(began.elapsed() >= 2 * late);
    wire.delay(Duration::ZERO, Duration::ZERO);
    assert_eq!((wire.counts().cut, wire.counts().late), (4, 2));

    let mut client = knock(&wire);
    wire.on_request(b"", WireFault::Silence);
    client.write_all(b"half open").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(client.read(&mut [0]).is_err(), "neither an answer nor an end");
    assert_eq!(wire.counts().silenced, 1);
}

#[test]
fn a_wire_is_cut_stalled_and_closed_on_command() {
    let server = mirror();
    let wire = FaultyWire::before(server.local_addr().unwrap()).unwrap();
    let mut clients = [knock(&wire), knock(&wire)];
    for client in &mut clients {
        assert_eq!(says(client, "abc", 3), "cba");
    }
    wire.stall(true);
    clients[0].write_all(b"late").unwrap();
    clients[0].set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(clients[0].read(&mut [0]).is_err());
    wire.stall(false);
    clients[0].set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(says(&mut clients[0], "", 4), "etal", "what was held back arrives");
    assert_eq!(wire.cut(), 2);
    for client in &mut clients {
        assert_eq!(says(client, "abc", 3), "");
    }
    wire.refuse(true);
    assert_eq!(says(&mut knock(&wire), "abc", 3), "");
    wire.refuse(false);
    assert_eq!(says(&mut knock(&wire), "abc", 3), "cba");
    wire.weather(1, 1000);
    let through = (0..50).filter(|_| {
        let mut client = knock(&wire);
        client.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
        says(&mut client, "abc", 3) == "cba"
    });
    assert!((1..40).contains(&through.count()), "{:?}", wire.counts());
    let mut last = knock(&wire);
    drop(wire);
    assert_eq!(says(&mut last, "abc", 3), "", "it ends with its drop");
}

#[tokio::test]
async fn a_process_that_is_frozen_does_nothing_until_it_is_woken() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "while read word; do echo \"@$word\"; done"]);
    let mut process = SecondProcess::start(shell);
    let said = async |process: &mut SecondProcess, limit| tokio::time::timeout(limit, process.says()).await;
    process.tell("one");
    assert_eq!(said(&mut process, LIMIT).await.unwrap().as_deref(), Some("one"));
    process.freeze();
    process.tell("two");
    assert!(said(&mut process, Duration::from_millis(300)).await.is_err());
    process.wake();
    assert_eq!(said(&mut process, LIMIT).await.unwrap().as_deref(), Some("two"));
    process.kill();
    assert_eq!(said(&mut process, LIMIT).await.unwrap(), None);
    process.reap();
}

#[tokio::test]
async fn a_server_starts_again_with_its_data_or_without() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let folder = server.dir().to_owned();
    let held = async |server: &RedisServer| {
        let client = Client::connect(&server.url()).await.unwrap();
        client.inspect("k").await.unwrap().holding.is_some()
    };
    let client = Client::connect(&server.url()).await.unwrap();
    let _id = client.lock("k").no_expiry().await.unwrap().detach().await.unwrap();
    server.start_again();
    assert!(held(&server).await);
    server.start_again_empty();
    assert!(!held(&server).await);
    drop(server);
    assert!(!folder.exists(), "it leaves nothing behind");
}
