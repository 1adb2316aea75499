//! Whether there is something left, and how much of it a turn takes.

use std::fmt;

use super::period::told;
use super::{Allowance, Amount, Budget, Period, Spending, Spent};
use crate::clock::Timestamp;

/// Whose allowance it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// The turn's own.
    Turn,
    /// That of all turns of the conversation.
    Conversation,
    /// That of all turns of the tenant in a period.
    Tenant,
}

/// An allowance of which nothing is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct OverBudget {
    /// Whose allowance it is.
    pub scope: Scope,
    /// How much it is.
    pub allowed: Amount,
    /// How much of it is used.
    pub used: Amount,
    /// How much more of it turns that run have reserved. What they do not use is free again when they end.
    pub reserved: Amount,
    /// When there is a new one, and which; `None` for an allowance that is given once.
    pub renewed: Option<(Period, Timestamp)>,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match (self.scope, self.renewed) {
            (Scope::Turn, _) => "this turn".to_owned(),
            (Scope::Conversation, _) => "this conversation".to_owned(),
            (Scope::Tenant, Some((period, _))) => format!("this {period}"),
            (Scope::Tenant, None) => "this account".to_owned(),
        };
        if self.allowed.is_zero() {
            write!(f, "{whose} has no budget: {} are allowed", self.allowed)?;
        } else {
            let used = self.used.number();
            write!(
                f,
                "the budget of {whose} is used up: {used} of {} are used",
                self.allowed
            )?;
        }
        if !self.reserved.is_zero() {
            write!(
                f,
                ", {} are reserved by turns that run",
                self.reserved.number()
            )?;
        }
        if let Some((period, at)) = self.renewed {
            write!(f, "; the next {period} begins on {}", told(at))?;
        }
        Ok(())
    }
}

impl Budget {
    /// How much a turn may use in all that has used `own`, and when it is to ask again: where it has used up one of these
    /// bounds. `conversation` and `tenant` are what the other turns have used and reserved.
    ///
    /// # Errors
    /// The first allowance that leaves nothing.
    pub fn grant(
        &self,
        own: &Spent,
        conversation: &Spending,
        tenant: &Spending,
        now: Timestamp,
    ) -> Result<Allowance, OverBudget> {
        let (own, nothing) = (own.amounts(), Spending::default());
        let mut left = [None::<u64>; 3];
        for (scope, allowed, others) in [
            (Scope::Turn, &self.turn, &nothing),
            (Scope::Conversation, &self.conversation, conversation),
            (Scope::Tenant, &self.tenant, tenant),
        ] {
            let (used, reserved) = (others.used.amounts(), others.reserved.amounts());
            for (kind, bound) in allowed.bounds().into_iter().enumerate() {
                let Some(bound) = bound else { continue };
                let used = used[kind].saturating_add(own[kind]);
                let here = bound.saturating_sub(used).saturating_sub(reserved[kind]);
                if here == 0 {
                    return Err(OverBudget {
                        scope,
                        allowed: Amount::of(kind, bound),
                        used: Amount::of(kind, used),
                        reserved: Amount::of(kind, reserved[kind]),
                        renewed: (scope == Scope::Tenant)
                            .then(|| (self.period, self.period.end(now))),
                    });
                }
                left[kind] = Some(left[kind].map_or(here, |left| left.min(here)));
            }
        }
        let (turn, step) = (self.turn.bounds(), self.reservation.bounds());
        let granted = std::array::from_fn(|kind| {
            let wanted = match turn[kind] {
                Some(turn) => turn.saturating_sub(own[kind]),
                None => step[kind].unwrap_or(u64::MAX),
            };
            left[kind].map(|left| own[kind].saturating_add(left.min(wanted)))
        });
        Ok(Allowance::of_bounds(granted))
    }
}

impl Allowance {
    /// Whether one of the bounds is used up.
    pub fn is_used_up(&self, spent: &Spent) -> bool {
        let spent = spent.amounts();
        let mut bounds = self.bounds().into_iter().zip(spent);
        bounds.any(|(bound, spent)| bound.is_some_and(|bound| spent >= bound))
    }

    /// What is reserved with it: what is left, and nothing of what is not bounded.
    pub fn left(&self, spent: &Spent) -> Spent {
        let (bounds, spent) = (self.bounds(), spent.amounts());
        let left = |kind: usize| bounds[kind].map_or(0, |bound| bound.saturating_sub(spent[kind]));
        Spent::of_amounts(std::array::from_fn(left))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::budget::Dollars;

    /// 2026-11-27.
    const NOW: Timestamp = Timestamp(1_795_737_600_000);

    fn cost(cents: u64) -> Spent {
        Spent::new(Dollars::cents(cents), 0, Duration::ZERO)
    }

    fn dollars(cents: u64) -> Allowance {
        Allowance::UNLIMITED.cost(Dollars::cents(cents))
    }

    fn others(used: u64, reserved: u64) -> Spending {
        Spending::new(cost(used), cost(reserved))
    }

    #[test]
    fn a_turn_is_given_its_own_allowance_or_what_is_left() {
        let budget = Budget::default()
            .turn(dollars(100))
            .tenant(dollars(1000), Period::Month);
        let grant = |own, used, reserved| {
            let (own, others) = (cost(own), others(used, reserved));
            let granted = budget.grant(&own, &Spending::default(), &others, NOW)?;
            Ok::<_, OverBudget>(granted.cost.unwrap())
        };
        assert_eq!(grant(0, 0, 0), Ok(Dollars::cents(100)));
        assert_eq!(grant(30, 0, 0), Ok(Dollars::cents(100)));
        assert_eq!(grant(30, 900, 50), Ok(Dollars::cents(50)));
        let over = grant(100, 0, 0).unwrap_err();
        assert_eq!((over.scope, over.renewed), (Scope::Turn, None));
        assert_eq!(
            over.to_string(),
            "the budget of this turn is used up: 1.00 of 1.00 US dollars are used"
        );
        assert_eq!(
            grant(0, 970, 30).unwrap_err().to_string(),
            "the budget of this month is used up: 9.70 of 10.00 US dollars are used, 0.30 are reserved by turns that \
             run; the next month begins on 2026-12-01 00:00 UTC"
        );
    }

    #[test]
    fn a_turn_without_an_allowance_takes_a_part_at_a_time() {
        let month = Allowance::UNLIMITED
            .cost(Dollars::cents(100))
            .tokens(150_000)
            .time(Duration::from_secs(90));
        let budget = Budget::default().conversation(month);
        let none = Spending::default();
        let first = budget.grant(&Spent::default(), &none, &none, NOW).unwrap();
        assert_eq!(first, budget.reservation);
        let spent = Spent::new(Dollars::cents(3), 100_001, Duration::from_secs(1));
        assert!(first.is_used_up(&spent) && !first.is_used_up(&cost(9)));
        let second = budget.grant(&spent, &none, &none, NOW).unwrap();
        let expected = Allowance::UNLIMITED
            .cost(Dollars::cents(13))
            .tokens(150_000)
            .time(Duration::from_secs(61));
        assert_eq!(second, expected);
        let left = Spent::new(Dollars::cents(10), 49_999, Duration::from_secs(60));
        assert_eq!(second.left(&spent), left);
        // What is not bounded is not reserved.
        assert_eq!(dollars(5).left(&spent), cost(2));
    }

    #[test]
    fn nothing_is_left_of_nothing() {
        let none = Spending::default();
        for (allowance, told) in [
            (dollars(0), "0.00 US dollars"),
            (Allowance::UNLIMITED.tokens(0), "0 tokens"),
            (Allowance::UNLIMITED.time(Duration::ZERO), "0 seconds"),
        ] {
            let budget = Budget::default();
            for budget in [
                budget.turn(allowance),
                budget.conversation(allowance),
                budget.tenant(allowance, Period::Day),
            ] {
                let over = budget.grant(&Spent::default(), &none, &none, NOW);
                let over = over.unwrap_err().to_string();
                assert!(
                    over.contains(&format!("has no budget: {told} are allowed")),
                    "{over}"
                );
            }
        }
    }

    #[test]
    fn a_reservation_has_a_least_and_what_is_not_said_stays() {
        let said = Budget::default()
            .reservation(dollars(0).tokens(5000))
            .reservation;
        let expected = Allowance::UNLIMITED
            .cost(Dollars::cents(1))
            .tokens(5000)
            .time(Duration::from_secs(60));
        assert_eq!(said, expected);
        assert!(Budget::default().is_unlimited());
        assert!(!Budget::default().turn(dollars(1)).needs_ledger());
    }

    #[test]
    fn no_number_is_too_large() {
        let most = Spent::of_amounts([u64::MAX; 3]);
        let all = Spending::new(most, most);
        let budget = Budget::default().tenant(Allowance::UNLIMITED.tokens(u64::MAX), Period::Month);
        assert!(
            budget
                .grant(&most, &all, &all, Timestamp(i64::MAX))
                .is_err()
        );
    }
}
