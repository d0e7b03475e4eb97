//! One slot of a shard file: a header, and the table of the keys behind it.
//!
//! ```text
//! 0   "soloist" and the format's number, 8 bytes
//! 8   seq: grows with every transaction; the larger of the two slots' is the newest
//! 16  length of the table in bytes
//! 24  events: how many the shard has told
//! 32  checksum of the 32 bytes above and of the table
//! 40  the table, as postcard writes `protocol::Table`
//! ```
//! All numbers are little-endian. One write of the whole is the commit: a slot that was cut off by a kill has
//! a wrong checksum, and then the other slot is the newest.

/// The length of a header.
pub(super) const HEADER: usize = 40;
const MAGIC: [u8; 7] = *b"soloist";
const FORMAT: u8 = 1;

/// The head of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) len: u64,
    pub(super) events: u64,
    sum: u64,
}

/// What the first bytes of a slot are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A head; whether the table behind it is whole is for [`Head::fits`] to say.
    Head(Head),
    /// The head of a format that this version does not know.
    OtherFormat(u8),
    /// Nothing that a slot begins with.
    Nothing,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

impl Head {
    /// Reads a head.
    pub(super) fn read(bytes: &[u8]) -> Read {
        if bytes.len() < HEADER || bytes[..7] != MAGIC {
            return Read::Nothing;
        }
        if bytes[7] != FORMAT {
            return Read::OtherFormat(bytes[7]);
        }
        let (seq, len, events, sum) = (word(bytes, 8), word(bytes, 16), word(bytes, 24), word(bytes, 32));
        Read::Head(Head { seq, len, events, sum })
    }

    /// Whether this is the head of that slot, and the slot is whole.
    pub(super) fn fits(&self, slot: &[u8]) -> bool {
        slot.len().checked_sub(HEADER).is_some_and(|len| len as u64 == self.len) && self.sum == checksum(slot)
    }
}

/// Fills in the head of a slot whose table is in place behind it.
pub(super) fn seal(slot: &mut [u8], seq: u64, events: u64) {
    let len = (slot.len() - HEADER) as u64;
    slot[..7].copy_from_slice(&MAGIC);
    slot[7] = FORMAT;
    for (at, number) in [(8, seq), (16, len), (24, events)] {
        slot[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    let sum = checksum(slot);
    slot[32..HEADER].copy_from_slice(&sum.to_le_bytes());
}

/// A checksum of a slot without the checksum itself: against torn writes, not against malice. Its value is
/// part of the file format.
fn checksum(slot: &[u8]) -> u64 {
    let mix = |sum: u64, word: u64| {
        let sum = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        sum ^ (sum >> 32)
    };
    let part = |sum: u64, bytes: &[u8]| {
        let (words, rest) = bytes.as_chunks::<8>();
        let sum = words.iter().fold(sum, |sum, w| mix(sum, u64::from_le_bytes(*w)));
        rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte) + 1))
    };
    let sum = part(slot.len() as u64, slot.get(..32).unwrap_or_default());
    part(sum, slot.get(HEADER..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_or_missing_byte_is_seen() {
        let mut slot = vec![0; HEADER];
        slot.extend_from_slice(b"the table of the keys");
        seal(&mut slot, 7, 3);
        let Read::Head(head) = Head::read(&slot) else { panic!("no head") };
        assert_eq!((head.seq, head.len, head.events), (7, 21, 3));
        assert!(head.fits(&slot));
        assert!(!head.fits(&slot[..slot.len() - 1]));
        for at in (8..32).chain(HEADER..slot.len()) {
            let mut torn = slot.clone();
            torn[at] ^= 1;
            assert!(!head.fits(&torn), "byte {at}");
        }
        slot[7] = 9;
        assert_eq!(Head::read(&slot), Read::OtherFormat(9));
        assert_eq!(Head::read(b""), Read::Nothing);
    }
}
