//! The folder: what is refused, and what a damaged file does.

use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use soloist::store::local::{LocalOptions, LocalStore};
use soloist::store::memory::StoreClock;
use soloist::{Error, Store};

use crate::asking::{base, granted, hold, key, lock, open, queued, release, soon};

fn refused(path: &Path, why: &str) {
    let error = LocalStore::open(Some(path)).unwrap_err();
    assert!(matches!(error, Error::Folder { .. }), "{error:?}");
    assert!(error.to_string().contains(why), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_folder_that_is_not_ours_alone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open_to_all = dir.path().join("open");
    std::fs::create_dir(&open_to_all).unwrap();
    std::fs::set_permissions(&open_to_all, std::fs::Permissions::from_mode(0o755)).unwrap();
    refused(&open_to_all, "open to others");
    let ours = dir.path().join("ours");
    open(&ours);
    assert_eq!(std::fs::metadata(&ours).unwrap().permissions().mode() & 0o777, 0o700);
    let link = dir.path().join("link");
    symlink(&ours, &link).unwrap();
    refused(&link, "not a folder");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused(&file, "not a folder");
    if rustix::process::geteuid().is_root() {
        let theirs = dir.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&theirs, Some(12345), None).unwrap();
        refused(&theirs, "belongs to user 12345");
    }
}

#[test]
fn outside_of_a_runtime_the_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = LocalStore::open(Some(&base(&dir))).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
}

/// The only shard file of a store that has used one key.
fn shard(base: &Path) -> PathBuf {
    let boot = std::fs::read_dir(base).unwrap().next().unwrap().unwrap().path();
    let mut shards: Vec<_> =
        std::fs::read_dir(boot.join("s")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(shards.len(), 1);
    shards.remove(0)
}

/// Where the head of a slot stands.
fn head(slot: u64) -> u64 {
    4032 + slot * 64
}

/// Spoils a byte of the head of a slot, as a write that was cut off does.
fn tear(file: &Path, slot: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, head(slot) + 41).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], head(slot) + 41).unwrap();
}

/// Spoils the last byte that was written into the first slot: that of the last record.
fn tear_last(file: &Path) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut slot = [0; 4032];
    file.read_exact_at(&mut slot, 0).unwrap();
    let last = slot.iter().rposition(|byte| *byte != 0).unwrap();
    file.write_all_at(&[slot[last] ^ 0xff], last as u64).unwrap();
}

#[tokio::test]
async fn a_torn_write_never_was() {
    let dir = tempfile::tempdir().unwrap();
    let request = lock("a");
    let (one, other) = (open(&base(&dir)), open(&base(&dir)));
    let token = hold(&one, &request).await.token;
    release(&one, &request).await;
    tear_last(&shard(&base(&dir)));
    let info = other.inspect(&key("a")).await.unwrap();
    assert_eq!(info.holding.unwrap().token, token, "the release never was");
    release(&other, &request).await;
    let next = lock("a");
    assert!(hold(&other, &next).await.token > token);
}

#[tokio::test]
async fn a_damaged_table_is_never_taken_for_a_write_that_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&base(&dir));
    // Nothing was written into the second slot yet; then it is the newest; then the first one again.
    let mut newest = 0;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let request = lock("a");
        hold(&store, &request).await;
        let path = shard(&base(&dir));
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let seq = |slot: u64| {
            let mut seq = [0; 8];
            file.read_exact_at(&mut seq, head(slot) + 8).unwrap();
            u64::from_le_bytes(seq)
        };
        let at = u64::from(seq(1) > seq(0));
        if at != newest || seen.is_empty() {
            newest = at;
            tear(&path, at);
            let error = open(&base(&dir)).inspect(&key("a")).await.unwrap_err();
            assert!(error.to_string().contains("is damaged"), "slot {at}: {error}");
            tear(&path, at);
            seen.insert((seen.len(), at));
        }
        release(&store, &request).await;
    }
    assert!(seen.len() > 3, "{seen:?}");
}

#[tokio::test]
async fn a_damaged_file_is_named_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&base(&dir));
    hold(&store, &lock("a")).await;
    let file = shard(&base(&dir));
    for slot in [0, 1] {
        tear(&file, slot);
    }
    let fresh = open(&base(&dir));
    let error = fresh.acquire(&lock("a")).await.unwrap_err();
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    assert!(error.hint().unwrap().contains("remove this file"));
    hold(&fresh, &lock("b")).await;
    // What the hint says helps, also for those who had the file open: they notice it soon.
    std::fs::remove_file(&file).unwrap();
    granted(fresh.acquire(&lock("a")).await.unwrap());
    let goes_on = soon(async {
        loop {
            if let Ok(reply) = store.acquire(&lock("a")).await {
                return reply;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(queued(&goes_on.await), 1);
}

#[tokio::test]
async fn the_dead_are_swept_and_the_clock_is_shared() {
    let dir = tempfile::tempdir().unwrap();
    let one = open(&base(&dir));
    let boot = std::fs::read_dir(base(&dir)).unwrap().next().unwrap().unwrap().path();
    let past: String = boot.file_name().unwrap().to_str().unwrap().chars().rev().collect();
    let machine = boot.file_name().unwrap().to_str().unwrap().split('-').next().unwrap();
    let zeros = "-00000000-0000-0000-0000-000000000000";
    std::fs::create_dir_all(base(&dir).join(format!("{machine}{zeros}/s"))).unwrap();
    std::fs::create_dir_all(base(&dir).join(&past)).unwrap();
    let dead = boot.join("p").join("0".repeat(32));
    let made = std::process::Command::new("mkfifo").arg(&dead).status().unwrap();
    assert!(made.success());
    let other = open(&base(&dir));
    soon(async {
        while dead.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(!base(&dir).join(format!("{machine}{zeros}")).exists());
    assert!(base(&dir).join(&past).exists(), "what is no boot of this machine stays");
    assert_eq!(std::fs::read_dir(boot.join("p")).unwrap().count(), 2, "the living stay");
    let read = |info: soloist::protocol::KeyInfo| info.now;
    let first = read(one.inspect(&key("a")).await.unwrap());
    let second = read(other.inspect(&key("a")).await.unwrap());
    let third = read(one.inspect(&key("a")).await.unwrap());
    assert!(first <= second && second <= third);
}

#[tokio::test]
async fn a_test_can_drive_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let clock = StoreClock::manual(1_000);
    let options = LocalOptions { path: Some(base(&dir)), clock: Some(clock.clone()) };
    let store = LocalStore::open_with(options).unwrap();
    let request = soloist::protocol::Request { ttl: soloist::protocol::Ttl::Micros(50_000), ..lock("a") };
    hold(&store, &request).await;
    clock.advance(std::time::Duration::from_millis(51));
    assert_eq!(store.inspect(&key("a")).await.unwrap().holding, None);
}
