//! Money that adds up: whole billionths of a US dollar.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Billionths in a dollar.
const UNIT: u64 = 1_000_000_000;

/// An amount of US dollars, to the billionth: sums of it do not drift. At most a billion dollars. In JSON: billionths.
///
/// ```
/// use opencode_host::budget::Dollars;
///
/// assert_eq!(Dollars::new(0.25).unwrap(), Dollars::cents(25));
/// assert_eq!(Dollars::cents(320).to_string(), "3.20");
/// assert!(Dollars::new(-1.0).is_err() && Dollars::new(f64::NAN).is_err());
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Dollars(u64);

/// A number that is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is no amount of US dollars: it has to be a number from 0 to 1000000000")]
pub struct NotAnAmount(f64);

impl Dollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(1_000_000_000 * UNIT);

    /// So many dollars, rounded to the billionth.
    ///
    /// # Errors
    /// [`NotAnAmount`] for a negative number, one over a billion, and what is no number.
    pub fn new(dollars: f64) -> Result<Self, NotAnAmount> {
        if (0.0..=Self::MAX.as_f64()).contains(&dollars) {
            Ok(Self((dollars * UNIT as f64).round() as u64))
        } else {
            Err(NotAnAmount(dollars))
        }
    }

    /// So many cents, [`MAX`](Self::MAX) at most.
    pub const fn cents(cents: u64) -> Self {
        Self::billionths(cents.saturating_mul(UNIT / 100))
    }

    /// So many billionths of a dollar, [`MAX`](Self::MAX) at most.
    pub const fn billionths(billionths: u64) -> Self {
        if billionths > Self::MAX.0 {
            Self::MAX
        } else {
            Self(billionths)
        }
    }

    /// How many billionths of a dollar it is.
    pub const fn as_billionths(self) -> u64 {
        self.0
    }

    /// The amount as a number of dollars.
    pub const fn as_f64(self) -> f64 {
        self.0 as f64 / UNIT as f64
    }

    /// What a server says that something has cost. It may say anything: what is no amount has cost nothing, or the most.
    pub(crate) fn told(dollars: f64) -> Self {
        Self::new(dollars.clamp(0.0, Self::MAX.as_f64())).unwrap_or_default()
    }
}

/// With two digits behind the point at least, and as many as there are.
impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:09}", self.0 % UNIT);
        let behind = digits.trim_end_matches('0').len().max(2);
        write!(f, "{}.{}", self.0 / UNIT, &digits[..behind])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_drift() {
        let tenth = Dollars::new(0.1).unwrap();
        let sum = (0..10).fold(0, |sum, _| sum + tenth.as_billionths());
        assert_eq!(Dollars::billionths(sum), Dollars::cents(100));
    }

    #[test]
    fn what_is_no_amount_is_refused_and_what_a_server_says_is_bounded() {
        for wrong in [-0.01, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e9 + 1.0] {
            assert!(Dollars::new(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Dollars::told(f64::NAN), Dollars::ZERO);
        assert_eq!(Dollars::told(-3.0), Dollars::ZERO);
        assert_eq!(Dollars::told(f64::INFINITY), Dollars::MAX);
        assert_eq!(Dollars::told(0.4), Dollars::cents(40));
        assert_eq!(Dollars::cents(u64::MAX), Dollars::MAX);
    }

    #[test]
    fn an_amount_is_written_as_people_write_it() {
        let written = |billionths| Dollars::billionths(billionths).to_string();
        assert_eq!(written(0), "0.00");
        assert_eq!(written(12_500_000_000), "12.50");
        assert_eq!(written(1_234_000), "0.001234");
        assert_eq!(written(1), "0.000000001");
    }
}
