//! Everything that parses, given what nobody should have written. `SEED=7` repeats a run, `SOLOIST_SOAK=1` makes it
//! long; `cargo xtask fuzz` has the coverage-guided one.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod memory;
mod mutate;
#[path = "../support/sources.rs"]
mod sources;

use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use mutate::{Random, mutated};
use soloist::testing::parse::{TARGETS, Target, target};

/// What an input may cost beside the bytes that it has: serde reserves up to a MiB for what says that it is long.
const SOME: usize = 4 << 20;
const EACH_BYTE: usize = 256;

/// The time for each parser.
fn budget() -> Duration {
    Duration::from_millis(if std::env::var_os("SOLOIST_SOAK").is_some() { 60_000 } else { 700 })
}

fn fuzz(target: &Target) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| soloist::Ticket::mint().as_u128() as u64);
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{}: it has no seeds", target.name);
    let (mut random, end, mut runs) = (Random(seed), Instant::now() + budget(), 0);
    let mut given = seeds.clone();
    while runs < 200 || Instant::now() < end {
        let bytes = given.pop().unwrap_or_else(|| mutated(&seeds, &mut random));
        let mut most = 0;
        let done =
            catch_unwind(std::panic::AssertUnwindSafe(|| most = memory::most_of(|| (target.run)(&bytes))));
        let of = || format!("SEED={seed}, run {runs} of {}: {}", target.name, bytes.escape_ascii());
        assert!(done.is_ok(), "{}", of());
        assert!(most <= SOME + EACH_BYTE * bytes.len(), "{most} bytes of memory for {}", of());
        runs += 1;
    }
    println!("{}: {runs} runs, SEED={seed}", target.name);
}

#[test]
fn no_parser_breaks_on_what_nobody_wrote() {
    // Two at a time, of the machine's at least two.
    let (one, other) = TARGETS.split_at(TARGETS.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| other.iter().for_each(fuzz));
        one.iter().for_each(fuzz);
        other.join().unwrap();
    });
}

/// What was found once stays found: the name of the target, and the bytes.
const FOUND: &[(&str, &[u8])] = &[
    // The numbers of events went over the end.
    ("local_event", b"\x0c\0\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x02\x01\x01k\0\x01h\x07\x08"),
    // What is no length was waited for, and swallowed the wake-ups behind it.
    ("local_wake_up", b"\xff\xff\x07"),
    // A password with a ? in it was taken for an option, and named.
    ("redis_url", b"12?"),
    // A clock at the end of all numbers: the next token was one too many.
    ("local_folder", b"18446744073709551615"),
    // Printed, they were others.
    ("lease_id", b"a@07.00000000000000000000000000000007"),
    ("store_url", b"local:////run"),
    // A length that goes over the end.
    (
        "local_slot",
        b"soloist\x02\x06\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x03\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x18\xf2\x87|\xd4\xbe\x09\xe4x",
    ),
];

#[test]
fn what_was_found_stays_found() {
    for (name, bytes) in FOUND {
        (target(name).unwrap().run)(bytes);
    }
}

/// Signs that a file reads what others wrote.
const SIGNS: &[&str] = &[
    "impl FromStr",
    "TryFrom<String>",
    "Deserialize)]",
    "DeserializeOwned",
    "from_utf8",
    "from_le_bytes",
    "from_be_bytes",
    "postcard::from_bytes",
    "postcard::take_from_bytes",
    "serde_json::from_",
    ".parse()",
    ".parse::<",
    "Value::Array",
    "Value::BulkString",
];

/// Files with such a sign that read nothing of the kind: what they read, a target's file has read before.
const NOT_READ: &[&str] = &[
    // The text of a URL, likewise.
    "builder.rs",
    // The text of a URL, for `StoreUrl` to read.
    "client.rs",
    // The operating system's random bytes.
    "random.rs",
    // Lists of answers, each of which was read before.
    "store/redis/connection.rs",
    "store/redis/pipeline.rs",
    // A name of our own that the server gives back, which is compared and no more.
    "store/redis/watched.rs",
];

#[test]
fn no_parser_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let covered = |place: &str| TARGETS.iter().any(|target| target.covers.contains(&place));
    let mut forgotten = Vec::new();
    for path in sources::sources(&folder) {
        let place = path.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/");
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\n").next().unwrap();
        let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let reads = code.iter().any(|line| SIGNS.iter().any(|sign| line.contains(sign)));
        let door = place.ends_with("parse.rs") || place.starts_with("testing/");
        if reads && !door && !covered(&place) && !NOT_READ.contains(&&*place) {
            forgotten.push(place);
        }
    }
    assert!(forgotten.is_empty(), "these read what others wrote, and no target covers them: {forgotten:?}");
    for target in TARGETS {
        for place in target.covers {
            assert!(folder.join(place).exists(), "{} covers {place}, which is not there", target.name);
        }
    }
}

/// The bytes of a shard file that a store finds damaged, and the most memory that asking took.
fn asked_of_damaged(damage: impl Fn(&std::fs::File)) -> (soloist::Error, usize) {
    use soloist::store::local::LocalStore;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let take = |store: LocalStore| {
        let client = soloist::Client::builder().store(std::sync::Arc::new(store)).unwrap();
        runtime.block_on(async { client.try_lock("k").await.map(drop) })
    };
    take(LocalStore::open(Some(&path)).unwrap()).unwrap();
    let boot = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    let shard = std::fs::read_dir(boot.join("s")).unwrap().next().unwrap().unwrap().path();
    damage(&std::fs::OpenOptions::new().write(true).open(shard).unwrap());
    let mut asked = None;
    let most = memory::most_of(|| asked = Some(take(LocalStore::open(Some(&path)).unwrap())));
    (asked.unwrap().unwrap_err(), most)
}

#[test]
fn a_damaged_length_in_a_shard_file_costs_no_memory() {
    use std::os::unix::fs::FileExt;
    // The length of the table of the newest slot: the file has so many bytes, and nothing in them.
    for len in [(1_u64 << 30) - 64, 1 << 29, 1 << 24, 1 << 40, u64::MAX] {
        let (error, most) =
            asked_of_damaged(|file| file.write_all_at(&len.to_le_bytes(), 4032 + 16).unwrap());
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert!(most < SOME, "{most} bytes for a length of {len}");
    }
}
