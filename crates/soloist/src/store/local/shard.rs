//! One shard file: a table of keys in two slots, one of which is always whole, and the changes behind it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::content::{Content, Found, LEAST_ROOM, records_of};
use super::delta::Delta;
use super::folder::{Folder, failed, has_name};
use super::points;
use super::record::{self, RECORD};
use super::slot::{Head, LARGEST, Place, SIGNATURE, SMALL_END, head_at};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::name::Key;
use crate::protocol::Table;

/// How many shard files there are. Part of the file format.
pub(super) const SHARDS: u16 = 256;
/// How often it is looked whether a shard file was removed, to go on in the new one.
const NAME_CHECK: Duration = Duration::from_millis(1);
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
    /// When the file was last seen to have its name.
    named: Option<Moment>,
    /// How often somebody had begun to listen for events when this process last looked who does.
    listeners: Option<u64>,
    /// A buffer to encode into.
    buffer: Vec<u8>,
}

impl Shard {
    pub(super) fn new(number: u16, folder: &Folder) -> Self {
        let name = format!("{number:03x}");
        let path = folder.shards.path.join(&name);
        Shard { name, path, file: None, content: None, named: None, listeners: None, buffer: Vec::new() }
    }

    /// Whether somebody has begun to listen for events since this was last asked. To be asked with the lock held.
    pub(super) fn has_new_listeners(&mut self, listeners: u64) -> bool {
        self.listeners.replace(listeners) != Some(listeners)
    }

    /// Whether nobody has used the keys of this shard yet.
    pub(super) fn is_missing(&self, folder: &Folder) -> bool {
        let exists = || rustix::fs::accessat(&folder.shards.fd, &self.name, Access::EXISTS, AtFlags::empty());
        self.file.is_none() && exists() == Err(Errno::NOENT)
    }

    fn file(&mut self, folder: &Folder) -> Result<&File> {
        if self.file.is_none() {
            (self.content, self.named, self.listeners) = (None, None, None);
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
        let mut table = Vec::new();
        encode(&Table::default(), &mut table).map_err(fail)?;
        let mut bytes = vec![0; SMALL_END as usize];
        bytes[..8].copy_from_slice(&SIGNATURE);
        let mut put = |at: u64, what: &[u8]| bytes[at as usize..][..what.len()].copy_from_slice(what);
        for (slot, seq) in [(0, 1), (1, 0)] {
            let head = Head::new(&table, seq, (0, 0), 0);
            put(Place::of(slot, head.len).from, &table);
            put(head_at(slot), &head.bytes());
            if slot == 1 {
                let behind = Content::new(Table::default(), slot, &head);
                put(behind.at(), &record::left(&behind.end));
            }
        }
        let (aside, file) = folder.shards.new_file()?;
        if let Err(error) = file.write_all_at(&bytes, 0) {
            folder.shards.remove(&aside);
            return Err(fail(error));
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
            let (named, file) = (self.named, self.file(folder)?);
            points::here("shard opened");
            points::system_call();
            match rustix::fs::flock(file, how) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(error) => return Err(failed(&self.path, "locked", error)),
            }
            points::here("shard locked");
            // A file that was removed is not the one that others lock. They had all been stopped before, so there is
            // time to notice it.
            let now = Moment::now();
            if named.is_some_and(|named| now.since(named) < NAME_CHECK) {
                return Ok(true);
            }
            points::system_call();
            if has_name(file).map_err(|error| failed(&self.path, "examined", error))? {
                self.named = Some(now);
                return Ok(true);
            }
            self.file = None;
        }
    }

    /// Gives the lock back.
    pub(super) fn unlock(&mut self) {
        points::system_call();
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
        let found = Content::read(file).map_err(|error| failed(&self.path, "read", error))?;
        if !matches!(found, Found::Content(_)) {
            // It may be replaced by a good one at any time.
            self.named = None;
        }
        match found {
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
    pub(super) fn commit(&mut self, mut content: Box<Content>, delta: &Delta<'_>) -> Result<()> {
        let file = self.file.as_ref().ok_or(Error::Closed)?;
        let io = |error| failed(&self.path, "written", error);
        (content.events, content.listeners) = (delta.events, delta.listeners);
        self.buffer.clear();
        self.buffer.resize(RECORD, 0);
        encode(delta, &mut self.buffer).map_err(io)?;
        let end = record::seal(&mut self.buffer, &content.end);
        if !content.cut && end.at <= content.limit() {
            points::here("commit");
            write(file, &self.buffer, content.at(), "torn").map_err(io)?;
            points::here("committed");
            content.end = end;
        } else {
            let mut table = Vec::new();
            encode(&content.table, &mut table).map_err(io)?;
            let head = write_whole(file, &content, &table).map_err(io)?;
            // Where the slot that was left says so, damage to the new one is never taken for a write that was cut off; and
            // who knows this slot goes on in the new one without reading it. Without it all goes on, too.
            match content.has_room(self.buffer.len()) {
                true => record::leave(&mut self.buffer, &content.end),
                false => self.buffer = record::left(&content.end),
            }
            let _ = write(file, &self.buffer, content.at(), "mark torn");
            content.go_on(&head);
        }
        if self.buffer.capacity() > LARGE {
            self.buffer = Vec::new();
        }
        self.content = Some(content);
        Ok(())
    }
}

/// Encodes something behind these bytes.
fn encode(what: &impl serde::Serialize, bytes: &mut Vec<u8>) -> io::Result<()> {
    postcard::serialize_with_flavor(what, Behind(bytes)).map_err(io::Error::other)
}

struct Behind<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Behind<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

fn write(file: &File, bytes: &[u8], at: u64, point: &'static str) -> io::Result<()> {
    points::torn(point, bytes.len(), |some| drop(file.write_all_at(&bytes[..some], at)));
    points::system_call();
    file.write_all_at(bytes, at)
}

/// Writes an encoded table into the slot that is not the newest, with what `content` counts.
fn write_whole(file: &File, content: &Content, table: &[u8]) -> io::Result<Head> {
    let (len, slot) = (table.len() as u64, 1 - content.slot);
    let place = Place::of(slot, len);
    let room = if place.small { content.room } else { large_room(file, content.room, len)? };
    let head = Head::new(table, content.end.seq + 1, (content.events, content.listeners), room);
    points::here("snapshot");
    write(file, table, place.from, "snapshot torn")?;
    points::here("snapshot written");
    write(file, &head.bytes(), head_at(slot), "head torn")?;
    points::here("snapshot made");
    Ok(head)
}

/// What there is for each large table once one of this length is to be written.
fn large_room(file: &File, room: u64, len: u64) -> io::Result<u64> {
    let need = records_of(len) + RECORD as u64;
    let wish = need.saturating_mul(4).next_power_of_two().clamp(LEAST_ROOM, LARGEST);
    if need > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if wish <= room {
        return Ok(room);
    }
    // Both slots get their room before either needs it: what grew can then always shrink again, also on a
    // disk that is full by then. A small table has its room from the beginning.
    match make_room(file, wish) {
        Ok(()) => Ok(wish),
        Err(error) if need > room => Err(error),
        Err(_) => Ok(room),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn make_room(file: &File, room: u64) -> io::Result<()> {
    for slot in 0..2 {
        let from = Place::of(slot, u64::MAX).from;
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), from, room) {
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
