//! One line of the table: what was measured, and whether the goal is met.

use std::fmt;

/// The same thing measured in several rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn one(value: f64) -> Self {
        Series(vec![value])
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            len if len % 2 == 1 => sorted[len / 2],
            len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
        }
    }

    pub(crate) fn range(&self) -> (f64, f64) {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        (least, self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }

    /// The median of the rounds' own ratios: a round's two halves ran one after the other, so what slowed one
    /// down mostly slowed the other down as well.
    pub(crate) fn over(&self, other: &Series) -> f64 {
        if self.0.len() == other.0.len() {
            Series(self.0.iter().zip(&other.0).map(|(one, other)| one / other).collect()).median()
        } else {
            self.median() / other.median()
        }
    }
}

/// What a goal is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    Ours,
    Floor,
    Rival,
}

/// A bound.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Series,
    pub(crate) floor: Option<Series>,
    pub(crate) rival: Option<Series>,
    /// Why there are no numbers of the rival's, where there might be.
    pub(crate) no_rival: Option<String>,
    goals: Vec<(Of, Bound)>,
}

impl Row {
    pub(crate) fn new(case: impl Into<String>, unit: &'static str, ours: Series) -> Self {
        Row { case: case.into(), unit, ours, floor: None, rival: None, no_rival: None, goals: Vec::new() }
    }

    pub(crate) fn floor(mut self, floor: Series) -> Self {
        self.floor = Some(floor);
        self
    }

    pub(crate) fn rival(mut self, rival: Series) -> Self {
        self.rival = Some(rival);
        self
    }

    /// The numbers of a rival that may have failed: then the row says why it has none.
    pub(crate) fn rival_or_why(mut self, rival: Result<Series, String>) -> Self {
        match rival {
            Ok(rival) => self.rival = Some(rival),
            Err(why) => self.no_rival = Some(why),
        }
        self
    }

    pub(crate) fn goal(mut self, of: Of, bound: Bound) -> Self {
        self.goals.push((of, bound));
        self
    }

    pub(crate) fn over_floor(&self) -> Option<f64> {
        self.floor.as_ref().map(|floor| self.ours.over(floor))
    }

    pub(crate) fn over_rival(&self) -> Option<f64> {
        self.rival.as_ref().map(|rival| self.ours.over(rival))
    }

    /// Whether every goal is met; `None` without one.
    pub(crate) fn met(&self) -> Option<bool> {
        let met = |(of, bound): &(Of, Bound)| {
            let value = match of {
                Of::Ours => Some(self.ours.median()),
                Of::Floor => self.over_floor(),
                Of::Rival => self.over_rival(),
            };
            // What could not be measured meets nothing: NaN is neither more nor less.
            value.is_some_and(|value| match bound {
                Bound::AtLeast(least) => value >= *least,
                Bound::AtMost(most) => value <= *most,
            })
        };
        (!self.goals.is_empty()).then(|| self.goals.iter().all(met))
    }

    /// The goals in words.
    pub(crate) fn goal_text(&self) -> String {
        let text = |(of, bound): &(Of, Bound)| {
            let (sign, value) = match bound {
                Bound::AtLeast(least) => (">=", least),
                Bound::AtMost(most) => ("<=", most),
            };
            match of {
                Of::Ours => format!("{sign} {} {}", Number(*value), self.unit),
                Of::Floor => format!("{sign} {value}x floor"),
                Of::Rival => format!("{sign} {value}x rival"),
            }
        };
        self.goals.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

/// A number with three or more digits that count.
pub(crate) struct Number(pub(crate) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if !value.is_finite() => f.write_str("-"),
            value if value == value.trunc() && value.abs() < 1000.0 => write!(f, "{value:.0}"),
            value if value.abs() < 1.0 => write!(f, "{value:.3}"),
            value if value.abs() < 10.0 => write!(f, "{value:.2}"),
            value if value.abs() < 100.0 => write!(f, "{value:.1}"),
            value => {
                let digits = format!("{value:.0}");
                let head = digits.len() % 3;
                let groups = digits.as_bytes()[head..].chunks(3).map(String::from_utf8_lossy);
                let first = (head > 0).then(|| digits[..head].into());
                f.write_str(&first.into_iter().chain(groups).collect::<Vec<_>>().join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series(values.to_vec())
    }

    #[test]
    fn a_ratio_is_that_of_the_rounds() {
        // The second round ran on a busy machine: both halves of it were slow.
        let (ours, floor) = (series(&[10.0, 100.0, 12.0]), series(&[5.0, 50.0, 6.0]));
        assert_eq!(ours.over(&floor), 2.0);
        assert_eq!((ours.median(), ours.range()), (12.0, (10.0, 100.0)));
        assert_eq!(series(&[1.0, 3.0]).median(), 2.0);
    }

    #[test]
    fn all_goals_have_to_be_met_and_nothing_measured_meets_none() {
        let row = || Row::new("c", "1/s", Series::one(8.0)).floor(Series::one(10.0));
        let goal = |row: Row, least| row.goal(Of::Floor, Bound::AtLeast(least));
        assert_eq!(row().met(), None);
        assert_eq!(goal(row(), 0.8).met(), Some(true));
        assert_eq!(goal(row(), 0.81).met(), Some(false));
        assert_eq!(goal(row(), 0.8).goal(Of::Ours, Bound::AtMost(7.0)).met(), Some(false));
        assert_eq!(goal(row(), 0.8).goal(Of::Rival, Bound::AtLeast(0.1)).met(), Some(false));
        let nothing = Row::new("c", "us", Series::default()).goal(Of::Ours, Bound::AtMost(1.0));
        assert_eq!(nothing.met(), Some(false));
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.1234, 2.0, 9.876, 45.67, 456.7, 123_456.7].map(|value| Number(value).to_string());
        assert_eq!(shown, ["0.123", "2", "9.88", "45.7", "457", "123,457"]);
    }
}
