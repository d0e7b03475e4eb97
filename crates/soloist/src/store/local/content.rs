//! What a shard file says, decoded: the table of the newest slot, and the changes behind it carried out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::delta::Delta;
use super::record::{Begun, Change, End, RECORD};
use super::slot::{HEADER, Head, Read};
use crate::protocol::Table;

/// Where the second slot begins; the file is sparse between.
pub(super) const SLOT_OFFSET: u64 = 1 << 30;
/// What each slot has on disk from the beginning, so that small tables never need more of a full disk.
pub(super) const LEAST_ROOM: u64 = 4096;

/// The state of a shard after its last step.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) table: Table,
    /// How many events this shard has told.
    pub(super) events: u64,
    pub(super) slot: u64,
    pub(super) end: End,
    /// What each slot has on disk.
    pub(super) room: u64,
    /// Where the records of the slot begin.
    pub(super) base: u64,
    /// The other slot was cut off: it is written anew by the next step.
    pub(super) cut: bool,
}

/// What was found in a file.
#[derive(Debug)]
pub(super) enum Found {
    Content(Box<Content>),
    OtherFormat(u8),
    Damaged,
}

/// Where the records behind a table begin.
pub(super) fn base_of(len: u64) -> u64 {
    (HEADER as u64 + len).next_multiple_of(8)
}

impl Content {
    /// What the head of a slot whose table is this says.
    pub(super) fn new(table: Table, slot: u64, head: &Head) -> Self {
        let base = base_of(head.len);
        let end = End { at: base, seq: head.seq, sum: head.sum };
        Content { table, events: head.events, slot, end, room: head.room, base, cut: false }
    }

    /// Reads a file whose lock is held.
    pub(super) fn read(file: &File) -> io::Result<Found> {
        let heads = [read_head(file, 0)?, read_head(file, 1)?];
        let mut whole = Vec::new();
        for (slot, read) in (0..).zip(heads) {
            match read {
                Read::OtherFormat(format) => return Ok(Found::OtherFormat(format)),
                Read::Head(head) => whole.push((slot, head)),
                Read::Nothing => {}
            }
        }
        whole.sort_by_key(|(_, head)| std::cmp::Reverse(head.seq));
        let mut cut = whole.len() < 2;
        for (slot, head) in whole {
            if let Some(mut content) = read_slot(file, slot, &head)? {
                content.cut = cut;
                // Invariant: from a slot that was left nobody goes on: steps would be forgotten.
                return Ok(match content.play(file)? {
                    Played::End => Found::Content(Box::new(content)),
                    Played::Left | Played::Odd => Found::Damaged,
                });
            }
            cut = true;
        }
        Ok(Found::Damaged)
    }

    /// Whether this is the file's state, after carrying out what others have changed since. To be asked with the
    /// lock held: everybody writes behind the end that this knows, or into the other slot.
    pub(super) fn is_new(&mut self, file: &File) -> io::Result<bool> {
        let mut head = [0; RECORD];
        let read = read_up_to(file, &mut head, self.place())?;
        if Begun::read(&head[..read], &self.end).is_some() && self.play(file)? == Played::Odd {
            return Ok(false);
        }
        Ok(match read_head(file, 1 - self.slot)? {
            Read::Head(other) => other.seq <= self.end.seq,
            // One that was cut off, of another format, or damaged.
            Read::Nothing => self.cut,
            Read::OtherFormat(_) => false,
        })
    }

    /// Where in the file the next record goes.
    pub(super) fn place(&self) -> u64 {
        self.slot * SLOT_OFFSET + self.end.at
    }

    /// Up to where records are written in this slot: so far that writing the table anew costs little beside
    /// them, and reading them little beside the table.
    pub(super) fn limit(&self) -> u64 {
        self.room.min(LEAST_ROOM.max(self.base.saturating_mul(3)))
    }

    /// Carries out the records behind the end.
    fn play(&mut self, file: &File) -> io::Result<Played> {
        let mut ahead = Ahead { from: 0, bytes: Vec::new() };
        loop {
            let most = self.room.saturating_sub(self.end.at);
            let begun = Begun::read(ahead.get(file, self.place(), RECORD)?, &self.end);
            let Some((begun, size)) = begun.and_then(|begun| Some((begun, begun.size(most)?))) else {
                return Ok(Played::End);
            };
            match begun.whole(ahead.get(file, self.place(), size)?, &self.end) {
                None => return Ok(Played::End),
                Some((Change::Left, _)) => return Ok(Played::Left),
                Some((Change::Step(bytes), end)) => {
                    let Ok((delta, _)) = postcard::take_from_bytes::<Delta>(bytes) else {
                        return Ok(Played::Odd);
                    };
                    (self.events, self.end) = (delta.events, end);
                    if delta.apply(&mut self.table).is_none() {
                        return Ok(Played::Odd);
                    }
                }
            }
        }
    }
}

/// What stands behind the last record.
#[derive(Debug, PartialEq, Eq)]
enum Played {
    End,
    Left,
    /// A record that is whole and no change of this table.
    Odd,
}

/// A part of a file, read ahead.
struct Ahead {
    from: u64,
    bytes: Vec<u8>,
}

impl Ahead {
    /// So many bytes from there; fewer where the file ends before.
    fn get(&mut self, file: &File, at: u64, len: usize) -> io::Result<&[u8]> {
        let has = |ahead: &Ahead| {
            let skip = usize::try_from(at.checked_sub(ahead.from)?).ok()?;
            (skip.checked_add(len)? <= ahead.bytes.len()).then_some(skip)
        };
        let skip = match has(self) {
            Some(skip) => skip,
            None => {
                self.bytes.resize(len.max(LEAST_ROOM as usize), 0);
                let read = read_up_to(file, &mut self.bytes, at)?;
                self.bytes.truncate(read);
                self.from = at;
                0
            }
        };
        Ok(&self.bytes[skip..self.bytes.len().min(skip + len)])
    }
}

fn read_up_to(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn read_head(file: &File, slot: u64) -> io::Result<Read> {
    let mut head = [0; HEADER];
    let filled = read_up_to(file, &mut head, slot * SLOT_OFFSET)?;
    Ok(Head::read(&head[..filled]))
}

/// A slot's table; `None` if it is not whole.
fn read_slot(file: &File, slot: u64, head: &Head) -> io::Result<Option<Content>> {
    let size = (HEADER as u64).saturating_add(head.len);
    // Invariant: nothing is allocated for a length that the file does not have.
    let there = (slot * SLOT_OFFSET).saturating_add(size) <= file.metadata()?.len();
    if head.room > SLOT_OFFSET || size > head.room || !there {
        return Ok(None);
    }
    let mut bytes = vec![0; head.len as usize];
    let read = read_up_to(file, &mut bytes, slot * SLOT_OFFSET + HEADER as u64)?;
    if read < bytes.len() || !head.fits(&bytes) {
        return Ok(None);
    }
    Ok(postcard::from_bytes(&bytes).ok().map(|table| Content::new(table, slot, head)))
}
