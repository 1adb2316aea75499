//! What a tenant has used of its budget, to be shown.

use super::TenantHost;
use crate::budget::{Allowance, Period, Spending};
use crate::budgets::Spender;
use crate::clock::Timestamp;
use crate::id::ConversationId;
use crate::reporter::Severity;
use crate::store::{Account, StoreError, StoreResult};

/// What a tenant has used in a period, and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantSpending {
    /// The period: that of the tenant's budget, or the month.
    pub period: Period,
    /// When it began.
    pub since: Timestamp,
    /// When the next one begins.
    pub until: Timestamp,
    /// What the turns have used that were begun in it, those of deleted conversations included, and what those that run
    /// have reserved.
    pub spending: Spending,
    /// What all turns may use together that are begun in it.
    pub allowed: Allowance,
}

/// Why it is not known what a tenant has used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpendingError {
    /// The application could not say what it may use ([`Budgets`](crate::budgets::Budgets)).
    #[error("the budget could not be looked up: try again")]
    NoBudget,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TenantHost {
    /// What the tenant has used in the running period, and what it may use: "3.20 of 10 dollars this month".
    ///
    /// What running turns use is known after each step of the model, where they have a budget, and at their end without
    /// one.
    ///
    /// # Errors
    /// See [`SpendingError`]; [`StoreError::Configuration`] where the store keeps no ledger.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use opencode_host::store::{MemoryStore, Tenant};
    /// # use opencode_host::Host;
    /// use opencode_host::budget::{Allowance, Budget, Dollars, Period};
    ///
    /// let month = Allowance::UNLIMITED.cost(Dollars::cents(1000));
    /// let host = Host::builder(Arc::new(MemoryStore::default()))
    ///     .budgets(Budget::default().tenant(month, Period::Month))
    ///     .build();
    /// let shown = host.of(&Tenant::from("acme")).spending().await?;
    /// let (used, allowed) = (shown.spending.used.cost, shown.allowed.cost.unwrap_or_default());
    /// assert_eq!(format!("{used} of {allowed} dollars"), "0.00 of 10.00 dollars");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn spending(&self) -> Result<TenantSpending, SpendingError> {
        let front = self.host.front();
        let budget = match front.budgets.of(Spender::new(&self.tenant)).await {
            Ok(budget) => budget,
            Err(error) => {
                let context = [("action", "budgets".into())];
                front.telemetry.report(&error, Severity::Error, context);
                return Err(SpendingError::NoBudget);
            }
        };
        let now = front.store.now().await?;
        let period = budget.period;
        let (since, until) = (period.start(now), period.end(now));
        let account = Account::Tenant(self.tenant.clone());
        Ok(TenantSpending {
            period,
            since,
            until,
            spending: front.store.spending(&account, since).await?,
            allowed: budget.tenant,
        })
    }

    /// What all turns of a conversation have used, and what those that run have reserved.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the tenant has no such conversation; [`StoreError::Configuration`] where the store
    /// keeps no ledger.
    pub async fn spending_of(&self, conversation: ConversationId) -> StoreResult<Spending> {
        self.conversation(conversation).await?;
        let account = Account::Conversation(conversation);
        let store = self.host.store();
        store.spending(&account, Timestamp(i64::MIN)).await
    }
}
