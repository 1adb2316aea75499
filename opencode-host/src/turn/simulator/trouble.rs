//! What goes wrong in a run.

use super::dice::Dice;
use super::world::Fate;
use crate::turn::plan::Step;

/// A step that every worker dies of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poison {
    Connect,
    Mint,
    Look,
    Inspect,
}

impl Poison {
    pub(super) fn is(self, step: &Step) -> bool {
        match self {
            Self::Connect => *step == Step::Connect,
            Self::Mint => *step == Step::Mint,
            Self::Look => *step == Step::Look,
            Self::Inspect => *step == Step::Inspect,
        }
    }
}

/// What goes wrong in a run, in a thousandth of the occasions.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) fate: Fate,
    pub(super) failing: u64,
    pub(super) noisy: u64,
    pub(super) suspending: u64,
    pub(super) dying: u64,
    pub(super) releasing: u64,
    pub(super) losing: u64,
    /// A server that is down takes calls and does not answer them.
    pub(super) deaf: bool,
    /// The stream says nothing.
    pub(super) silent: bool,
    /// The prompt names something.
    pub(super) named: bool,
    pub(super) poison: Option<Poison>,
}

impl Trouble {
    pub(super) fn of(dice: &mut Dice) -> Self {
        let fate = match dice.below(20) {
            0 => Fate::Empty,
            1 => Fate::Fails,
            2 | 3 => Fate::NeverRuns,
            4 if dice.permille(500) => Fate::Dropped,
            4 => Fate::Endless,
            5 => Fate::Loops,
            6 => Fate::UnknownName,
            _ => Fate::Answered,
        };
        let mut sometimes = |one_in: u64, most: u64| match dice.below(one_in) {
            0 => dice.below(most),
            _ => 0,
        };
        Self {
            fate,
            failing: sometimes(2, 300),
            noisy: sometimes(2, 200),
            suspending: sometimes(4, 60),
            dying: sometimes(4, 60),
            releasing: sometimes(6, 40),
            losing: sometimes(6, 80),
            deaf: dice.permille(300),
            silent: dice.permille(100),
            named: dice.permille(200) || fate == Fate::UnknownName,
            poison: match dice.below(200) {
                0 => Some(Poison::Connect),
                1 => Some(Poison::Mint),
                2 => Some(Poison::Look),
                3 => Some(Poison::Inspect),
                _ => None,
            },
        }
    }

    pub(super) fn is_none(&self) -> bool {
        let often = self.failing + self.noisy + self.suspending;
        let often = often + self.dying + self.releasing + self.losing;
        self.fate == Fate::Answered && often == 0 && !self.silent && self.poison.is_none()
    }
}
