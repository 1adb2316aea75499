//! What was used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Dollars;
use crate::outcome::Usage;

/// What a turn, or several, have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Spent {
    /// US dollars, as OpenCode counts them. It knows no prices of some providers: their steps cost nothing.
    pub cost: Dollars,
    /// Tokens sent and written, those of the provider's cache with them.
    pub tokens: u64,
    /// How long the turns ran, waiting for a person not counted. In JSON: `millis`.
    #[serde(rename = "millis", with = "millis")]
    pub time: Duration,
}

/// What was used, and what running turns may use next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Spending {
    /// What was used.
    pub used: Spent,
    /// What turns that run have reserved beyond what they have used.
    pub reserved: Spent,
}

impl Spending {
    /// What was used, and what is reserved.
    pub fn new(used: Spent, reserved: Spent) -> Self {
        Self { used, reserved }
    }
}

impl Spent {
    /// The most that a turn is counted with, so that sums stay far from what a database can count.
    const MOST: [u64; 3] = [1_000_000_000_000_000, 1_000_000_000_000, 1_000_000_000_000];

    /// What a turn has used that ran so long.
    pub fn new(cost: Dollars, tokens: u64, time: Duration) -> Self {
        Self { cost, tokens, time }
    }

    /// What a usage amounts to, of a turn that ran so long.
    pub fn of(usage: &Usage, time: Duration) -> Self {
        let tokens = [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
        ];
        let tokens = tokens.into_iter().fold(0, u64::saturating_add);
        Self::new(Dollars::told(usage.cost), tokens, time)
    }

    /// Of each the larger one.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// What this is more than `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    /// This, with another running time.
    #[must_use]
    pub fn timed(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Whether nothing was used.
    pub fn is_nothing(&self) -> bool {
        self.amounts() == [0; 3]
    }

    /// This, a million dollars at most, a trillion tokens and some thirty years: what one row of a ledger may hold.
    #[must_use]
    pub fn bounded(self) -> Self {
        self.with(Self::of_amounts(Self::MOST), u64::min)
    }

    fn with(self, other: Self, rule: fn(u64, u64) -> u64) -> Self {
        let (mine, other) = (self.amounts(), other.amounts());
        Self::of_amounts(std::array::from_fn(|of| rule(mine[of], other[of])))
    }

    /// Billionths of a dollar, tokens, milliseconds.
    pub(super) fn amounts(&self) -> [u64; 3] {
        [
            self.cost.as_billionths(),
            self.tokens,
            whole_millis(self.time),
        ]
    }

    pub(super) fn of_amounts([cost, tokens, millis]: [u64; 3]) -> Self {
        Self::new(
            Dollars::billionths(cost),
            tokens,
            Duration::from_millis(millis),
        )
    }
}

pub(super) fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(super::whole_millis(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tokens_count() {
        let mut usage = Usage {
            cost: 0.5,
            input_tokens: 1,
            output_tokens: 20,
            cache_read_tokens: 300,
            cache_write_tokens: 4000,
        };
        let second = Duration::from_secs(1);
        let spent = Spent::of(&usage, second);
        assert_eq!(spent, Spent::new(Dollars::cents(50), 4321, second));
        let json = serde_json::to_string(&spent).unwrap();
        assert_eq!(json, r#"{"cost":500000000,"tokens":4321,"millis":1000}"#);
        assert_eq!(serde_json::from_str::<Spent>(&json).unwrap(), spent);
        usage.input_tokens = u64::MAX;
        assert_eq!(Spent::of(&usage, second).tokens, u64::MAX);
        assert_eq!(
            Spent::of(&usage, second).bounded().tokens,
            1_000_000_000_000
        );
    }
}
