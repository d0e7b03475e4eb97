//! Chance from a seed. What the n-th draw of a stream is depends on nothing else, so that what happens beside it
//! changes nothing.

use crate::random::Dice;

/// A number for the n-th draw of a stream.
pub(super) fn draw(seed: u64, stream: u64, n: u64) -> u64 {
    mix(mix(mix(seed).wrapping_add(stream)).wrapping_add(n))
}

fn mix(seed: u64) -> u64 {
    Dice::new(seed).next_u64()
}

/// Which of some things happens, each with a chance out of a thousand; the rest of the thousand is none.
pub(super) fn pick<T: Copy>(drawn: u64, chances: &[(T, u16)]) -> Option<T> {
    let mut left = drawn % 1000;
    for &(thing, chance) in chances {
        match left.checked_sub(u64::from(chance)) {
            None => return Some(thing),
            Some(rest) => left = rest,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_about_what_they_should_be_and_the_same_each_time() {
        let run = |seed| -> Vec<_> {
            (0..10_000).map(|n| pick(draw(seed, 1, n), &[('a', 100), ('b', 300)])).collect()
        };
        let of = |what, run: &[_]| run.iter().filter(|got| **got == what).count();
        let first = run(7);
        assert!((900..1100).contains(&of(Some('a'), &first)));
        assert!((2800..3200).contains(&of(Some('b'), &first)));
        assert_eq!(first, run(7));
        assert_ne!(first, run(8));
    }
}
