//! A fleet on a real Redis that is killed, frozen and cut off from: recorded and checked. `cargo xtask soak` runs it
//! for as long as it is told to.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "support/party.rs"]
mod party;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use party::{MS, Party, Registers};
use soloist::testing::{Checker, Dice, History, Recorder, RecordingStore, RedisServer, What};
use soloist::{Client, Moment, store::redis::RedisStore};
use tokio::task::JoinHandle;

const CLIENTS: u32 = 4;
const TASKS: u32 = 3;
const LOCKS: &[&str] = &["lock:a", "lock:b"];
const FLIGHTS: &[&str] = &["flight:a", "flight:b"];
/// Free most of the time: they are taken without a script.
const FREE: &[&str] = &["free:a", "free:b", "free:c", "free:d", "free:e", "free:f", "free:g", "free:h"];
/// How long times stay calm, so that something is asked of calm times.
const CALM: Duration = Duration::from_secs(55);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

async fn party(id: u32, url: &str, recorder: &Recorder, registers: &Registers) -> Party {
    let store = Arc::new(RedisStore::connect(url).await.unwrap());
    let recorded = RecordingStore::new(store, recorder.clone(), id);
    let client = Client::builder().holder(format!("client-{id}")).store(Arc::new(recorded)).unwrap();
    Party { id, client, recorder: recorder.clone(), registers: registers.clone(), rotates: true }
}

/// The largest token that anybody has heard of.
fn last(history: &History) -> u64 {
    let tokens = history.records.iter().filter_map(|record| match record.what {
        What::Granted { token, .. } => Some(token),
        _ => None,
    });
    tokens.max().unwrap_or(0)
}

/// The longest time in which nobody was granted anything.
fn longest_stall(history: &History) -> Duration {
    let granted = history.records.iter().filter(|record| matches!(record.what, What::Granted { .. }));
    let times: Vec<u64> = granted.map(|record| record.at).collect();
    Duration::from_micros(times.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0))
}

/// One fault of the server; answers its kind.
async fn fault(dice: &mut Dice, server: &mut RedisServer, recorder: &Recorder) -> &'static str {
    let kind = ["killed, and back without its data", "frozen"][dice.below(2) as usize];
    recorder.record(0, What::Fault { kind: kind.into() });
    if kind == "frozen" {
        server.freeze();
        tokio::time::sleep(MS(dice.between(100, 12_000))).await;
        server.wake();
    } else {
        server.kill();
        tokio::time::sleep(MS(dice.between(10, 8000))).await;
        // What was granted before and not heard yet has a smaller token than what is granted from now on.
        recorder.record(0, What::DataLost { last: last(&recorder.history()) });
        server.start_again();
        recorder.record(0, What::DataLost { last: last(&recorder.history()) });
    }
    recorder.record(0, What::Calm);
    kind
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs for as long as it is told to"]
async fn a_real_server() {
    let (seconds, seed) = (number("SECONDS", 90), number("SEED", 1));
    let (mut dice, recorder) = (Dice::new(seed), Recorder::new(0));
    let mut server = RedisServer::start();
    let registers = Registers::Memory(Arc::default());
    let stopped = Arc::new(AtomicBool::new(false));
    let (mut parties, mut tasks): (Vec<Party>, Vec<JoinHandle<()>>) = Default::default();
    for id in 1..=CLIENTS {
        let party = party(id, &server.url(), &recorder, &registers).await;
        for task in 0..=TASKS {
            let (party, dice, stopped) = (party.clone(), dice.split(), Arc::clone(&stopped));
            tasks.push(tokio::spawn(async move {
                let stopped = || stopped.load(Ordering::SeqCst);
                match task {
                    TASKS => party.hurry(dice, FREE, stopped).await,
                    _ => party.work(dice, LOCKS, FLIGHTS, stopped).await,
                }
            }));
        }
        parties.push(party);
    }
    let (began, mut faults) = (Moment::now(), BTreeMap::<&str, u64>::new());
    let mut next = MS(5000);
    while Moment::now().since(began) < Duration::from_secs(seconds) {
        tokio::time::sleep(MS(10_000)).await;
        let passed = Moment::now().since(began);
        if passed > next {
            *faults.entry(fault(&mut dice, &mut server, &recorder).await).or_default() += 1;
            next = Moment::now().since(began) + CALM + MS(dice.below(20_000));
        }
        let history = recorder.history();
        println!("{:>5} s  {} records  faults {faults:?}", passed.as_secs(), history.records.len());
    }
    stopped.store(true, Ordering::SeqCst);
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(120), task).await.expect("all end").unwrap();
    }
    for party in parties {
        party.client.close().await;
    }
    let (subscriptions, connections) = connections(&server).await;
    let [held, waiting] = left(&server).await;
    recorder.record(0, What::Left { held, waiting, subscriptions, connections });
    let history = recorder.history();
    // A machine that has other things to do is slower than one of a simulation.
    let checker =
        Checker { hand_over: Duration::from_secs(4), slack: Duration::from_secs(6), ..Checker::default() };
    let violations = checker.check(&history);
    let (stall, records) = (longest_stall(&history), history.records.len());
    println!(
        "{records} records, faults {faults:?}, {} violations, longest stall {stall:.1?}",
        violations.len()
    );
    if let Some(first) = violations.first() {
        panic!("seed {seed}: {first}");
    }
}

/// The subscriptions, and the connections beside the one that asks, once the server has noticed who left.
async fn connections(server: &RedisServer) -> (u64, u64) {
    let admin = redis::Client::open(server.url()).unwrap();
    let mut admin = admin.get_multiplexed_async_connection().await.unwrap();
    let mut counts = (0, 0);
    for _ in 0..400 {
        let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut admin).await.unwrap();
        let mut channels = redis::cmd("PUBSUB");
        let channels: Vec<Vec<u8>> = channels.arg("CHANNELS").query_async(&mut admin).await.unwrap();
        assert!(clients.contains("addr="), "the one that asks is there: {clients}");
        counts = (channels.len() as u64, clients.lines().count() as u64 - 1);
        if counts == (0, 0) {
            break;
        }
        tokio::time::sleep(MS(50)).await;
    }
    counts
}

/// What is held and waited for on the server.
async fn left(server: &RedisServer) -> [u64; 2] {
    let client = Client::connect(&server.url()).await.unwrap();
    let infos = client.list("*").await.unwrap();
    let held = infos.iter().filter(|info| info.holding.is_some()).count() as u64;
    let left = [held, infos.iter().map(|info| info.waiting).sum()];
    client.close().await;
    left
}
