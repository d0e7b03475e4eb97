//! The matrix of cancels: every public future, dropped at every point of its way, before, while and after the key
//! changes hands; and nothing is left of it.
#![allow(
    clippy::type_complexity,
    clippy::single_match,
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

mod cases;
mod gate;
mod ground;
#[path = "../support/redis_server.rs"]
mod redis_server;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cases::{CASES, Case};
use futures_util::future::FusedFuture;
use futures_util::{FutureExt, StreamExt, stream};
use gate::{Gate, Phase, Point, Till};
use ground::{Ground, World};
use soloist::{Client, EventKind, Told};

/// When the key changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Moment {
    Before,
    Crossing,
    After,
}

/// What is dropped where, and when.
type Cell = (&'static str, Point, Moment);

/// How often the cells of a matrix were met.
#[derive(Debug, Default)]
struct Met {
    drops: usize,
    /// How often a future was dropped at its very point, and how often its lease ended by its ttl only.
    cells: BTreeMap<Cell, (usize, usize)>,
}

/// The local store opens a file for each shard of keys.
const SHARDS: usize = 256;
/// A generous limit for what has to happen.
const LIMIT: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 12;

async fn soon<T>(what: impl Future<Output = T>, of: &str) -> T {
    tokio::time::timeout(LIMIT, what).await.unwrap_or_else(|_| panic!("{of}: it hangs"))
}

/// The cells that have to be met: a point of the way is either passed by the future alone, or once the key was
/// handed over. What a store does without waiting cannot be dropped half way.
fn cells(case: &'static Case, halfway: bool) -> Vec<(Cell, bool)> {
    let mut cells = Vec::new();
    let all = [Moment::Before, Moment::Crossing, Moment::After];
    for &verb in case.alone {
        let phases: &[Phase] = match verb {
            "wait" => &[Phase::Before, Phase::During],
            // Those that only end what there is wait for nothing on some stores.
            "stop_waiting" | "close" => &[Phase::Before, Phase::After],
            _ if halfway => &[Phase::Before, Phase::During, Phase::After],
            _ => &[Phase::Before, Phase::After],
        };
        let points = phases.iter().map(|&phase| Point::Verb(verb, phase));
        cells.extend(points.flat_map(|point| all.map(|moment| ((case.name, point, moment), false))));
    }
    for &verb in case.then {
        let phases: &[Phase] = if verb == "wait" { &[Phase::After] } else { &[Phase::Before, Phase::After] };
        let points = phases.iter().map(|&phase| Point::Verb(verb, phase));
        let moments = [Moment::Before, Moment::Crossing];
        cells.extend(points.flat_map(|point| moments.map(|moment| ((case.name, point, moment), true))));
    }
    cells
}

/// Drops a future in a cell. Answers whether it was there.
async fn drop_in(world: &World, case: &Case, (cell, needs_other): (Cell, bool), key: &str) -> bool {
    let (_, point, moment) = cell;
    let cases::Scene { under, crossing, detached } = (case.scene)(world.clone(), key.to_owned()).await;
    let (mut under, mut crossing) = (under, crossing.fuse());
    let gate = Gate::at(point);
    let till = match point {
        // After so many polls, wherever that is; a future that waits for the other side has fewer.
        Point::Polls(_) => {
            let other = async {
                if moment == Moment::After {
                    std::future::pending().await
                } else {
                    (&mut crossing).await
                }
                std::future::pending().await
            };
            tokio::select! {
                biased;
                till = gate.run(under.as_mut()) => till,
                () = other => Till::Finished,
                () = tokio::time::sleep(A_LITTLE) => Till::Reached,
            }
        }
        Point::Verb(..) if needs_other => {
            let other = async {
                gate.standing().await;
                (&mut crossing).await;
                std::future::pending().await
            };
            tokio::select! {
                biased;
                till = gate.run(under.as_mut()) => till,
                () = other => Till::Finished,
            }
        }
        Point::Verb(..) => gate.run(under.as_mut()).await,
    };
    match moment {
        // It may have to wait for the drop itself.
        Moment::Before => drop(tokio::time::timeout(A_LITTLE, &mut crossing).await),
        Moment::Crossing => drop((&mut crossing).now_or_never()),
        Moment::After => {}
    }
    drop(under);
    if !crossing.is_terminated() {
        crossing.await;
    }
    let detached = detached.lock().unwrap().take();
    if let Some(id) = detached {
        // Taken over meanwhile, perhaps.
        let _ = world.b.release(&id).await;
    }
    till == Till::Reached
}

/// The key is free, nobody is in line, and the next one gets it.
async fn nothing_left(client: &Client, key: &str) {
    loop {
        let info = client.inspect(key).await.unwrap();
        if info.holding.is_none() && info.waiting == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    client.lock(key).await.unwrap().release().await.unwrap();
    client.forget(key).await.unwrap();
}

/// How many files this process has open.
fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Whoever tells an event finds out who hears it, and who does no more.
async fn speak(world: &World) {
    for client in [&world.a, &world.b] {
        client.lock("warm").await.unwrap().release().await.unwrap();
        client.forget("warm").await.unwrap();
    }
}

/// Waits until as much is left as there was.
async fn back_to(what: &str, most: usize, now: impl Fn() -> usize) {
    let back = async {
        while now() > most {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let limit = tokio::time::timeout(LIMIT, back);
    assert!(limit.await.is_ok(), "{} {what} are left, and there were {most}", now());
}

/// Runs all cells so many times, many of them at once, and counts what is left.
async fn matrix(ground: &Ground, halfway: bool, rounds: usize) {
    let world = ground.world().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    // What is opened once stays open: one of each before anything is counted.
    for number in 0..SHARDS * 12 {
        for client in [&world.a, &world.b] {
            client.inspect(format!("warm{number}")).await.unwrap();
        }
    }
    for client in [&world.a, &world.b] {
        // The connection for what is dropped.
        drop(client.lock("warm").await.unwrap());
        client.flush().await;
    }
    // On this machine whoever waits behind another session watches it from then on, in a task.
    for (holds, waits) in [(&world.a, &world.b), (&world.b, &world.a)] {
        let held = holds.lock("warm").await.unwrap();
        let hands_over = async {
            while holds.inspect("warm").await.unwrap().waiting == 0 {
                tokio::task::yield_now().await;
            }
            held.release().await.unwrap();
        };
        let (waited, ()) = tokio::join!(async { waits.lock("warm").await }, hands_over);
        waited.unwrap().release().await.unwrap();
    }
    let mut events = world.plain.events().await.unwrap();
    let expired: Arc<Mutex<HashSet<String>>> = Arc::default();
    let heard = Arc::clone(&expired);
    let hearing = tokio::spawn(async move {
        while let Some(told) = events.next().await {
            if let Told::Event(event) = told
                && event.kind == EventKind::Expired
            {
                heard.lock().unwrap().insert(event.key.as_str().to_owned());
            }
        }
    });
    speak(&world).await;
    let (tasks_before, files_before) = (tasks(), files());
    let mut all = Vec::new();
    for round in 0..rounds {
        for case in CASES {
            let polls = (0..POLLS).map(Point::Polls);
            let moments = [Moment::Before, Moment::Crossing, Moment::After];
            let polled = polls.flat_map(|point| moments.map(|moment| ((case.name, point, moment), false)));
            all.extend(cells(case, halfway).into_iter().chain(polled).map(|cell| (round, case, cell)));
        }
    }
    let (all, count) = (stream::iter(all.into_iter().enumerate()), Mutex::new(Met::default()));
    let one = async |(number, (round, case, cell)): (usize, (usize, &'static Case, (Cell, bool)))| {
        let (key, of) = (format!("k{number}"), format!("round {round}: {:?}", cell.0));
        let was_there = soon(drop_in(&world, case, cell, &key), &of).await;
        soon(nothing_left(&world.b, &key), &of).await;
        let mut count = count.lock().unwrap();
        count.drops += 1;
        let (met, late) = count.cells.entry(cell.0).or_default();
        *met += usize::from(was_there);
        *late += usize::from(expired.lock().unwrap().contains(&key));
    };
    all.for_each_concurrent(AT_ONCE, one).await;

    let Met { drops, cells } = count.into_inner().unwrap();
    let (mut never, mut late) = (Vec::new(), Vec::new());
    for (cell @ (_, point, _), (met, expired)) in cells {
        if met == 0 && matches!(point, Point::Verb(..)) {
            never.push(cell);
        }
        // A starved machine may let a hand-over of 3 s expire; not each time in the same place.
        if expired == rounds {
            late.push(cell);
        }
    }
    println!("{drops} drops");
    assert!(never.is_empty(), "these cells never happened: {never:#?}");
    assert!(late.is_empty(), "in these cells the key was free only when a lease had expired: {late:#?}");
    back_to("tasks", tasks_before, tasks).await;
    for listening in &world.listening {
        back_to("tickets listened for", 0, || listening()).await;
    }
    speak(&world).await;
    // A session of the local store may hold those of eight that have ended.
    back_to("open files", files_before + 3 * 8, files).await;
    assert_eq!(ground.names().await, Vec::<String>::new(), "names on the server");
    hearing.abort();
}

/// How many polls a future is dropped after at most, apart from its points.
const POLLS: usize = 4;

/// How long something may take that need not happen.
const A_LITTLE: Duration = Duration::from_millis(3);

/// One at a time: open files are counted.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(halfway: bool, rounds: usize, ground: impl FnOnce() -> Ground) {
    let _alone = alone();
    let rounds = if std::env::var_os("SOLOIST_SOAK").is_some() { rounds * 20 } else { rounds };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { matrix(&ground(), halfway, rounds).await });
}

#[test]
fn nothing_is_left_in_memory() {
    run(false, 8, Ground::memory);
}

#[test]
fn nothing_is_left_on_this_machine() {
    run(false, 6, Ground::local);
}

#[test]
fn nothing_is_left_on_redis() {
    run(true, 4, Ground::redis);
}
