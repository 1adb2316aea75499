//! Who may use what: what an application says of its people's budgets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::budget::Budget;
use crate::plug_in::{self, HookError, PlugInError};
use crate::product::TurnContext;
use crate::store::Tenant;

/// Who is to use something up.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spender {
    /// The tenant.
    pub tenant: Tenant,
    /// The turn: one that is about to be submitted, whose attempt is 0 then, or one that a worker has claimed. `None` where
    /// somebody looks what is left, with [`TenantHost::spending`](crate::TenantHost::spending).
    pub turn: Option<TurnContext>,
}

impl Spender {
    /// A tenant, looked at without a turn.
    pub fn new(tenant: &Tenant) -> Self {
        Self {
            tenant: tenant.clone(),
            turn: None,
        }
    }

    /// A turn of its conversation's tenant.
    pub fn of(turn: TurnContext) -> Self {
        Self {
            tenant: turn.tenant().clone(),
            turn: Some(turn),
        }
    }
}

/// What turns may use up, as the application says it: one answer for the host, which is asked at each submit, and for its
/// workers, which ask with each claim.
///
/// It is asked anew each time, so that who pays for more has more at once. Calls run on threads of their own, 30 s at
/// most.
///
/// ```
/// use opencode_host::budget::{Allowance, Budget, Dollars, Period};
/// use opencode_host::budgets::{Budgets, Spender};
/// use opencode_host::product::HookError;
///
/// struct Plans;
///
/// #[async_trait::async_trait]
/// impl Budgets for Plans {
///     async fn budget(&self, of: &Spender) -> Result<Budget, HookError> {
///         let dollars = if of.tenant.as_str() == "acme" { 100.0 } else { 5.0 };
///         let month = Allowance::UNLIMITED.cost(Dollars::new(dollars)?);
///         Ok(Budget::default().tenant(month, Period::Month))
///     }
/// }
/// ```
#[async_trait]
pub trait Budgets: Send + Sync + 'static {
    /// What this turn, its conversation and its tenant may use.
    ///
    /// # Errors
    /// A submit is then refused, and a claimed turn fails; the error is reported.
    async fn budget(&self, of: &Spender) -> Result<Budget, HookError>;
}

/// The same for everybody.
#[async_trait]
impl Budgets for Budget {
    async fn budget(&self, _: &Spender) -> Result<Budget, HookError> {
        Ok(*self)
    }
}

/// How long a call may take where no worker's options say so.
const LIMIT: Duration = Duration::from_secs(30);

/// What a host was told of budgets, asked without its failures.
#[derive(Clone, Default)]
pub(crate) struct AskedBudgets(Option<Arc<dyn Budgets>>);

impl fmt::Debug for AskedBudgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budgets").field(&self.0.is_some()).finish()
    }
}

impl AskedBudgets {
    pub(crate) fn new(budgets: impl Budgets) -> Self {
        Self(Some(Arc::new(budgets)))
    }

    /// Whether nothing is bounded, whoever asks.
    pub(crate) fn are_none(&self) -> bool {
        self.0.is_none()
    }

    /// Asks, on a thread that may block.
    pub(crate) async fn of(&self, spender: Spender) -> Result<Budget, PlugInError> {
        let Some(budgets) = self.0.clone() else {
            return Ok(Budget::default());
        };
        plug_in::call("Budgets::budget", LIMIT, async move || {
            budgets.budget(&spender).await
        })
        .await
    }

    /// Asks from within a call of plugged-in code.
    pub(crate) async fn of_turn(&self, turn: &TurnContext) -> Result<Budget, HookError> {
        match &self.0 {
            Some(budgets) => budgets.budget(&Spender::of(turn.clone())).await,
            None => Ok(Budget::default()),
        }
    }
}
