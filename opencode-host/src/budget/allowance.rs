//! What may be used.

use std::fmt;
use std::time::Duration;

use super::spent::whole_millis;
use super::{Dollars, Period};

/// What may be used: a bound that is `None` bounds nothing, and one of zero leaves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allowance {
    /// US dollars, as OpenCode counts them. It knows no prices of some providers: their steps cost nothing.
    pub cost: Option<Dollars>,
    /// Tokens sent and written, those of the provider's cache with them.
    pub tokens: Option<u64>,
    /// How long turns may run, to the millisecond. Waiting for a person is not counted.
    pub time: Option<Duration>,
}

impl Allowance {
    /// No bound.
    pub const UNLIMITED: Self = Self {
        cost: None,
        tokens: None,
        time: None,
    };

    /// At most so many US dollars.
    #[must_use]
    pub const fn cost(mut self, cost: Dollars) -> Self {
        self.cost = Some(cost);
        self
    }

    /// At most so many tokens.
    #[must_use]
    pub const fn tokens(mut self, tokens: u64) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// At most so long.
    #[must_use]
    pub const fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Whether it bounds nothing.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::UNLIMITED
    }

    /// Billionths of a dollar, tokens, milliseconds.
    pub(super) fn bounds(&self) -> [Option<u64>; 3] {
        [
            self.cost.map(Dollars::as_billionths),
            self.tokens,
            self.time.map(whole_millis),
        ]
    }

    pub(super) fn of_bounds([cost, tokens, millis]: [Option<u64>; 3]) -> Self {
        Self {
            cost: cost.map(Dollars::billionths),
            tokens,
            time: millis.map(Duration::from_millis),
        }
    }
}

/// An amount of one of the three things that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Amount {
    /// US dollars.
    Cost(Dollars),
    /// Tokens.
    Tokens(u64),
    /// Running time.
    Time(Duration),
}

impl Amount {
    /// Of the kind in this place of [`Allowance::bounds`].
    pub(super) fn of(kind: usize, amount: u64) -> Self {
        match kind {
            0 => Self::Cost(Dollars::billionths(amount)),
            1 => Self::Tokens(amount),
            _ => Self::Time(Duration::from_millis(amount)),
        }
    }

    /// The amount without its unit.
    pub(super) fn number(&self) -> String {
        match self {
            Self::Cost(cost) => cost.to_string(),
            Self::Tokens(tokens) => tokens.to_string(),
            Self::Time(time) => time.as_secs_f64().to_string(),
        }
    }

    /// Whether it is none.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Cost(cost) => *cost == Dollars::ZERO,
            Self::Tokens(tokens) => *tokens == 0,
            Self::Time(time) => time.is_zero(),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self {
            Self::Cost(_) => "US dollars",
            Self::Tokens(_) => "tokens",
            Self::Time(_) => "seconds",
        };
        write!(f, "{} {unit}", self.number())
    }
}

/// What a turn, its conversation and its tenant may use.
///
/// A turn is let in where something is left of each allowance, and goes on as long as that is so. What a step of the model
/// costs is known only behind it, so a turn may use more by one step.
///
/// ```
/// use std::time::Duration;
///
/// use opencode_host::budget::{Allowance, Budget, Dollars, Period};
///
/// let turn = Allowance::UNLIMITED.cost(Dollars::cents(50)).time(Duration::from_secs(120));
/// let month = Allowance::UNLIMITED.cost(Dollars::new(10.0)?);
/// let budget = Budget::default().turn(turn).tenant(month, Period::Month);
/// # assert!(!budget.is_unlimited());
/// # Ok::<(), opencode_host::budget::NotAnAmount>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// What the turn may use.
    pub turn: Allowance,
    /// What all turns of its conversation may use together.
    pub conversation: Allowance,
    /// What all turns of its tenant may use together that were begun in one [`period`](Self::period).
    pub tenant: Allowance,
    /// When the tenant's allowance begins anew. Default: with each month.
    pub period: Period,
    /// What a running turn reserves at a time of the other two allowances where it has none of its own: as long as it runs,
    /// nobody else can use it. Default 10 cents, 100,000 tokens, 60 s.
    pub reservation: Allowance,
}

/// The least that is reserved at a time: each time is a look at the ledger.
const LEAST: Allowance = Allowance::UNLIMITED
    .cost(Dollars::cents(1))
    .tokens(1000)
    .time(Duration::from_secs(1));

impl Default for Budget {
    fn default() -> Self {
        let reservation = Allowance::UNLIMITED
            .cost(Dollars::cents(10))
            .tokens(100_000)
            .time(Duration::from_secs(60));
        Self {
            turn: Allowance::UNLIMITED,
            conversation: Allowance::UNLIMITED,
            tenant: Allowance::UNLIMITED,
            period: Period::default(),
            reservation,
        }
    }
}

impl Budget {
    /// The turn may use so much.
    #[must_use]
    pub fn turn(self, turn: Allowance) -> Self {
        Self { turn, ..self }
    }

    /// All turns of the conversation may use so much together.
    #[must_use]
    pub fn conversation(self, conversation: Allowance) -> Self {
        Self {
            conversation,
            ..self
        }
    }

    /// All turns of the tenant that were begun in one period may use so much together.
    #[must_use]
    pub fn tenant(self, tenant: Allowance, period: Period) -> Self {
        Self {
            tenant,
            period,
            ..self
        }
    }

    /// A turn without an allowance of its own reserves so much at a time: a cent, 1000 tokens and a second at least. What
    /// is `None` stays as it was.
    #[must_use]
    pub fn reservation(self, reservation: Allowance) -> Self {
        let (least, before, new) = (
            LEAST.bounds(),
            self.reservation.bounds(),
            reservation.bounds(),
        );
        let reserved = std::array::from_fn(|of| {
            new[of]
                .max(least[of].filter(|_| new[of].is_some()))
                .or(before[of])
        });
        Self {
            reservation: Allowance::of_bounds(reserved),
            ..self
        }
    }

    /// Whether nothing is bounded.
    pub fn is_unlimited(&self) -> bool {
        self.turn.is_unlimited() && !self.needs_ledger()
    }

    /// Whether what other turns have used decides.
    pub fn needs_ledger(&self) -> bool {
        !(self.conversation.is_unlimited() && self.tenant.is_unlimited())
    }
}
