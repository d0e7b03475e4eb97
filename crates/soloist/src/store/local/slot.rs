//! One slot of a shard file: a head, a table of keys, and behind that what was changed since.
//!
//! ```text
//! 0   "soloist" and the format's number, 8 bytes
//! 8   seq: the number of the step after which the table was so; the larger of the two slots' is the newest
//! 16  length of the table in bytes
//! 24  events: how many the shard had told
//! 32  listeners: how often somebody has begun to listen for events
//! 40  room: what each slot has on disk for a large table at the least
//! 48  checksum of the table
//! 56  checksum of the 56 bytes above
//! ```
//! All numbers are little-endian. The table, as postcard writes `protocol::Table`, stands elsewhere, and records behind
//! it from the next multiple of 8. Where, follows from its length:
//!
//! ```text
//! 0       "soloist" and the format's number, for other versions
//! 8       small table of slot 0, and records
//! 4032    head of slot 0
//! 4096    head of slot 1
//! 4160    small table of slot 1, and records
//! 8192    large table of slot 0, and records
//! 2^30    large table of slot 1, and records
//! ```
//! So one read of few bytes finds both heads and the next record, wherever a small shard goes on. The write of a head is
//! the commit of a table: one that was cut off by a kill has a wrong checksum, and then the other slot is the newest.

/// The length of a head.
pub(super) const HEADER: usize = 64;
/// Where the heads stand, one behind the other.
pub(super) const HEADS: u64 = 4096 - HEADER as u64;
/// What there is for a small table and its records.
pub(super) const SMALL_ROOM: u64 = HEADS - SIGNATURE.len() as u64;
/// The end of the second small table, from where the large ones stand.
pub(super) const SMALL_END: u64 = 8192;
/// The longest small table: so that as many records fit behind it as a line writes that stands in it in one round, for
/// whoever knows a slot follows once into the other one, and not twice.
const LONGEST_SMALL: u64 = 1024;
const SECOND_LARGE: u64 = 1 << 30;
/// The most that one slot can have for a large table, with its records.
pub(super) const LARGEST: u64 = SECOND_LARGE - SMALL_END;
/// How a file begins.
pub(super) const SIGNATURE: [u8; 8] = *b"soloist\x04";

/// Where in the file a table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) from: u64,
    pub(super) small: bool,
}

impl Place {
    /// Of a table of this length, in this slot.
    pub(super) fn of(slot: u64, len: u64) -> Self {
        let small = len <= LONGEST_SMALL;
        let from = match (small, slot) {
            (true, 0) => SIGNATURE.len() as u64,
            (true, _) => HEADS + 2 * HEADER as u64,
            (false, 0) => SMALL_END,
            (false, _) => SECOND_LARGE,
        };
        Place { from, small }
    }
}

/// Where a slot's head stands.
pub(super) fn head_at(slot: u64) -> u64 {
    HEADS + slot * HEADER as u64
}

/// The head of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) len: u64,
    pub(super) events: u64,
    pub(super) listeners: u64,
    pub(super) room: u64,
    /// The checksum of the table.
    pub(super) sum: u64,
}

/// What the first bytes of a slot are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A head; whether the table behind it is whole is for [`Head::fits`] to say.
    Head(Head),
    /// The head of a format that this version does not know.
    OtherFormat(u8),
    /// Nothing that a slot begins with, or a head that is not whole.
    Nothing,
}

pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

impl Head {
    /// The head of this table.
    pub(super) fn new(table: &[u8], seq: u64, (events, listeners): (u64, u64), room: u64) -> Self {
        Head { seq, len: table.len() as u64, events, listeners, room, sum: checksum(seq, table) }
    }

    /// As it is written.
    pub(super) fn bytes(&self) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[..8].copy_from_slice(&SIGNATURE);
        let Head { seq, len, events, listeners, room, sum } = *self;
        for (at, number) in [(8, seq), (16, len), (24, events), (32, listeners), (40, room), (48, sum)] {
            head[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let whole = checksum(0, &head[..56]);
        head[56..].copy_from_slice(&whole.to_le_bytes());
        head
    }

    /// Reads a head. Invariant: what it says is checked before anybody allocates or reads by it.
    pub(super) fn read(bytes: &[u8]) -> Read {
        if let Some(format) = other_format(bytes) {
            return Read::OtherFormat(format);
        }
        if bytes.len() < HEADER || bytes[..8] != SIGNATURE {
            return Read::Nothing;
        }
        if word(bytes, 56) != checksum(0, &bytes[..56]) {
            return Read::Nothing;
        }
        let [seq, len, events, listeners, room, sum] = [8, 16, 24, 32, 40, 48].map(|at| word(bytes, at));
        Read::Head(Head { seq, len, events, listeners, room, sum })
    }

    /// Whether this is the head of that table, and the table is whole.
    pub(super) fn fits(&self, table: &[u8]) -> bool {
        table.len() as u64 == self.len && self.sum == checksum(self.seq, table)
    }
}

/// The number of the format that these first bytes of a file or head are of, if it is not this one.
pub(super) fn other_format(bytes: &[u8]) -> Option<u8> {
    let [name @ .., format] = bytes.first_chunk::<8>()?;
    (*name == SIGNATURE[..7] && *format != SIGNATURE[7]).then_some(*format)
}

/// A checksum: against torn writes, not against malice. Its value is part of the file format.
pub(super) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let mix = |sum: u64, word: u64| {
        let sum = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        sum ^ (sum >> 32)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = mix(seed, bytes.len() as u64 + 1);
    let sum = words.iter().fold(sum, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_or_missing_byte_is_seen() {
        let table = b"the table of the keys";
        let sealed = Head::new(table, 7, (3, 2), 4096);
        let mut head = sealed.bytes();
        assert_eq!(Head::read(&head), Read::Head(sealed));
        assert_eq!((sealed.seq, sealed.len, sealed.events), (7, 21, 3));
        assert_eq!((sealed.listeners, sealed.room), (2, 4096));
        assert!(sealed.fits(table));
        assert!(!sealed.fits(&table[1..]));
        for at in 8..HEADER {
            let mut torn = head;
            torn[at] ^= 1;
            assert_eq!(Head::read(&torn), Read::Nothing, "byte {at}");
        }
        for at in 0..table.len() {
            let mut torn = *table;
            torn[at] ^= 1;
            assert!(!sealed.fits(&torn), "byte {at}");
        }
        head[7] = 9;
        assert_eq!(Head::read(&head), Read::OtherFormat(9));
        assert_eq!(Head::read(b""), Read::Nothing);
    }

    #[test]
    fn a_damaged_length_is_seen_before_it_is_used() {
        let slot = Head::new(b"", 7, (3, 2), 4096).bytes();
        for (at, bit) in (16..24).chain(40..48).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut damaged = slot;
            damaged[at] ^= 1 << bit;
            assert_eq!(Head::read(&damaged), Read::Nothing, "byte {at}, bit {bit}");
        }
    }

    #[test]
    fn no_two_parts_of_a_file_overlap() {
        let (small, large) = (LONGEST_SMALL, LONGEST_SMALL + 1);
        let mut parts: Vec<(u64, u64)> = Vec::new();
        for slot in [0, 1] {
            parts.push((head_at(slot), HEADER as u64));
            parts.push((Place::of(slot, small).from, SMALL_ROOM));
            parts.push((Place::of(slot, large).from, LARGEST));
        }
        parts.sort_unstable();
        for pair in parts.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
        }
    }
}
