//! What turns may use up.

use std::time::Duration;

use clap::{Args, ValueEnum};
use opencode_host::budget::{Allowance, Budget, Dollars, Period};

use super::seconds;

/// What turns may use up. The same in all processes on a database.
#[derive(Clone, Debug, Default, Args)]
#[expect(clippy::struct_field_names, reason = "a field is named as its option")]
pub(crate) struct BudgetArgs {
    /// US dollars that a turn may cost, as OpenCode counts them (it knows no prices of some providers). A turn that has used
    /// up a budget is stopped behind the model's step, and what had come is kept. Give all processes on a database the same
    #[arg(long, value_name = "DOLLARS", env = "OPENCODE_CHAT_BUDGET_TURN_COST", value_parser = dollars)]
    pub(crate) budget_turn_cost: Option<Dollars>,
    /// Tokens that a turn may use
    #[arg(long, value_name = "N", env = "OPENCODE_CHAT_BUDGET_TURN_TOKENS", value_parser = tokens)]
    pub(crate) budget_turn_tokens: Option<u64>,
    /// Seconds that a turn may run; waiting for you is not counted. Unlike --timeout, over all its attempts
    #[arg(long, value_name = "SECONDS", env = "OPENCODE_CHAT_BUDGET_TURN_SECONDS", value_parser = seconds)]
    pub(crate) budget_turn_seconds: Option<Duration>,
    /// US dollars that all turns of a conversation may cost together
    #[arg(long, value_name = "DOLLARS", env = "OPENCODE_CHAT_BUDGET_CONVERSATION_COST", value_parser = dollars)]
    pub(crate) budget_conversation_cost: Option<Dollars>,
    /// Tokens that all turns of a conversation may use together
    #[arg(long, value_name = "N", env = "OPENCODE_CHAT_BUDGET_CONVERSATION_TOKENS", value_parser = tokens)]
    pub(crate) budget_conversation_tokens: Option<u64>,
    /// Seconds that all turns of a conversation may run together
    #[arg(long, value_name = "SECONDS", env = "OPENCODE_CHAT_BUDGET_CONVERSATION_SECONDS", value_parser = seconds)]
    pub(crate) budget_conversation_seconds: Option<Duration>,
    /// How long the next three last before there is new of them: a calendar day or month, in UTC
    #[arg(
        long,
        value_name = "PERIOD",
        default_value = "month",
        env = "OPENCODE_CHAT_BUDGET_PERIOD"
    )]
    pub(crate) budget_period: BudgetPeriod,
    /// US dollars that all turns together may cost that begin in one period
    #[arg(long, value_name = "DOLLARS", env = "OPENCODE_CHAT_BUDGET_PERIOD_COST", value_parser = dollars)]
    pub(crate) budget_period_cost: Option<Dollars>,
    /// Tokens that all turns together may use that begin in one period
    #[arg(long, value_name = "N", env = "OPENCODE_CHAT_BUDGET_PERIOD_TOKENS", value_parser = tokens)]
    pub(crate) budget_period_tokens: Option<u64>,
    /// Seconds that all turns together may run that begin in one period
    #[arg(long, value_name = "SECONDS", env = "OPENCODE_CHAT_BUDGET_PERIOD_SECONDS", value_parser = seconds)]
    pub(crate) budget_period_seconds: Option<Duration>,
}

/// `--budget-period`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BudgetPeriod {
    /// A day
    Day,
    /// A month
    #[default]
    Month,
}

impl BudgetArgs {
    /// The budget of each turn.
    pub(crate) fn budget(&self) -> Budget {
        let period = match self.budget_period {
            BudgetPeriod::Day => Period::Day,
            BudgetPeriod::Month => Period::Month,
        };
        Budget::default()
            .turn(allowance(
                self.budget_turn_cost,
                self.budget_turn_tokens,
                self.budget_turn_seconds,
            ))
            .conversation(allowance(
                self.budget_conversation_cost,
                self.budget_conversation_tokens,
                self.budget_conversation_seconds,
            ))
            .tenant(
                allowance(
                    self.budget_period_cost,
                    self.budget_period_tokens,
                    self.budget_period_seconds,
                ),
                period,
            )
    }
}

fn allowance(cost: Option<Dollars>, tokens: Option<u64>, time: Option<Duration>) -> Allowance {
    let mut allowance = Allowance::UNLIMITED;
    (allowance.cost, allowance.tokens, allowance.time) = (cost, tokens, time);
    allowance
}

fn dollars(text: &str) -> Result<Dollars, String> {
    let dollars = text.trim().parse().ok().map(Dollars::new);
    let dollars = dollars
        .and_then(Result::ok)
        .filter(|it| *it > Dollars::ZERO);
    dollars.ok_or_else(|| {
        "give an amount of US dollars above 0, such as 0.50; leave it out for no bound".to_owned()
    })
}

fn tokens(text: &str) -> Result<u64, String> {
    let tokens = text.trim().parse().ok().filter(|tokens| *tokens > 0);
    tokens.ok_or_else(|| {
        "give a whole number of tokens above 0; leave it out for no bound".to_owned()
    })
}
