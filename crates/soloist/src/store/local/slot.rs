//! One slot of a shard file: a head, a table of keys, and behind it what was changed since.
//!
//! ```text
//! 0   "soloist" and the format's number, 8 bytes
//! 8   seq: the number of the step after which the table was so; the larger of the two slots' is the newest
//! 16  length of the table in bytes
//! 24  events: how many the shard had told
//! 32  room: what each slot has on disk at the least
//! 40  checksum of the table
//! 48  checksum of the 48 bytes above
//! 56  the table, as postcard writes `protocol::Table`; then, from the next multiple of 8, records
//! ```
//! All numbers are little-endian. One write of head and table is the commit of a step: a slot that was cut off by
//! a kill has a wrong checksum, and then the other slot is the newest.

/// The length of a head.
pub(super) const HEADER: usize = 56;
const MAGIC: [u8; 7] = *b"soloist";
const FORMAT: u8 = 3;

/// The head of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) len: u64,
    pub(super) events: u64,
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
    /// Reads a head. Invariant: what it says is checked before anybody allocates or reads by it.
    pub(super) fn read(bytes: &[u8]) -> Read {
        if bytes.len() < HEADER || bytes[..7] != MAGIC {
            return Read::Nothing;
        }
        if bytes[7] != FORMAT {
            return Read::OtherFormat(bytes[7]);
        }
        if word(bytes, 48) != checksum(0, &bytes[..48]) {
            return Read::Nothing;
        }
        let [seq, len, events, room, sum] = [8, 16, 24, 32, 40].map(|at| word(bytes, at));
        Read::Head(Head { seq, len, events, room, sum })
    }

    /// Whether this is the head of that table, and the table is whole.
    pub(super) fn fits(&self, table: &[u8]) -> bool {
        table.len() as u64 == self.len && self.sum == checksum(self.seq, table)
    }
}

/// Fills in the head of a slot whose table is in place behind it. Answers the head.
pub(super) fn seal(slot: &mut [u8], seq: u64, events: u64, room: u64) -> Head {
    let (head, table) = slot.split_at_mut(HEADER);
    let (len, sum) = (table.len() as u64, checksum(seq, table));
    head[..7].copy_from_slice(&MAGIC);
    head[7] = FORMAT;
    for (at, number) in [(8, seq), (16, len), (24, events), (32, room), (40, sum)] {
        head[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    let whole = checksum(0, &head[..48]);
    head[48..].copy_from_slice(&whole.to_le_bytes());
    Head { seq, len, events, room, sum }
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
        let mut slot = vec![0; HEADER];
        slot.extend_from_slice(b"the table of the keys");
        let sealed = seal(&mut slot, 7, 3, 4096);
        assert_eq!(Head::read(&slot), Read::Head(sealed));
        assert_eq!((sealed.seq, sealed.len, sealed.events, sealed.room), (7, 21, 3, 4096));
        assert!(sealed.fits(&slot[HEADER..]));
        assert!(!sealed.fits(&slot[HEADER..slot.len() - 1]));
        for at in (8..HEADER).chain(HEADER..slot.len()) {
            let mut torn = slot.clone();
            torn[at] ^= 1;
            let whole = matches!(Head::read(&torn), Read::Head(head) if head.fits(&torn[HEADER..]));
            assert!(!whole, "byte {at}");
        }
        slot[7] = 9;
        assert_eq!(Head::read(&slot), Read::OtherFormat(9));
        assert_eq!(Head::read(b""), Read::Nothing);
    }

    #[test]
    fn a_damaged_length_is_seen_before_it_is_used() {
        let mut slot = vec![0; HEADER];
        seal(&mut slot, 7, 3, 4096);
        for (at, bit) in (16..24).chain(32..40).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut damaged = slot.clone();
            damaged[at] ^= 1 << bit;
            assert_eq!(Head::read(&damaged), Read::Nothing, "byte {at}, bit {bit}");
        }
    }
}
