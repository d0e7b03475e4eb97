//! What happens to a message on its way.

use std::time::Duration;

use crate::random::Dice;

/// How the network is: percentages, and times in microseconds. The default is a calm one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// How often a request never arrives, in a hundred.
    pub request_lost: u64,
    /// How often a reply never arrives.
    pub reply_lost: u64,
    /// How often a request arrives twice.
    pub duplicated: u64,
    /// How often a wake-up or a notice never arrives.
    pub wake_up_lost: u64,
    /// How often something is late.
    pub late: u64,
    /// How late, at most.
    pub latest: u64,
    /// How long each way takes, at most.
    pub way: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Weather {
            request_lost: 0,
            reply_lost: 0,
            duplicated: 0,
            wake_up_lost: 0,
            late: 0,
            latest: 0,
            way: 2_000,
        }
    }
}

/// What was thrown for one request.
pub(super) struct Fate {
    pub(super) arrives: bool,
    pub(super) twice: bool,
    pub(super) answered: bool,
    pub(super) there: Duration,
    pub(super) back: Duration,
}

impl Weather {
    pub(super) fn fate(&self, dice: &mut Dice) -> Fate {
        Fate {
            arrives: !dice.chance(self.request_lost),
            twice: dice.chance(self.duplicated),
            answered: !dice.chance(self.reply_lost),
            there: self.way(dice),
            back: self.way(dice),
        }
    }

    /// How long one way takes now.
    pub(super) fn way(&self, dice: &mut Dice) -> Duration {
        let late = if dice.chance(self.late) { dice.below(self.latest) } else { 0 };
        Duration::from_micros(dice.between(50, self.way.max(50)) + late)
    }
}
