//! Where chance comes from: the operating system, or in a simulation a seed.

#[cfg(feature = "testing")]
pub(crate) mod seeded;

/// Fills `bytes` from the operating system, or from the seed of the simulation that this thread runs.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(feature = "testing")]
    if seeded::fill(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes)
}

/// A random number.
pub(crate) fn u32() -> Result<u32, getrandom::Error> {
    let mut bytes = [0; 4];
    fill(&mut bytes).map(|()| u32::from_le_bytes(bytes))
}

/// Random numbers from a seed: the same seed gives the same numbers, on every machine and in every version of
/// this crate's dependencies. Not for secrets.
///
/// ```
/// use soloist::testing::Dice;
///
/// let (mut one, mut two) = (Dice::new(7), Dice::new(7));
/// assert_eq!(one.below(1000), two.below(1000));
/// assert!(Dice::new(8).below(u64::MAX) != one.below(u64::MAX));
/// ```
#[cfg(feature = "testing")]
#[derive(Clone, Debug)]
pub struct Dice(u64);

#[cfg(feature = "testing")]
impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    /// The next number: a Weyl sequence whose bits are mixed (splitmix64).
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; zero if that is zero.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(end);
        (wide >> 64) as u64
    }

    /// A number from `first` to `last`, both included.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// Whether something happens that happens `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Dice of their own, for a part whose throws must not change those of the others.
    pub fn split(&mut self) -> Self {
        Dice(self.next_u64())
    }
}
