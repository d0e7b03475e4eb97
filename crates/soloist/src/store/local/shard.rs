//! One shard file: a table of keys in two slots, one of which is always whole, and the changes behind it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::fs::StatxFlags;
use rustix::fs::{Access, AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::content::{Content, Found, LEAST_ROOM, SLOT_OFFSET, base_of};
use super::delta::Delta;
use super::folder::{Folder, failed};
use super::points;
use super::record::{self, RECORD};
use super::slot::{self, HEADER, Head};
use crate::error::{Error, Result};
use crate::name::Key;
use crate::protocol::Table;

/// How many shard files there are. Part of the file format.
pub(super) const SHARDS: u16 = 256;
/// A buffer that has grown beyond this is not kept.
const LARGE: usize = 64 << 10;

/// Without noting when it was read: that would cost more than the reading. (The file is ours: allowed.)
#[cfg(any(target_os = "linux", target_os = "android"))]
const OPEN: OFlags = OFlags::RDWR.union(OFlags::NOATIME);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const OPEN: OFlags = OFlags::RDWR;

/// The shard of a key: FNV-1a, 64 bits, folded. Part of the file format: all versions must agree.
pub(super) fn shard_of(key: &Key) -> u16 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = key.as_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    ((hash ^ (hash >> 32)) % u64::from(SHARDS)) as u16
}

/// A shard file. The owner of the value is the only one of this process who uses it.
#[derive(Debug)]
pub(super) struct Shard {
    name: String,
    path: PathBuf,
    file: Option<File>,
    content: Option<Box<Content>>,
    /// A buffer to encode into.
    buffer: Vec<u8>,
}

impl Shard {
    pub(super) fn new(number: u16, folder: &Folder) -> Self {
        let name = format!("{number:03x}");
        let path = folder.shards.path.join(&name);
        Shard { name, path, file: None, content: None, buffer: Vec::new() }
    }

    /// Whether nobody has used the keys of this shard yet.
    pub(super) fn is_missing(&self, folder: &Folder) -> bool {
        let exists = || rustix::fs::accessat(&folder.shards.fd, &self.name, Access::EXISTS, AtFlags::empty());
        self.file.is_none() && exists() == Err(Errno::NOENT)
    }

    fn file(&mut self, folder: &Folder) -> Result<&File> {
        if self.file.is_none() {
            self.content = None;
            let file = match folder.shards.file(&self.name, OPEN) {
                Err(Errno::NOENT) => {
                    self.create(folder)?;
                    folder.shards.file(&self.name, OPEN)
                }
                other => other,
            };
            self.file = Some(file.map_err(|error| failed(&self.path, "opened", error))?.into());
        }
        self.file.as_ref().ok_or(Error::Closed)
    }

    /// Makes the file, whole before it has its name: a shard file always has a valid slot. The second one
    /// looks as if it had been left already, so that nobody ever begins anew there.
    fn create(&self, folder: &Folder) -> Result<()> {
        let fail = |error| failed(&self.path, "made", error);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        snapshot(&Table::default(), &mut first).map_err(fail)?;
        second.clone_from(&first);
        slot::seal(&mut first, 1, 0, LEAST_ROOM);
        let head = slot::seal(&mut second, 0, 0, LEAST_ROOM);
        let behind = Content::new(Table::default(), 1, &head).end;
        second.resize(behind.at as usize, 0);
        second.extend(record::left(&behind));
        let (aside, file) = folder.shards.new_file()?;
        for (bytes, at) in [(&mut first, 0), (&mut second, SLOT_OFFSET)] {
            bytes.resize(LEAST_ROOM as usize, 0);
            if let Err(error) = file.write_all_at(bytes, at) {
                folder.shards.remove(&aside);
                return Err(fail(error));
            }
        }
        folder.shards.settle(&aside, &self.name)
    }

    /// Takes the file's lock if it is free; with `wait` for as long as it takes.
    pub(super) fn lock(&mut self, folder: &Folder, wait: bool) -> Result<bool> {
        let how = match wait {
            true => FlockOperation::LockExclusive,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            let file = self.file(folder)?;
            points::here("shard opened");
            match rustix::fs::flock(file, how) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(error) => return Err(failed(&self.path, "locked", error)),
            }
            // A file that was removed meanwhile is not the one that others lock.
            points::here("shard locked");
            if has_name(file).map_err(|error| failed(&self.path, "examined", error))? {
                return Ok(true);
            }
            self.file = None;
        }
    }

    /// Gives the lock back.
    pub(super) fn unlock(&mut self) {
        if let Some(file) = &self.file
            && rustix::fs::flock(file, FlockOperation::Unlock).is_err()
        {
            // Closing it unlocks as well.
            self.file = None;
        }
        points::here("unlocked");
    }

    /// Takes the newest content out; [`Shard::commit`] or [`Shard::keep`] puts it back. If neither happens it
    /// is read anew. To be called with the lock held.
    pub(super) fn load(&mut self) -> Result<Box<Content>> {
        let file = self.file.as_ref().ok_or(Error::Closed)?;
        // Invariant: what this process knows counts only as far as the file says so.
        if let Some(mut content) = self.content.take()
            && content.is_new(file).is_ok_and(|new| new)
        {
            return Ok(content);
        }
        match Content::read(file).map_err(|error| failed(&self.path, "read", error))? {
            Found::Content(content) => {
                if content.cut {
                    let file = self.path.display();
                    tracing::warn!(%file, "a write was cut off; the one before it stands");
                }
                Ok(content)
            }
            Found::OtherFormat(format) => Err(Error::Folder {
                path: self.path.clone(),
                why: format!("was written by another version of Soloist (format {format})"),
                hint: "use one version on this machine, or give each a folder of its own with local:/path",
            }),
            Found::Damaged => Err(Error::Folder {
                path: self.path.clone(),
                why: "is damaged: neither of its two copies is whole".into(),
                hint: "stop all programs that use this store, then remove this file: \
                       the locks and results of its keys are forgotten",
            }),
        }
    }

    /// Puts unchanged content back.
    pub(super) fn keep(&mut self, content: Box<Content>) {
        self.content = Some(content);
    }

    /// Writes what has changed, behind the rest or, when that has grown long, as a whole into the other slot. One
    /// write is the commit: cut off before its end, it never was.
    pub(super) fn commit(&mut self, mut content: Box<Content>, delta: &Delta) -> Result<()> {
        let file = self.file.as_ref().ok_or(Error::Closed)?;
        let io = |error| failed(&self.path, "written", error);
        content.events = delta.events;
        self.buffer.clear();
        self.buffer.resize(RECORD, 0);
        encode(delta, &mut self.buffer).map_err(io)?;
        let end = record::seal(&mut self.buffer, &content.end);
        if !content.cut && end.at + RECORD as u64 <= content.limit() {
            let at = content.place();
            points::here("commit");
            points::torn("torn", self.buffer.len(), |some| drop(file.write_all_at(&self.buffer[..some], at)));
            file.write_all_at(&self.buffer, at).map_err(io)?;
            points::here("committed");
            content.end = end;
        } else {
            self.buffer.clear();
            snapshot(&content.table, &mut self.buffer).map_err(io)?;
            let head = write_whole(file, &content, &mut self.buffer).map_err(io)?;
            *content = Content::new(std::mem::take(&mut content.table), 1 - content.slot, &head);
        }
        if self.buffer.capacity() > LARGE {
            self.buffer = Vec::new();
        }
        self.content = Some(content);
        Ok(())
    }
}

/// Whether a file still has a name. Only that is asked for: a kernel of which the time of a write was asked
/// notes the next one exactly, and that costs each commit more than all else.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn has_name(file: &File) -> io::Result<bool> {
    match rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK) {
        Ok(stat) => Ok(stat.stx_nlink > 0),
        // Old sandboxes do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => Ok(rustix::fs::fstat(file)?.st_nlink > 0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn has_name(file: &File) -> io::Result<bool> {
    Ok(rustix::fs::fstat(file)?.st_nlink > 0)
}

/// Encodes a table, with room for a head.
fn snapshot(table: &Table, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.resize(HEADER, 0);
    encode(table, bytes)
}

fn encode(what: &impl serde::Serialize, bytes: &mut Vec<u8>) -> io::Result<()> {
    postcard::to_io(what, bytes).map(drop).map_err(io::Error::other)
}

/// Writes an encoded table into the slot that is not the newest, with what `content` counts.
fn write_whole(file: &File, content: &Content, bytes: &mut [u8]) -> io::Result<Head> {
    let need = base_of((bytes.len() - HEADER) as u64) + RECORD as u64;
    let wish = need.saturating_mul(2).next_power_of_two().clamp(LEAST_ROOM, SLOT_OFFSET);
    let mut room = content.room;
    if need > SLOT_OFFSET {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if wish > room {
        // Both slots get their room before either needs it: what grew can then always shrink again, also on a
        // disk that is full by then.
        match make_room(file, wish) {
            Ok(()) => room = wish,
            Err(error) if need > room => return Err(error),
            Err(_) => {}
        }
    }
    let head = slot::seal(bytes, content.end.seq + 1, content.events, room);
    let at = (1 - content.slot) * SLOT_OFFSET;
    points::here("snapshot");
    points::torn("snapshot torn", bytes.len(), |some| drop(file.write_all_at(&bytes[..some], at)));
    file.write_all_at(bytes, at)?;
    points::here("snapshot made");
    // Where the slot that was left says so, damage to the new one is never taken for a write that was cut off.
    // Without it all goes on, too.
    let _ = file.write_all_at(&record::left(&content.end), content.place());
    Ok(head)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn make_room(file: &File, room: u64) -> io::Result<()> {
    for slot in 0..2 {
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), slot * SLOT_OFFSET, room) {
            // A file system that cannot promise room: then the write itself finds out.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn make_room(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_key_never_changes() {
        // Another version of this program must find the same locks.
        let shards = ["a", "report:42", "ü"].map(|text| shard_of(&Key::new(text).unwrap()));
        assert_eq!(shards, [0xc0, 0xc2, 0xed]);
    }
}
