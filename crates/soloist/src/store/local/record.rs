//! One record behind the table of a slot: what one step has changed.
//!
//! ```text
//! 0   seq: one more than that of the record or head before it
//! 8   length of what follows in bytes; its highest bit marks the last record of a slot that was left: the other slot's
//!     table is the one after this change, or it has no change and says nothing of it
//! 16  checksum of the 16 bytes above and of what follows, begun with that of the record or table before it
//! 24  the change, as postcard writes it, filled up to a multiple of 8
//! ```
//! Whatever stands behind the last record has another number, or no checksum that follows from the one before:
//! what an earlier use of the slot has left there, or what a kill has cut off.

use super::slot::{checksum, word};

/// The length of a record without its change.
pub(super) const RECORD: usize = 24;
const LEFT: u64 = 1 << 63;

/// Where in a slot the next record is looked for or written, and what it has to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) at: u64,
    pub(super) seq: u64,
    pub(super) sum: u64,
}

/// The first bytes of what may be a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    len: u64,
    left: bool,
}

impl Begun {
    /// `None` where no record with the next number begins.
    pub(super) fn read(bytes: &[u8], end: &End) -> Option<Self> {
        let (seq, len) = (word(bytes, 0), word(bytes, 8));
        (bytes.len() >= RECORD && seq == end.seq.wrapping_add(1))
            .then_some(Begun { len: len & !LEFT, left: len & LEFT != 0 })
    }

    /// The length of the whole record, if so much can be there.
    pub(super) fn size(&self, most: u64) -> Option<usize> {
        let size = self.len.checked_add(RECORD as u64)?.checked_next_multiple_of(8)?;
        usize::try_from(size).ok().filter(|_| size <= most)
    }

    /// The change in a record that is whole, and where the next one begins. `None` if it is not whole.
    pub(super) fn whole<'a>(&self, record: &'a [u8], end: &End) -> Option<(Change<'a>, End)> {
        let sum = sum(record, end)?;
        let body = record.get(RECORD..RECORD + usize::try_from(self.len).ok()?)?;
        let change = if self.left { Change::Left(body) } else { Change::Step(body) };
        let next = End { at: end.at + record.len() as u64, seq: end.seq.wrapping_add(1), sum };
        (word(record, 16) == sum).then_some((change, next))
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// A step, encoded.
    Step(&'a [u8]),
    /// The shard goes on in the other slot, whose table is the one after this step; nothing if that is not told.
    Left(&'a [u8]),
}

fn sum(record: &[u8], end: &End) -> Option<u64> {
    Some(checksum(checksum(end.sum, record.get(..16)?), record.get(RECORD..)?))
}

/// Fills in the head of a record whose change is in place behind it, and answers where the next one begins.
pub(super) fn seal(record: &mut Vec<u8>, end: &End) -> End {
    let len = (record.len() - RECORD) as u64;
    finish(record, end, len)
}

/// Makes a sealed record the mark behind the last one of a slot that was left.
pub(super) fn leave(record: &mut Vec<u8>, end: &End) {
    let len = word(record, 8) | LEFT;
    finish(record, end, len);
}

/// The same, which does not tell how the other slot's table came about.
pub(super) fn left(end: &End) -> Vec<u8> {
    let mut record = vec![0; RECORD];
    finish(&mut record, end, LEFT);
    record
}

fn finish(record: &mut Vec<u8>, end: &End, len: u64) -> End {
    record.resize(record.len().next_multiple_of(8), 0);
    let seq = end.seq + 1;
    record[..8].copy_from_slice(&seq.to_le_bytes());
    record[8..16].copy_from_slice(&len.to_le_bytes());
    let sum = sum(record, end).unwrap_or_default();
    record[16..RECORD].copy_from_slice(&sum.to_le_bytes());
    End { at: end.at + record.len() as u64, seq, sum }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], end: &End) -> Option<End> {
        let begun = Begun::read(bytes, end)?;
        let size = begun.size(bytes.len() as u64)?;
        begun.whole(&bytes[..size], end).map(|(_, next)| next)
    }

    #[test]
    fn only_a_whole_record_that_follows_is_one() {
        let end = End { at: 64, seq: 7, sum: 9 };
        let mut record = [&[0; RECORD][..], b"a change of a key"].concat();
        let next = seal(&mut record, &end);
        assert_eq!((next.at, next.seq, record.len()), (64 + 48, 8, 48));
        assert_eq!(read(&record, &end), Some(next));
        let begun = Begun::read(&record, &end).unwrap();
        assert_eq!(begun.whole(&record, &end).unwrap().0, Change::Step(b"a change of a key"));
        // Another step, or another past, comes before it.
        assert_eq!(read(&record, &End { seq: 6, ..end }), None);
        assert_eq!(read(&record, &End { sum: 8, ..end }), None);
        for at in 0..record.len() {
            let mut torn = record.clone();
            torn[at] ^= 0x80;
            assert_eq!(read(&torn, &end), None, "byte {at}");
            assert_eq!(read(&record[..at], &end), None, "{at} bytes");
        }
        let mark = left(&next);
        let begun = Begun::read(&mark, &next).unwrap();
        assert_eq!(begun.whole(&mark, &next).unwrap().0, Change::Left(b""));
        leave(&mut record, &end);
        let begun = Begun::read(&record, &end).unwrap();
        assert_eq!(begun.size(48), Some(48));
        assert_eq!(begun.whole(&record, &end).unwrap().0, Change::Left(b"a change of a key"));
    }
}
