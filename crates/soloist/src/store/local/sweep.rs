//! What killed processes leave behind: FIFOs without a reader, files without a name, results without a table.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::folder::Dir;
use super::results::{self, ORPHAN_AGE};
use super::shard::SHARDS;
use super::transaction::{Core, Touches, aside_of};
use super::{fifo, folder::Folder};
use crate::error::Result;
use crate::name::Ticket;
use crate::protocol::{Step, Table};

/// How long after its opening a store sweeps, so that a short use does not pay for it.
const LATER: Duration = Duration::from_secs(1);
/// One of so many stores sweeps at once, for there may be none but short uses.
const AT_ONCE: u128 = 16;

/// Removes, in a task of its own, what is certainly dead; looks through the tables if there are files that may be
/// orphans.
pub(super) fn begin(core: &Arc<Core>, runtime: &Handle) -> JoinHandle<()> {
    let core = Arc::clone(core);
    runtime.spawn(async move {
        if !core.session.as_u128().is_multiple_of(AT_ONCE) {
            tokio::time::sleep(LATER).await;
        }
        let folder: &Folder = &core.folder;
        for dir in [&folder.sessions, &folder.events] {
            remove_dead(dir);
            tokio::task::yield_now().await;
        }
        for dir in [&folder.root, &folder.shards, &folder.sessions, &folder.events, &folder.results] {
            remove_unfinished(dir);
            tokio::task::yield_now().await;
        }
        let old = results::old_files(folder);
        if !old.is_empty()
            && let Err(error) = remove_orphans(&core, old).await
        {
            tracing::warn!(%error, "old results were not swept");
        }
    })
}

/// FIFOs whose reader is gone.
fn remove_dead(dir: &Dir) {
    for name in dir.names() {
        // Invariant: what has its name has had its reader, so without one it is dead for good.
        if !name.starts_with('.') && matches!(fifo::open(dir, &name), Ok(None)) {
            dir.remove(&name);
        }
    }
}

/// Files that never got their name, and are too old to get it still.
fn remove_unfinished(dir: &Dir) {
    for name in dir.names().into_iter().filter(|name| name.starts_with(".new-")) {
        if results::is_older(&dir.path.join(&name), ORPHAN_AGE) {
            dir.remove(&name);
        }
    }
}

async fn remove_orphans(core: &Arc<Core>, old: Vec<Ticket>) -> Result<()> {
    let mut referenced = HashSet::new();
    for shard in (0..SHARDS).filter(|shard| !core.is_missing(*shard)) {
        let look = |table: &mut Table, _: &mut Step<'_>| {
            let done = table.keys.values().filter_map(|state| state.done.as_ref());
            done.filter_map(|done| aside_of(&done.body)).collect::<Vec<_>>()
        };
        // A transaction also drops the results whose time has passed, and their files.
        referenced.extend(core.transact(shard, Touches::Keys(Vec::new()), look).await?.0);
    }
    for id in old.into_iter().filter(|id| !referenced.contains(id)) {
        results::remove(&core.folder, id);
    }
    Ok(())
}
