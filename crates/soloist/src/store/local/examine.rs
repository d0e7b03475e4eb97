//! What a local store is like: its folder, its disk, its files.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use super::boot::BootName;
use super::folder::{Dir, Folder};
use super::shard::SHARDS;
use super::transaction::{Core, Touches};
use crate::error::{Error, Result};
use crate::finding::{Finding, Level};
use crate::protocol::{KeyInfo, Step, Table};

/// With less free space than this a store will soon refuse new work.
const LITTLE: u64 = 16 << 20;
/// How long a shard may be locked by somebody else: a transaction takes microseconds.
const BUSY: Duration = Duration::from_secs(2);

pub(super) async fn examine(core: &Arc<Core>) -> Result<Vec<Finding>> {
    let folder: &Folder = &core.folder;
    let mut findings = Vec::new();
    let boot = BootName::current().map(|name| name.folder()).unwrap_or_default();
    let (path, kind) = (folder.root.path.display(), file_system(&folder.root));
    let what = format!("it is {path}, on {kind}; machine and boot {boot}");
    let why = "locks and results are forgotten at a reboot, all at once";
    findings.push(Finding::new(Level::Note, "folder", what, why));
    if let Ok(stat) = rustix::fs::fstatvfs(&folder.root.fd) {
        findings.extend(space(stat.f_bavail.saturating_mul(stat.f_frsize)));
    }
    findings.extend(strangers(folder));
    findings.extend(shards(core).await?);
    Ok(findings)
}

fn space(free: u64) -> Option<Finding> {
    let what = format!("{:.1} MiB are free on its disk", free as f64 / f64::from(1 << 20));
    let why = "a full disk refuses new locks; releases still work";
    let level = match free {
        0 => Level::Error,
        1..LITTLE => Level::Warning,
        _ => return None,
    };
    Some(
        Finding::new(level, "space", what, why)
            .fix("free some space, or choose another disk with local:/path"),
    )
}

/// A file that others can open, or that is another user's: the folder keeps them out, until somebody opens it.
fn strangers(folder: &Folder) -> Option<Finding> {
    let us = rustix::process::geteuid().as_raw();
    let dirs = [&folder.root, &folder.shards, &folder.sessions, &folder.events, &folder.results];
    let files = dirs.into_iter().flat_map(|dir| dir.names().into_iter().map(|name| dir.path.join(name)));
    let strange = |path: &std::path::PathBuf| {
        // What is gone meanwhile was in order.
        std::fs::symlink_metadata(path).is_ok_and(|data| data.uid() != us || data.mode() & 0o077 != 0)
    };
    let strange: Vec<_> = files.filter(strange).collect();
    let path = strange.first()?.display();
    let what = format!("{} of its files are open to others, or another user's, as {path}", strange.len());
    let why = "whoever can open them can hold the locks";
    let fix = format!("chown -R {us} {root} && chmod -R go= {root}", root = folder.root.path.display());
    Some(Finding::new(Level::Warning, "files", what, why).fix(fix))
}

/// What stands in the shards, and which of them cannot be read.
async fn shards(core: &Arc<Core>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let (mut files, mut held, mut waiting, mut results) = (0, 0, 0, 0);
    for shard in (0..SHARDS).filter(|shard| !core.is_missing(*shard)) {
        files += 1;
        let look = |table: &mut Table, step: &mut Step<'_>| table.list("", step);
        match tokio::time::timeout(BUSY, core.transact(shard, Touches::Nothing, look)).await {
            Ok(Ok((keys, _))) => {
                held += keys.iter().filter(|key| key.holding.is_some()).count();
                waiting += keys.iter().map(|key: &KeyInfo| key.waiting).sum::<u64>();
                results += keys.iter().filter(|key| key.result.is_some()).count();
            }
            Ok(Err(Error::Closed)) => return Err(Error::Closed),
            Ok(Err(error)) => {
                let why = "its keys cannot be locked or released: 1 of 256 of all keys";
                let found = Finding::new(Level::Error, "damaged", error.to_string(), why);
                findings.push(found.fix(error.hint().unwrap_or_default()));
            }
            Err(_) => {
                let what = format!("shard {shard:03x} has been locked by another process for {BUSY:?}");
                let why = "its keys, 1 of 256 of all, wait for it; it was stopped in the middle of a step";
                let fix = "find a stopped process (state T in ps) and continue (kill -CONT) or end it";
                findings.push(Finding::new(Level::Warning, "busy", what, why).fix(fix));
            }
        }
    }
    let sessions = core.folder.sessions.names().iter().filter(|name| !name.starts_with('.')).count();
    let what = format!(
        "{held} keys are held, {waiting} requests wait, {results} results are kept, in {files} of {SHARDS} shards; \
         {sessions} sessions are open, this one too"
    );
    findings.push(Finding::new(Level::Note, "use", what, "good to know"));
    Ok(findings)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn file_system(dir: &Dir) -> String {
    const KNOWN: [(u32, &str); 8] = [
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x794c_7630, "overlayfs"),
        (0x2fc1_2fc1, "zfs"),
        (0xf2f5_2010, "f2fs"),
        (0xca45_1a4e, "bcachefs"),
    ];
    // The type's width and sign differ between architectures; the magic numbers have 32 bits.
    let magic = rustix::fs::fstatfs(&dir.fd).map_or(0, |stat| stat.f_type as u32);
    let known = KNOWN.iter().find(|(known, _)| *known == magic).map(|(_, name)| (*name).to_owned());
    known.unwrap_or_else(|| format!("a file system of type {magic:#x}"))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn file_system(_: &Dir) -> String {
    "a file system of this machine".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told() {
        let level = |free| space(free).map(|finding| finding.level);
        assert_eq!(level(0), Some(Level::Error));
        assert_eq!((level(1), level(LITTLE - 1)), (Some(Level::Warning), Some(Level::Warning)));
        assert_eq!(level(LITTLE), None);
    }
}
