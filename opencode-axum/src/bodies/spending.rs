//! What a tenant has used, and may use.

use opencode_host::TenantSpending;
use opencode_host::budget::{Allowance, Dollars, Period, Spent};
use serde::Serialize;
use utoipa::ToSchema;

/// What was used in a period, and what may be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Spending {
    /// `day` or `month`: a calendar day or month in UTC.
    #[schema(value_type = String)]
    period: Period,
    /// When it began.
    since: i64,
    /// When the next one begins, with an allowance of its own.
    until: i64,
    /// What turns have used that were begun in it.
    used: Amounts,
    /// What turns that run may use beyond that.
    reserved: Amounts,
    /// What all turns together may use that are begun in it.
    allowed: Allowed,
}

/// Amounts of what is counted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Amounts {
    /// US dollars.
    cost: f64,
    /// Tokens sent and written, those of the provider's cache with them.
    tokens: u64,
    /// How long turns ran, in seconds; waiting for a person is not counted.
    seconds: f64,
}

/// Bounds on what is counted. What is absent is not bounded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Allowed {
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    /// Tokens sent and written, those of the provider's cache with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    /// How long turns may run, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

impl From<Spent> for Amounts {
    fn from(spent: Spent) -> Self {
        Self {
            cost: spent.cost.as_f64(),
            tokens: spent.tokens,
            seconds: spent.time.as_secs_f64(),
        }
    }
}

impl From<Allowance> for Allowed {
    fn from(allowance: Allowance) -> Self {
        Self {
            cost: allowance.cost.map(Dollars::as_f64),
            tokens: allowance.tokens,
            seconds: allowance.time.map(|time| time.as_secs_f64()),
        }
    }
}

impl From<TenantSpending> for Spending {
    fn from(shown: TenantSpending) -> Self {
        Self {
            period: shown.period,
            since: shown.since.0,
            until: shown.until.0,
            used: shown.spending.used.into(),
            reserved: shown.spending.reserved.into(),
            allowed: shown.allowed.into(),
        }
    }
}
