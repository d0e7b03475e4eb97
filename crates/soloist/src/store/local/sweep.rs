//! What killed processes leave behind: FIFOs without a reader, files without a name, results without a table.

use std::collections::HashSet;
use std::sync::Arc;

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

/// Removes what is certainly dead; looks through the tables in a task of its own if there are files that may
/// be orphans.
pub(super) fn begin(core: &Arc<Core>, runtime: &Handle) -> Option<JoinHandle<()>> {
    let folder: &Folder = &core.folder;
    for dir in [&folder.sessions, &folder.events] {
        for name in dir.names() {
            // Invariant: what has its name has had its reader, so without one it is dead for good.
            if !name.starts_with('.') && matches!(fifo::open(dir, &name), Ok(None)) {
                dir.remove(&name);
            }
        }
    }
    for dir in [&folder.root, &folder.shards, &folder.sessions, &folder.events, &folder.results] {
        remove_unfinished(dir);
    }
    let old = results::old_files(folder);
    if old.is_empty() {
        return None;
    }
    let core = Arc::clone(core);
    Some(runtime.spawn(async move {
        if let Err(error) = remove_orphans(&core, old).await {
            tracing::warn!(%error, "old results were not swept");
        }
    }))
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
