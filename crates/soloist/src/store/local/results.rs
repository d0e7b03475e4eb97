//! Large results: written aside, renamed, then referenced from the table. A file is written once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::folder::{Folder, failed};
use super::points;
use crate::error::{Error, Result};
use crate::name::Ticket;
use crate::protocol::Body;

/// Results up to this size stand in the table itself.
const INLINE: usize = 4096;
/// A file that nobody refers to may belong to a publication that is under way; not for as long as this.
pub(super) const ORPHAN_AGE: Duration = Duration::from_secs(600);

/// Puts the bytes aside if they are many.
pub(super) async fn put_aside(folder: &Arc<Folder>, body: &Body) -> Result<Body> {
    match body {
        Body::Inline(bytes) if bytes.len() > INLINE => {
            let (folder, bytes) = (Arc::clone(folder), bytes.clone());
            blocking(move || write(&folder, &bytes)).await
        }
        small => Ok(small.clone()),
    }
}

/// The bytes themselves; `None` if the file is gone, since the result was forgotten meanwhile.
pub(super) async fn fetch(folder: &Arc<Folder>, body: Body) -> Result<Option<Body>> {
    match body {
        Body::Inline(_) => Ok(Some(body)),
        Body::Aside { id, size } => {
            let folder = Arc::clone(folder);
            blocking(move || read(&folder, id, size)).await
        }
    }
}

/// Removes the file of a result that nobody refers to any more.
pub(super) fn remove(folder: &Folder, id: Ticket) {
    folder.results.remove(&id.to_string());
    points::here("result removed");
}

/// Files that may be orphans by their age. Whether they are is for the tables to say.
pub(super) fn old_files(folder: &Folder) -> Vec<Ticket> {
    let ids = folder.results.names().into_iter().filter_map(|name| name.parse::<Ticket>().ok());
    ids.filter(|id| is_older(folder.results.path.join(id.to_string()).as_path(), ORPHAN_AGE)).collect()
}

/// Whether a file has not been touched for so long.
pub(super) fn is_older(path: &std::path::Path, age: Duration) -> bool {
    let modified = std::fs::symlink_metadata(path).and_then(|data| data.modified());
    modified.ok().and_then(|at| at.elapsed().ok()).is_some_and(|elapsed| elapsed >= age)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    // The task neither panics nor is it aborted, so an error means that the runtime is ending.
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Closed)?
}

fn write(folder: &Folder, bytes: &Bytes) -> Result<Body> {
    let id = Ticket::mint();
    let (aside, mut file) = folder.results.new_file()?;
    if let Err(error) = file.write_all(bytes) {
        folder.results.remove(&aside);
        return Err(failed(&folder.results.path, "written", error));
    }
    points::here("result written");
    folder.results.settle(&aside, &id.to_string())?;
    points::here("result named");
    Ok(Body::Aside { id, size: bytes.len() as u64 })
}

fn read(folder: &Folder, id: Ticket, size: u64) -> Result<Option<Body>> {
    let path = folder.results.path.join(id.to_string());
    let file = match folder.results.file(&id.to_string(), OFlags::RDONLY) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(&path, "opened", error)),
    };
    let mut bytes = Vec::new();
    // One more than there should be, so that a file that has grown is noticed without being read.
    let read = file.take(size.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error: io::Error| failed(&path, "read", error))?;
    if bytes.len() as u64 != size {
        return Err(damaged(folder, id, "does not have the size with which it was published"));
    }
    Ok(Some(Body::Inline(bytes.into())))
}

/// The error of a result whose file is not as it was published.
pub(super) fn damaged(folder: &Folder, id: Ticket, why: &str) -> Error {
    Error::Folder {
        path: folder.results.path.join(id.to_string()),
        why: why.into(),
        hint: "forget the key to have its result computed again",
    }
}
