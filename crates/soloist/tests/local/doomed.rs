//! Processes that are killed between two system calls, at every point that there is, a thousand times.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use soloist::testing::{self, KILL_POINTS, SecondProcess};
use soloist::{Client, Error};

use crate::asking::{open, soon};
use crate::child::is_dying;

const TEST: &str = "doomed::role";
const PATH: &str = "SOLOIST_TEST_PATH";
const KEYS: u64 = 3;
/// How many process lines run side by side.
const LINES: u64 = 3;

fn random(below: u64) -> u64 {
    (soloist::Ticket::mint().as_u128() % u128::from(below)) as u64
}

fn client(path: &Path) -> Client {
    Client::builder().ttl(Duration::from_secs(3600)).store(Arc::new(open(path))).unwrap()
}

/// What a result says of itself, so that one that is not whole is seen.
fn value(seed: u64) -> Vec<u64> {
    vec![seed; if seed.is_multiple_of(2) { 3000 } else { 3 }]
}

/// Not a test: the process that is killed. The role is the point, and how often it is passed before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role() {
    let (Some(role), Ok(path)) = (testing::role(), std::env::var(PATH)) else { return };
    // Who ends in another way than by the kill says why.
    std::panic::set_hook(Box::new(|why| testing::says(&why.to_string().replace('\n', " "))));
    let (point, passes) = role.split_once('/').unwrap();
    let path = Path::new(&path);
    assert!(testing::kill_at(point, passes.parse().unwrap()));
    // The point is on the way of one of these, time and again.
    for _ in 0..200 {
        let client = client(path);
        let mut events = client.events().await.unwrap();
        for _ in 0..4 {
            go_round(&client, path, random(KEYS)).await;
            let number = random(KEYS);
            let seed = random(1000);
            let done = client.once(format!("result-{number}")).keep(Duration::from_millis(random(3)));
            check(done.run(|| async { Ok::<_, Error>(value(seed)) }).await);
            client.forget(format!("result-{number}")).await.unwrap();
            // In line, and out of it again.
            let waiting = client.lock(format!("key-{number}")).wait(Duration::from_micros(random(2000)));
            drop(waiting.await);
        }
        let _ = tokio::time::timeout(Duration::from_millis(1), events.next()).await;
        drop(events);
        client.close().await;
    }
    testing::says("never came there");
}

fn check(result: soloist::Result<Vec<u64>>) {
    let result = result.unwrap();
    assert!(result == value(result[0]), "this result is not as it was published: {:?}", &result[..3]);
}

/// Holds a key, proves with a lock of the operating system that it is alone, and notes its token.
async fn go_round(client: &Client, path: &Path, number: u64) {
    let lease = client.lock(format!("key-{number}")).await.unwrap();
    let file = |what: &str| path.parent().unwrap().join(format!("{what}-{number}"));
    let mut witness = std::fs::OpenOptions::new().append(true).create(true).open(file("witness")).unwrap();
    let before = std::fs::read_to_string(file("owner")).unwrap_or_default();
    // The name goes before the lock, so whoever has the lock is named.
    std::fs::write(file("owner"), std::process::id().to_string()).unwrap();
    if witness.try_lock().is_err() {
        // A killed process may lose its lease an instant before it loses its other files.
        if !is_dying(&before) {
            testing::says(&format!("violation by {before}"));
            panic!("two hold it");
        }
        witness.lock().unwrap();
    }
    witness.write_all(format!("{}\n", lease.token()).as_bytes()).unwrap();
    witness.unlock().unwrap();
    lease.release().await.unwrap();
}

/// One doomed process after the other. Answers how many were killed at each point.
async fn line(path: &Path, first: u64, kills: u64) -> BTreeMap<&'static str, u64> {
    let mut killed = BTreeMap::new();
    for number in 0..kills {
        let point = KILL_POINTS[((first + number * LINES) % KILL_POINTS.len() as u64) as usize];
        let role = format!("{point}/{}", random(4));
        let mut process = SecondProcess::in_role(TEST, &role, &[(PATH, path.to_str().unwrap())]);
        match soon(process.says()).await {
            None => *killed.entry(point).or_default() += 1,
            Some(said) => panic!("at {point:?}: {said}"),
        }
        process.reap();
    }
    killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_any_two_system_calls_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let kills = if std::env::var_os("SOLOIST_SOAK").is_some() { 20_000 } else { 900 };
    let survivor = client(&path);
    let over = Arc::new(AtomicBool::new(false));
    let living = tokio::spawn(survive(survivor.clone(), path.clone(), Arc::clone(&over)));
    let lines = (0..LINES).map(|first| line(&path, first, kills / LINES));
    let mut killed = BTreeMap::<_, u64>::new();
    for (point, count) in futures_util::future::join_all(lines).await.into_iter().flatten() {
        *killed.entry(point).or_default() += count;
    }
    over.store(true, Ordering::SeqCst);
    let rounds = living.await.unwrap();
    println!("{kills} kills, {rounds} rounds beside them: {killed:?}");
    for point in KILL_POINTS {
        assert!(killed.contains_key(point), "nobody was killed at {point:?}");
    }
    assert!(rounds > 0, "nothing went on beside the kills");
    for number in 0..KEYS {
        let tokens = std::fs::read_to_string(dir.path().join(format!("witness-{number}"))).unwrap();
        let tokens: Vec<u64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
        assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "tokens of key {number} do not grow");
        assert!(tokens.len() > 10, "hardly anything went on");
    }
    survivor.close().await;
    let left = swept(&path).await;
    assert_eq!(left, Vec::<String>::new(), "garbage is left when all have gone");
}

/// Somebody who lives, and goes on.
async fn survive(client: Client, path: PathBuf, over: Arc<AtomicBool>) -> u64 {
    let mut rounds = 0;
    while !over.load(Ordering::SeqCst) {
        for number in 0..KEYS {
            soon(go_round(&client, &path, number)).await;
            let once = client.once(format!("result-{number}"));
            check(soon(once.run(|| async { Ok::<_, Error>(value(rounds)) })).await);
        }
        rounds += 1;
    }
    rounds
}

/// What a store that is opened long after finds, and leaves: files but those of keys.
async fn swept(path: &Path) -> Vec<String> {
    let files = || {
        let root = std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
        let folders = ["", "s", "p", "e", "r"].map(|name| root.join(name));
        let entries = folders.into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten());
        entries.map(|entry| entry.path()).filter(|path| !path.is_dir()).collect::<Vec<_>>()
    };
    #[allow(clippy::disallowed_methods, reason = "files carry the wall clock's times")]
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let since = hour_ago.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let time = rustix::fs::Timespec { tv_sec: since.as_secs().cast_signed(), tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    for file in files() {
        rustix::fs::utimensat(rustix::fs::CWD, &file, &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    let client = client(path);
    // Results are served for a while to those who waited for them.
    for number in 0..KEYS {
        client.forget(format!("result-{number}")).await.unwrap();
    }
    let is_garbage = |file: &PathBuf| {
        let (folder, name) = (file.parent().unwrap().file_name().unwrap(), file.file_name().unwrap());
        (folder != "s" || name.to_string_lossy().starts_with('.')) && name != "clock"
    };
    // One FIFO is that of the store which has just been opened.
    let left =
        || files().into_iter().filter(is_garbage).map(|file| file.display().to_string()).collect::<Vec<_>>();
    soon(async {
        while left().len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    client.close().await;
    left()
}
