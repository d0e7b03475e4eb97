//! The local store on a disk that is full, a file size that is bounded, with files that are deleted or damaged.

use std::path::{Path, PathBuf};
use std::process::Command;

use soloist::testing::{SecondProcess, role, says};
use soloist::{Client, Error};

use crate::client;
use crate::fleet::soon;

/// A small file system of its own, for as long as the test runs.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this process may not make one.
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mut mounted = Command::new("mount");
        mounted.args(["-t", "tmpfs", "-o", &options, "soloist-test"]).arg(dir.path());
        mounted.status().is_ok_and(|status| status.success()).then(|| SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn url(path: &Path) -> String {
    format!("local:{}", path.join("store").display())
}

fn says_what_and_where(error: &Error, path: &Path) {
    let Error::Folder { path: at, hint, .. } = error else { panic!("{error:?}") };
    assert!(at.starts_with(path), "{error}");
    assert!(!hint.is_empty());
}

/// On a full disk nothing new is granted, and what is held is renewed and released.
async fn on_a_full_disk(path: &Path) {
    let client = client(&url(path), "a").await;
    let lease = client.lock("held").ttl(std::time::Duration::from_millis(1500)).await.unwrap();
    let fill = path.join("fill");
    let mut file = std::fs::File::create(&fill).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    let mut failed = 0;
    let large = "x".repeat(100_000);
    for at in 0..40 {
        // Files that are not there yet, and results that need room.
        if let Err(error) = client.try_lock(format!("new {at}")).await {
            says_what_and_where(&error, path);
            failed += 1;
        }
    }
    assert!(failed > 0, "the disk is full");
    let work = client.once("large").run(|| async { Ok::<_, Error>(large.clone()) }).await;
    if let Err(error) = &work {
        says_what_and_where(error, path);
    }
    let deadline = lease.deadline().unwrap();
    soon(async {
        while !lease.is_lost() && lease.deadline().unwrap() == deadline {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!lease.is_lost(), "it is renewed");
    lease.release().await.unwrap();
    drop(file);
    std::fs::remove_file(fill).unwrap();
    let again = client.lock("new 1").await.unwrap();
    again.release().await.unwrap();
    assert_eq!(client.once("large").run(|| async { Ok::<_, Error>(large.clone()) }).await.unwrap(), large);
}

#[tokio::test]
async fn a_full_disk_refuses_new_work_and_lets_held_leases_be_renewed_and_released() {
    if let Some(disk) = SmallDisk::new("512k") {
        return on_a_full_disk(disk.0.path()).await;
    }
    // Whoever is not root may be, in a name space of his own; there is no third way, and no skipping.
    assert!(role().is_none(), "no small disk could be mounted, not even by `unshare --user --mount`");
    let me = std::env::current_exe().unwrap();
    let name = "local_store::a_full_disk_refuses_new_work_and_lets_held_leases_be_renewed_and_released";
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]).arg(me).args([name, "--exact", "--nocapture"]);
    let ended = again.env("SOLOIST_TEST_ROLE", "as root").status().expect("util-linux has unshare");
    assert!(ended.success(), "a full disk needs root, or `unshare --user --mount`: {ended}");
}

/// Not a test: a process that may write files of 16 KiB only.
#[tokio::test]
async fn bounded() {
    let Some(path) = role() else { return };
    let client = Client::connect(&url(Path::new(&path))).await.unwrap();
    let lease = match client.lock("k").await {
        Ok(lease) => lease,
        Err(error) => {
            says(&error.to_string());
            return;
        }
    };
    says("holding");
    let large = client.once("large").run(|| async { Ok::<_, Error>("x".repeat(100_000)) }).await;
    says(&large.map_or_else(|error| error.to_string(), |_| "it was written".into()));
    says(&lease.release().await.map_or_else(|error| error.to_string(), |()| "released".into()));
}

#[tokio::test]
async fn a_file_that_may_not_grow_is_an_error_and_kills_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    // The signal that comes with it is ignored, as it is by whoever bounds files.
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$@\"";
    let me = std::env::current_exe().unwrap();
    shell.args(["-c", script, "sh"]).arg(me).args(["local_store::bounded", "--exact", "--nocapture"]);
    shell.env("SOLOIST_TEST_ROLE", folder.path());
    let mut process = SecondProcess::start(shell);
    let said = soon(process.says()).await.expect("it says what is wrong");
    assert!(said == "holding" || said.contains(folder.path().to_str().unwrap()), "{said}");
    while soon(process.says()).await.is_some() {}
    // Nothing is left of it.
    let client = client(&url(folder.path()), "b").await;
    let lease = soon(async { client.lock("k").await }).await.unwrap();
    lease.release().await.unwrap();
}

fn shards(path: &Path) -> Vec<PathBuf> {
    let boot = std::fs::read_dir(path.join("store")).unwrap().next().unwrap().unwrap().path();
    std::fs::read_dir(boot.join("s")).unwrap().map(|file| file.unwrap().path()).collect()
}

#[tokio::test]
async fn a_file_deleted_under_its_holder_ends_its_lease_and_tokens_still_grow() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (client(&url(folder.path()), "a").await, client(&url(folder.path()), "b").await);
    let lease = one.lock("k").ttl(std::time::Duration::from_millis(1500)).await.unwrap();
    for shard in shards(folder.path()) {
        std::fs::remove_file(shard).unwrap();
    }
    let next = soon(async { two.lock("k").await }).await.unwrap();
    assert!(next.token() > lease.token(), "the later one can be told by its token");
    // The old holder finds out at its next renewal.
    soon(lease.lost()).await;
    assert_eq!(one.inspect("k").await.unwrap().holding.unwrap().token, next.token());
}

#[tokio::test]
async fn a_file_of_another_format_is_refused_and_left_as_it_is() {
    use std::os::unix::fs::FileExt;
    const HEADS: [u64; 2] = [4032, 4096];
    // Another version writes into one of the two slots first.
    for slots in [&[0_usize][..], &[1], &[0, 1]] {
        let folder = tempfile::tempdir().unwrap();
        let one = client(&url(folder.path()), "a").await;
        one.lock("k").await.unwrap().release().await.unwrap();
        let shard = shards(folder.path()).remove(0);
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&shard).unwrap();
        for slot in slots {
            // The format's number stands behind the seven letters.
            file.write_all_at(&[9], HEADS[*slot] + 7).unwrap();
        }
        let read = || {
            let mut heads = [[0; 64]; 2];
            file.read_exact_at(&mut heads[0], HEADS[0]).unwrap();
            file.read_exact_at(&mut heads[1], HEADS[1]).unwrap();
            heads
        };
        let before = read();
        // Neither a process that begins goes on, nor one that had the file open: the grant was written to slot 1,
        // the release to slot 0, so the other version's first write goes to slot 1.
        let open_before = slots.contains(&1).then_some(one);
        for client in [client(&url(folder.path()), "b").await].into_iter().chain(open_before) {
            let error = client.try_lock("k").await.map(drop).unwrap_err();
            says_what_and_where(&error, folder.path());
            assert!(error.to_string().contains("format 9"), "{error}");
        }
        assert_eq!(read(), before);
    }
}
