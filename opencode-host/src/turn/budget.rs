//! What a turn may use up.

use opencode_client::wire::Tokens;

/// What a turn may use up: a bound that is `None` bounds nothing.
///
/// It is looked at before the prompt goes out, and after each step of the model: what a step costs is known only then,
/// so that a turn may use more than this by one step. Steps of sub-agents are not counted. How long a turn may take is
/// said by [`Deadlines::turn`](super::Deadlines::turn).
///
/// ```
/// # use opencode_host::turn::Budget;
/// let left = Budget::default().cost(0.25).tokens(200_000);
/// assert_eq!(left.cost, Some(0.25));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Budget {
    /// US dollars, as OpenCode counts them. It knows no prices of some providers: their steps cost nothing.
    pub cost: Option<f64>,
    /// Tokens sent and written, those of the provider's cache with them.
    pub tokens: Option<u64>,
}

impl Budget {
    /// At most so many US dollars.
    #[must_use]
    pub fn cost(self, cost: f64) -> Self {
        let cost = Some(cost);
        Self { cost, ..self }
    }

    /// At most so many tokens.
    #[must_use]
    pub fn tokens(self, tokens: u64) -> Self {
        let tokens = Some(tokens);
        Self { tokens, ..self }
    }

    /// Whether nothing can be done with it. What is no number leaves nothing.
    pub(crate) fn leaves_nothing(&self) -> bool {
        let nothing = |cost: f64| cost.is_nan() || cost <= 0.0;
        self.cost.is_some_and(nothing) || self.tokens == Some(0)
    }

    /// What of it is used up, in words.
    pub(crate) fn used_up(&self, used: &Used) -> Option<String> {
        if let Some(cost) = self.cost.filter(|cost| used.cost >= *cost) {
            return Some(format!(
                "{:.4} of {cost:.4} US dollars are spent",
                used.cost
            ));
        }
        let tokens = self.tokens.filter(|tokens| used.tokens >= *tokens)?;
        Some(format!("{} of {tokens} tokens are used", used.tokens))
    }
}

/// What a turn has used up so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Used {
    /// US dollars.
    pub(crate) cost: f64,
    /// Tokens.
    pub(crate) tokens: u64,
}

impl Used {
    /// The sum of cost and tokens over a turn.
    pub(crate) fn of((cost, tokens): (f64, Tokens)) -> Self {
        let cached = tokens.cache.read.saturating_add(tokens.cache.write);
        let tokens = tokens.input.saturating_add(tokens.output);
        Self {
            cost,
            tokens: tokens.saturating_add(cached),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_once_all_of_one_bound_is() {
        let used = |cost, tokens| Used { cost, tokens };
        let both = Budget::default().cost(1.0).tokens(100);
        assert_eq!(both.used_up(&used(0.99, 99)), None);
        assert_eq!(
            both.used_up(&used(1.5, 99)).unwrap(),
            "1.5000 of 1.0000 US dollars are spent"
        );
        assert_eq!(
            both.used_up(&used(0.5, 100)).unwrap(),
            "100 of 100 tokens are used"
        );
        assert_eq!(Budget::default().used_up(&used(1e9, u64::MAX)), None);
    }

    #[test]
    fn nothing_can_be_done_with_nothing() {
        let none = Budget::default();
        assert!(!none.leaves_nothing() && !none.cost(0.01).tokens(1).leaves_nothing());
        for empty in [
            none.cost(0.0),
            none.cost(-1.0),
            none.cost(f64::NAN),
            none.tokens(0),
        ] {
            assert!(empty.leaves_nothing(), "{empty:?}");
        }
    }

    #[test]
    fn all_tokens_count() {
        let mut tokens = Tokens {
            input: 1,
            output: 20,
            ..Tokens::default()
        };
        (tokens.cache.read, tokens.cache.write) = (300, 4000);
        assert_eq!(
            Used::of((0.5, tokens)),
            Used {
                cost: 0.5,
                tokens: 4321
            }
        );
        tokens.input = u64::MAX;
        assert_eq!(Used::of((0.5, tokens)).tokens, u64::MAX);
    }
}
