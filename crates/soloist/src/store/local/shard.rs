//! One shard file: a table of keys in two slots, one of which is always whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{Access, AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::folder::{Folder, failed};
use super::points;
use super::slot::{self, HEADER, Head, Read};
use crate::error::{Error, Result};
use crate::name::Key;
use crate::protocol::Table;

/// How many shard files there are. Part of the file format.
pub(super) const SHARDS: u16 = 256;
/// Where the second slot begins; the file is sparse between.
const SLOT_OFFSET: u64 = 1 << 30;
/// What each slot has on disk from the beginning, so that small tables never need more of a full disk.
const LEAST_ROOM: u64 = 4096;

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

/// What the newest slot said, decoded.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) table: Table,
    /// How many events this shard has told.
    pub(super) events: u64,
    seq: u64,
    slot: u64,
    /// The whole slot as it was read or written, to see whether a step changed anything.
    bytes: Vec<u8>,
    /// A buffer to encode into.
    spare: Vec<u8>,
}

/// A shard file. The owner of the value is the only one of this process who uses it.
#[derive(Debug)]
pub(super) struct Shard {
    name: String,
    path: PathBuf,
    file: Option<File>,
    content: Option<Content>,
    /// How much each slot is known to have on disk.
    room: u64,
}

impl Shard {
    pub(super) fn new(number: u16, folder: &Folder) -> Self {
        let name = format!("{number:03x}");
        let path = folder.shards.path.join(&name);
        Shard { name, path, file: None, content: None, room: LEAST_ROOM }
    }

    /// Whether nobody has used the keys of this shard yet.
    pub(super) fn is_missing(&self, folder: &Folder) -> bool {
        let exists = || rustix::fs::accessat(&folder.shards.fd, &self.name, Access::EXISTS, AtFlags::empty());
        self.file.is_none() && exists() == Err(Errno::NOENT)
    }

    fn file(&mut self, folder: &Folder) -> Result<&File> {
        if self.file.is_none() {
            self.content = None;
            self.room = LEAST_ROOM;
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

    /// Makes the file, whole before it has its name: a shard file always has a valid slot.
    fn create(&self, folder: &Folder) -> Result<()> {
        let mut bytes = vec![0; HEADER];
        encode(&Table::default(), &mut bytes).map_err(|error| failed(&self.path, "written", error))?;
        slot::seal(&mut bytes, 1, 0);
        bytes.resize(LEAST_ROOM as usize, 0);
        let (aside, file) = folder.shards.new_file()?;
        let written = file.write_all_at(&vec![0; LEAST_ROOM as usize], SLOT_OFFSET);
        if let Err(error) = written.and_then(|()| file.write_all_at(&bytes, 0)) {
            folder.shards.remove(&aside);
            return Err(failed(&self.path, "made", error));
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
            let stat = rustix::fs::fstat(file).map_err(|error| failed(&self.path, "examined", error))?;
            if stat.st_nlink > 0 {
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
    pub(super) fn load(&mut self) -> Result<Content> {
        let file = self.file.as_ref().ok_or(Error::Closed)?;
        // Every write goes to the slot that is not the newest, so that one tells whether anybody wrote since.
        if let Some(content) = self.content.take()
            && read_head(file, 1 - content.slot).is_ok_and(|head| match head {
                Read::Head(head) => head.seq < content.seq,
                Read::OtherFormat(_) => false,
                Read::Nothing => true,
            })
        {
            return Ok(content);
        }
        let io = |error| failed(&self.path, "read", error);
        let heads = [read_head(file, 0).map_err(io)?, read_head(file, 1).map_err(io)?];
        if let Some(format) = heads.iter().find_map(|head| match head {
            Read::OtherFormat(format) => Some(format),
            _ => None,
        }) {
            return Err(Error::Folder {
                path: self.path.clone(),
                why: format!("was written by another version of Soloist (format {format})"),
                hint: "use one version on this machine, or give each a folder of its own with local:/path",
            });
        }
        let mut heads: Vec<(u64, Head)> = (0..)
            .zip(heads)
            .filter_map(|(slot, read)| match read {
                Read::Head(head) => Some((slot, head)),
                _ => None,
            })
            .collect();
        heads.sort_by_key(|(_, head)| std::cmp::Reverse(head.seq));
        for (slot, head) in heads {
            if let Some(content) = read_slot(file, slot, head).map_err(io)? {
                return Ok(content);
            }
            tracing::warn!(file = %self.path.display(), slot, "a write was cut off; the one before it stands");
        }
        Err(Error::Folder {
            path: self.path.clone(),
            why: "is damaged: neither of its two copies is whole".into(),
            hint: "stop all programs that use this store, then remove this file: \
                   the locks and results of its keys are forgotten",
        })
    }

    /// Puts unchanged content back.
    pub(super) fn keep(&mut self, content: Content) {
        self.content = Some(content);
    }

    /// Writes what has changed. This one write is the commit: cut off before its end, it never was.
    pub(super) fn commit(&mut self, mut content: Content, draft: Draft) -> Result<()> {
        let file = self.file.as_ref().ok_or(Error::Closed)?;
        let Draft { mut bytes, events } = draft;
        let (seq, slot) = (content.seq + 1, 1 - content.slot);
        slot::seal(&mut bytes, seq, events);
        let len = bytes.len() as u64;
        if len > SLOT_OFFSET {
            let error = io::Error::from(io::ErrorKind::FileTooLarge);
            return Err(failed(&self.path, "written", error));
        }
        if len > self.room {
            // Both slots get their room before either needs it: what grew can then always shrink again,
            // also on a disk that is full by then.
            let room = len.next_power_of_two().min(SLOT_OFFSET);
            make_room(file, room).map_err(|error| failed(&self.path, "grown", error))?;
            self.room = room;
        }
        points::here("commit");
        points::torn(bytes.len(), |some| drop(file.write_all_at(&bytes[..some], slot * SLOT_OFFSET)));
        file.write_all_at(&bytes, slot * SLOT_OFFSET)
            .map_err(|error| failed(&self.path, "written", error))?;
        points::here("committed");
        let spare = std::mem::replace(&mut content.bytes, bytes);
        self.content = Some(Content { seq, slot, events, spare, ..content });
        Ok(())
    }

    /// Encodes the table, as [`Shard::commit`] will write it.
    pub(super) fn draft(&self, content: &mut Content, events: u64) -> Result<Draft> {
        let mut bytes = std::mem::take(&mut content.spare);
        bytes.clear();
        bytes.resize(HEADER, 0);
        encode(&content.table, &mut bytes).map_err(|error| failed(&self.path, "written", error))?;
        Ok(Draft { bytes, events })
    }
}

/// An encoded table that is not written yet.
#[derive(Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    events: u64,
}

impl Content {
    /// Whether a draft says the same as the file.
    pub(super) fn is(&self, draft: &Draft) -> bool {
        self.events == draft.events && self.bytes[HEADER..] == draft.bytes[HEADER..]
    }

    /// Puts the buffer of an unused draft back.
    pub(super) fn reuse(&mut self, draft: Draft) {
        self.spare = draft.bytes;
    }
}

fn encode(table: &Table, bytes: &mut Vec<u8>) -> io::Result<()> {
    postcard::to_io(table, bytes).map(drop).map_err(io::Error::other)
}

fn read_head(file: &File, slot: u64) -> io::Result<Read> {
    let mut head = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match file.read_at(&mut head[filled..], slot * SLOT_OFFSET + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Head::read(&head[..filled]))
}

/// A slot's content; `None` if it is not whole.
fn read_slot(file: &File, slot: u64, head: Head) -> io::Result<Option<Content>> {
    let end = (slot * SLOT_OFFSET).saturating_add(HEADER as u64).saturating_add(head.len);
    if head.len > SLOT_OFFSET || end > file.metadata()?.len() {
        return Ok(None);
    }
    let mut bytes = vec![0; HEADER + head.len as usize];
    file.read_exact_at(&mut bytes, slot * SLOT_OFFSET)?;
    if !head.fits(&bytes) {
        return Ok(None);
    }
    let table: Table = match postcard::from_bytes(&bytes[HEADER..]) {
        Ok(table) => table,
        Err(_) => return Ok(None),
    };
    Ok(Some(Content { table, events: head.events, seq: head.seq, slot, bytes, spare: Vec::new() }))
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
