//! What a shard file says, decoded: the table of the newest slot, and the changes behind it carried out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::delta::Delta;
use super::points;
use super::record::{Begun, Change, End, RECORD};
use super::slot::{HEADER, HEADS, Head, LARGEST, Place, Read, SMALL_END, SMALL_ROOM, head_at, other_format};
use crate::name::Key;
use crate::protocol::{Done, Micros, Table};

/// What a large table has on disk at the least.
pub(super) const LEAST_ROOM: u64 = 8192;
/// So much is kept free behind the records, for the mark of a slot that was left with the step that went into the other
/// one. Where that is longer, it says nothing of the step.
const MARK: u64 = 256;
/// So much is read ahead behind a large table.
const PIECE: u64 = 4096;
const BOTH_HEADS: std::ops::Range<u64> = HEADS..HEADS + 2 * HEADER as u64;

/// The state of a shard after its last step.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) table: Table,
    /// How many events this shard has told.
    pub(super) events: u64,
    /// How often somebody has begun to listen for them.
    pub(super) listeners: u64,
    pub(super) slot: u64,
    /// Where the next record goes, counted from the table's beginning.
    pub(super) end: End,
    /// What each slot has on disk for a large table.
    pub(super) room: u64,
    /// The number in the slot's head.
    base: u64,
    /// Where the records of the slot begin, counted from the table's beginning.
    records: u64,
    place: Place,
    /// The other slot was cut off: it is written anew by the next step.
    pub(super) cut: bool,
    /// Before this time no result has to be dropped.
    drops_from: Micros,
    /// What was read last, kept for its memory.
    window: Vec<u8>,
}

/// What was found in a file.
#[derive(Debug)]
pub(super) enum Found {
    Content(Box<Content>),
    OtherFormat(u8),
    Damaged,
}

/// Where the records behind a table begin, counted from its beginning.
pub(super) fn records_of(len: u64) -> u64 {
    len.next_multiple_of(8)
}

impl Content {
    /// What the head of a slot whose table is this says.
    pub(super) fn new(table: Table, slot: u64, head: &Head) -> Self {
        let records = records_of(head.len);
        let drops_from = table.keys.values().filter_map(|state| state.done.as_ref()).map(Done::gone_at).min();
        Content {
            table,
            events: head.events,
            listeners: head.listeners,
            slot,
            end: End { at: records, seq: head.seq, sum: head.sum },
            room: head.room,
            base: head.seq,
            records,
            place: Place::of(slot, head.len),
            cut: false,
            drops_from: drops_from.unwrap_or(Micros::MAX),
            window: Vec::new(),
        }
    }

    /// Reads a file whose lock is held.
    pub(super) fn read(file: &File) -> io::Result<Found> {
        // All of a small shard, with one read.
        let mut small = vec![0; SMALL_END as usize];
        let read = read_up_to(file, &mut small, 0)?;
        small.truncate(read);
        if let Some(format) = other_format(&small) {
            return Ok(Found::OtherFormat(format));
        }
        let heads = small.get(BOTH_HEADS.start as usize..small.len().min(BOTH_HEADS.end as usize));
        let mut whole = Vec::new();
        for (slot, head) in (0..).zip(heads.unwrap_or_default().chunks(HEADER)) {
            match Head::read(head) {
                Read::OtherFormat(format) => return Ok(Found::OtherFormat(format)),
                Read::Head(head) => whole.push((slot, head)),
                Read::Nothing => {}
            }
        }
        whole.sort_by_key(|(_, head)| std::cmp::Reverse(head.seq));
        let mut cut = whole.len() < 2;
        for (slot, head) in whole {
            if let Some(mut content) = read_slot(file, &small, slot, &head)? {
                content.cut = cut;
                // Invariant: from a slot that was left nobody goes on: steps would be forgotten.
                return Ok(match content.play(file, &mut Ahead { from: 0, bytes: small })? {
                    Played::End => Found::Content(Box::new(content)),
                    Played::Left | Played::Odd => Found::Damaged,
                });
            }
            cut = true;
        }
        Ok(Found::Damaged)
    }

    /// Whether this is the file's state, after carrying out what others have changed since. To be asked with the
    /// lock held. One read says it: of both heads, and of what stands behind the last record that this knows. Where the
    /// shard has gone on in the other slot, the last of those records say what stands there, too.
    pub(super) fn is_new(&mut self, file: &File) -> io::Result<bool> {
        let at = self.at();
        let (from, to) = match (self.place.small, self.slot) {
            (true, 0) => (at, BOTH_HEADS.end),
            // With all that others may have written since: it costs hardly more than a few bytes.
            (true, _) => (BOTH_HEADS.start, SMALL_END),
            (false, _) => (BOTH_HEADS.start, BOTH_HEADS.end),
        };
        let mut bytes = std::mem::take(&mut self.window);
        bytes.resize((to - from) as usize, 0);
        let read = read_up_to(file, &mut bytes, from)?;
        bytes.truncate(read);
        let head = |slot| {
            let at = (head_at(slot) - from) as usize;
            Head::read(bytes.get(at..at + HEADER).unwrap_or_default())
        };
        // Invariant: everybody writes behind the end that this knows, or into the other slot, whose head is the newer
        // one from then on.
        if !matches!(head(self.slot), Read::Head(head) if head.seq == self.base) {
            return Ok(false);
        }
        let gone_on = match head(1 - self.slot) {
            Read::Head(other) => (other.seq > self.base).then_some(other),
            // One that was cut off, of another format, or damaged.
            Read::Nothing if self.cut => None,
            Read::Nothing | Read::OtherFormat(_) => return Ok(false),
        };
        let mut ahead = Ahead { from, bytes };
        let mut played = self.play(file, &mut ahead)?;
        if let Some(other) = gone_on {
            // Without the mark, whoever wrote that table was killed before it, or had no room for it.
            if played != Played::Left || self.end.seq != other.seq {
                return Ok(false);
            }
            self.go_on(&other);
            played = self.play(file, &mut ahead)?;
        }
        self.window = ahead.bytes;
        Ok(played == Played::End)
    }

    /// Goes on in the other slot, whose table is this one.
    pub(super) fn go_on(&mut self, head: &Head) {
        (self.slot, self.place) = (1 - self.slot, Place::of(1 - self.slot, head.len));
        (self.base, self.room, self.records) = (head.seq, head.room, records_of(head.len));
        self.end = End { at: self.records, seq: head.seq, sum: head.sum };
        self.cut = false;
    }

    /// Whether so much fits behind the last record.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.end.at + len as u64 <= self.most()
    }

    /// What there is for the table and its records.
    fn most(&self) -> u64 {
        if self.place.small { SMALL_ROOM } else { self.room }
    }

    /// Where in the file the next record goes.
    pub(super) fn at(&self) -> u64 {
        self.place.from + self.end.at
    }

    /// Up to where records are written in this slot, counted from the table's beginning: so far that writing the table
    /// anew costs little beside them, and that all who stand in a line have their turn meanwhile, so that they know either
    /// slot; but not so far that whoever comes anew reads much more than the table.
    pub(super) fn limit(&self) -> u64 {
        let most = self.most().saturating_sub(MARK);
        match self.place.small {
            true => most,
            false => most.min(LEAST_ROOM.max(self.records.saturating_mul(6))),
        }
    }

    /// A result was published that may be dropped at this time.
    pub(super) fn drops_at(&mut self, done: &Done) {
        self.drops_from = self.drops_from.min(done.gone_at());
    }

    /// Drops the results whose time has passed, of keys that nobody has touched since; any step on such a key
    /// would do the same. Answers whose they were.
    pub(super) fn drop_old_results(&mut self, now: Micros) -> Vec<(Key, Done)> {
        let mut dropped = Vec::new();
        if now < self.drops_from {
            return dropped;
        }
        let mut next = Micros::MAX;
        self.table.keys.retain(|key, state| {
            if let Some(done) = state.done.take_if(|done| done.gone_at() <= now) {
                dropped.push((key.clone(), done));
            }
            next = state.done.as_ref().map_or(next, |done| next.min(done.gone_at()));
            !state.is_idle()
        });
        self.drops_from = next;
        dropped
    }

    /// Carries out the records behind the end.
    fn play(&mut self, file: &File, ahead: &mut Ahead) -> io::Result<Played> {
        loop {
            let most = self.most().saturating_sub(self.end.at);
            // Records end where their room does, and there what follows is none.
            let begin = RECORD.min(most as usize);
            let begun = Begun::read(ahead.get(file, self.at(), begin, most)?, &self.end);
            let Some((begun, size)) = begun.and_then(|begun| Some((begun, begun.size(most)?))) else {
                return Ok(Played::End);
            };
            match begun.whole(ahead.get(file, self.at(), size, most)?, &self.end) {
                None => return Ok(Played::End),
                Some((Change::Step(step), end)) => {
                    if self.carry_out(step, end).is_none() {
                        return Ok(Played::Odd);
                    }
                }
                Some((Change::Left(step), end)) => {
                    return Ok(self.carry_out(step, end).map_or(Played::Odd, |()| Played::Left));
                }
            }
        }
    }

    /// Carries out one step, behind which this ends. `None` if it is none of this table.
    fn carry_out(&mut self, step: &[u8], end: End) -> Option<()> {
        let (delta, _) = postcard::take_from_bytes::<Delta<'_>>(step).ok()?;
        (self.events, self.listeners, self.end) = (delta.events, delta.listeners, end);
        delta.results().for_each(|done| self.drops_at(done));
        delta.apply(&mut self.table)
    }
}

/// What stands behind the last record.
#[derive(Debug, PartialEq, Eq)]
enum Played {
    End,
    /// The mark of a slot that was left, and what it says is carried out.
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
    /// So many bytes from there; fewer where the file ends before. There can be `most`.
    fn get(&mut self, file: &File, at: u64, len: usize, most: u64) -> io::Result<&[u8]> {
        let has = |ahead: &Ahead| {
            let skip = usize::try_from(at.checked_sub(ahead.from)?).ok()?;
            (skip.checked_add(len)? <= ahead.bytes.len()).then_some(skip)
        };
        let skip = match has(self) {
            Some(skip) => skip,
            None => {
                self.bytes.resize(len.max(most.min(PIECE) as usize), 0);
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
        points::system_call();
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A slot's table, which may be in what was read of the file's beginning; `None` if it is not whole.
fn read_slot(file: &File, small: &[u8], slot: u64, head: &Head) -> io::Result<Option<Content>> {
    let place = Place::of(slot, head.len);
    let decoded = |bytes: &[u8]| {
        let table = head.fits(bytes).then(|| postcard::from_bytes(bytes).ok())?;
        table.map(|table| Content::new(table, slot, head))
    };
    if place.small {
        let from = place.from as usize;
        return Ok(small.get(from..from + head.len as usize).and_then(decoded));
    }
    // Invariant: nothing is allocated for a length that the file does not have.
    let there = place.from.saturating_add(head.len) <= file.metadata()?.len();
    if head.room > LARGEST || head.len > head.room || !there {
        return Ok(None);
    }
    let mut bytes = vec![0; head.len as usize];
    let read = read_up_to(file, &mut bytes, place.from)?;
    Ok(Some(&bytes[..]).filter(|bytes| read == bytes.len()).and_then(decoded))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::folder::Folder;
    use super::super::shard::Shard;
    use super::*;
    use crate::name::FencingToken;

    /// Below all times that are asked for, and no time that a file says.
    const KNOWN: Micros = 7;

    #[test]
    fn who_knows_the_slot_that_was_left_goes_on_in_the_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(Some(&dir.path().join("store"))).unwrap();
        let (mut writes, mut follows) = (Shard::new(7, &folder), Shard::new(7, &folder));
        let mut slots = Vec::new();
        for number in 1..1000 {
            assert!(writes.lock(&folder, true).unwrap());
            let mut content = writes.load().unwrap();
            content.table.last = FencingToken(number);
            let delta = Delta::new(&content.table, number, 0);
            writes.commit(content, &delta).unwrap();
            writes.unlock();
            assert!(follows.lock(&folder, true).unwrap());
            let mut content = follows.load().unwrap();
            assert_eq!((content.table.last.0, content.events), (number, number));
            let known = std::mem::replace(&mut content.drops_from, KNOWN) == KNOWN;
            assert!(known || number == 1, "read anew at step {number}");
            slots.push(content.slot);
            follows.keep(content);
            follows.unlock();
        }
        slots.dedup();
        assert!(slots.len() > 5, "{slots:?}");
    }
}
