//! Who held a key when, told by several processes, and what that says about hand-overs.

use std::fmt;

use crate::Outcome;
use crate::child::Child;

/// What one process saw: when it took part, and each turn of its waiters.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) turns: Vec<Turn>,
}

/// One waiter's turn, on the clock of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) waiter: u64,
    pub(crate) granted: u64,
    /// When it began to release.
    pub(crate) released: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOvers {
    /// A second.
    pub(crate) rate: f64,
    /// From the begin of a release to the next waiter's grant, in microseconds.
    pub(crate) p50: f64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {}", self.from, self.to, self.turns.len())?;
        for Turn { waiter, granted, released } in &self.turns {
            writeln!(f, "{waiter} {granted} {released}")?;
        }
        Ok(())
    }
}

/// Three numbers of a line.
fn three(line: &str) -> Outcome<[u64; 3]> {
    let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    numbers.try_into().map_err(|_| format!("not three numbers: {line:?}").into())
}

impl Seen {
    /// Reads what a process tells of itself.
    pub(crate) fn hear(child: &mut Child) -> Outcome<Self> {
        let [from, to, count] = three(&child.says()?)?;
        let mut turns = Vec::new();
        for _ in 0..count {
            let [waiter, granted, released] = three(&child.says()?)?;
            turns.push(Turn { waiter, granted, released });
        }
        // The blank line after the last.
        child.says()?;
        Ok(Seen { from, to, turns })
    }
}

/// The hand-overs while all processes took part, without the first tenth. A turn that its own last waiter takes
/// again is no hand-over.
pub(crate) fn hand_overs(seen: &[Seen]) -> HandOvers {
    let from = seen.iter().map(|seen| seen.from).max().unwrap_or(0);
    let to = seen.iter().map(|seen| seen.to).min().unwrap_or(0).max(from + 1);
    let from = from + (to - from) / 10;
    let mut turns: Vec<Turn> = seen.iter().flat_map(|seen| &seen.turns).copied().collect();
    turns.sort_by_key(|turn| turn.granted);
    let within = |turn: &Turn| turn.granted >= from && turn.granted <= to;
    let mut took: Vec<f64> = turns
        .windows(2)
        .filter(|pair| within(&pair[1]) && pair[0].waiter != pair[1].waiter)
        .map(|pair| pair[1].granted.saturating_sub(pair[0].released) as f64 / 1e3)
        .collect();
    took.sort_by(f64::total_cmp);
    let p50 = took.get(took.len() / 2).copied().unwrap_or(f64::NAN);
    HandOvers { rate: took.len() as f64 * 1e9 / (to - from) as f64, p50 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_turns_that_pass_from_one_to_another_are_hand_overs() {
        let turn = |waiter, granted, released| Turn { waiter, granted, released };
        let one = Seen { from: 0, to: 10_000, turns: vec![turn(1, 2_000, 2_500), turn(1, 3_000, 4_000)] };
        let two = Seen { from: 1_000, to: 9_000, turns: vec![turn(2, 7_000, 8_000), turn(2, 9_500, 9_600)] };
        let HandOvers { rate, p50 } = hand_overs(&[one, two]);
        // One, from 4,000 to 7,000, in the window of 1,800 to 9,000 ns.
        assert_eq!(p50, 3.0);
        assert!((rate - 1e9 / 7_200.0).abs() < 1.0, "{rate}");
    }

    #[test]
    fn without_hand_overs_there_is_no_time() {
        assert!(hand_overs(&[]).p50.is_nan());
    }
}
