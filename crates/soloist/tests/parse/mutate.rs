//! Bytes that are nearly right: seeds, changed as storage, networks and other versions change them.

/// Random numbers that a seed repeats (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Numbers at which something ends.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 53, i64::MAX as u64, 1 << 63, u64::MAX];

/// Letters that mean something to some parser.
const LETTERS: &[u8] = b"\0\r\n @:/?#%[]{}*\\.,-+0912\"ax\xc3\xff";

/// A seed with up to eight changes, or bytes of no kind at all.
pub fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = match random.below(20) {
        0 => (0..random.below(200)).map(|_| random.next() as u8).collect(),
        _ => seeds[random.below(seeds.len())].clone(),
    };
    for _ in 0..random.below(9) {
        let at = random.below(bytes.len() + 1);
        let len = random.below(9).min(bytes.len() - at);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + len)),
            2 => bytes.insert(at, LETTERS[random.below(LETTERS.len())]),
            3 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                bytes.splice(at..at + len, other[from..].iter().copied());
            }
            4 => {
                let copy = bytes[at..].to_vec();
                bytes.extend(copy);
            }
            5 => {
                let edge = EDGES[random.below(EDGES.len())];
                let width = 1 << random.below(4);
                let edge = if random.below(2) == 0 {
                    edge.to_le_bytes()
                } else {
                    edge.rotate_left(64 - 8 * width as u32).to_be_bytes()
                };
                for (to, from) in bytes[at..].iter_mut().zip(&edge[..width]) {
                    *to = *from;
                }
            }
            6 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ if at < bytes.len() => bytes[at] = LETTERS[random.below(LETTERS.len())],
            _ => {}
        }
        bytes.truncate(4096);
    }
    bytes
}
