//! The ledger: what turns have used, and what those that run may use next.
//!
//! One row for each turn, which outlives the turn and its conversation. Rows are written in the transactions that reserve,
//! note and end: what a running turn has reserved is freed in the transaction that ends it, whoever does that.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Lease, StoreError, StoreResult, Tenant};
use crate::budget::{Allowance, Budget, OverBudget, Spending, Spent};
use crate::clock::Timestamp;
use crate::id::{ConversationId, TurnId};

/// Whose rows of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Account {
    /// A tenant's.
    Tenant(Tenant),
    /// A conversation's, deleted or not.
    Conversation(ConversationId),
}

/// What became of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reserved {
    /// The turn may go on.
    Granted {
        /// What it may use in all before it has to ask again.
        grant: Allowance,
        /// What it has used, other claims of it included.
        spent: Spent,
    },
    /// Nothing is left. What the turn had reserved is free again.
    Over {
        /// Of which allowance.
        over: OverBudget,
        /// What it has used, other claims of it included.
        spent: Spent,
    },
}

impl Reserved {
    /// What the turn has used, other claims of it included.
    pub fn spent(&self) -> &Spent {
        match self {
            Self::Granted { spent, .. } | Self::Over { spent, .. } => spent,
        }
    }
}

/// The ledger.
///
/// Where a store keeps none ([`keeps_ledger`](Self::keeps_ledger)), a budget of a conversation or of a tenant is refused
/// ([`StoreError::Configuration`]); a turn's own allowance holds.
///
/// # Errors
/// What every method of a store may answer is said in the [module](super): only what else it answers is said at the
/// method.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Whether the store keeps one.
    fn keeps_ledger(&self) -> bool;

    /// Notes what a running turn has used, and lets it use more if something is left of each allowance
    /// ([`Budget::grant`]): that is reserved for it, in the place of what was. Of two turns that ask at the same time, from
    /// whatever process, the later one finds what the earlier one has reserved.
    ///
    /// # Errors
    /// [`LeaseLost`](StoreError::LeaseLost), also when the turn has ended.
    async fn reserve(&self, lease: &Lease, budget: &Budget, spent: &Spent)
    -> StoreResult<Reserved>;

    /// What the turns of an account have used that were begun at `since` or later, and what those that run have reserved.
    /// A turn that has not ended counts with what was noted of it.
    ///
    /// # Errors
    /// [`Configuration`](StoreError::Configuration) where no ledger is kept.
    async fn spending(&self, of: &Account, since: Timestamp) -> StoreResult<Spending>;

    /// Deletes rows of turns that were begun before `before` and whose conversations are deleted, `limit` at most, the oldest
    /// first. Answers how many it were. Others stay: an allowance of their conversation counts them.
    async fn prune_ledger(&self, before: Timestamp, limit: u32) -> StoreResult<u64>;
}

/// What a store says that keeps no ledger.
pub(super) fn no_ledger() -> StoreError {
    let why = "this store keeps no ledger of what turns use: implement the ledger's methods of `Rows`, or give turns \
               allowances of their own, and their conversations and tenants none";
    StoreError::Configuration(why.to_owned())
}

/// What one turn has used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LedgerRow {
    /// The turn, there or not.
    pub turn: TurnId,
    /// Its conversation, there or not.
    pub conversation: ConversationId,
    /// The tenant.
    pub tenant: Tenant,
    /// When the turn was begun.
    pub at: Timestamp,
    /// What it has used.
    pub spent: Spent,
    /// What it may use beyond that, while it runs.
    pub reserved: Spent,
    /// Whether the conversation is deleted.
    pub deleted: bool,
}

impl LedgerRow {
    /// The row of a turn that has used nothing.
    pub fn new(turn: TurnId, conversation: ConversationId, tenant: &Tenant, at: Timestamp) -> Self {
        Self {
            turn,
            conversation,
            tenant: tenant.clone(),
            at,
            spent: Spent::default(),
            reserved: Spent::default(),
            deleted: false,
        }
    }

    /// Notes what the turn has used so far. That comes off what it has reserved.
    pub fn note(&mut self, spent: &Spent) {
        let all = self.spent.plus(self.reserved);
        self.spent = self.spent.max(spent.bounded());
        self.reserved = all.minus(self.spent);
    }

    /// Asks for more, beside what `conversation` and `tenant` say of other turns.
    pub fn reserve(
        &mut self,
        budget: &Budget,
        spent: &Spent,
        conversation: &Spending,
        tenant: &Spending,
        now: Timestamp,
    ) -> Reserved {
        self.spent = self.spent.max(spent.bounded());
        let spent = self.spent;
        match budget.grant(&spent, conversation, tenant, now) {
            Ok(grant) => {
                self.reserved = grant.left(&spent).bounded();
                Reserved::Granted { grant, spent }
            }
            Err(over) => {
                self.reserved = Spent::default();
                Reserved::Over { over, spent }
            }
        }
    }

    /// The turn has ended, and has used so much.
    pub fn end(&mut self, spent: &Spent) {
        self.spent = self.spent.max(spent.bounded());
        self.reserved = Spent::default();
    }

    /// Whether the row counts for an account.
    pub fn is_of(&self, account: &Account) -> bool {
        match account {
            Account::Tenant(tenant) => self.tenant == *tenant,
            Account::Conversation(conversation) => self.conversation == *conversation,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::budget::Dollars;

    #[test]
    fn what_is_used_comes_off_what_is_reserved() {
        let id = uuid::Uuid::from_u128(1);
        let mut row = LedgerRow::new(
            TurnId::from_uuid(id),
            ConversationId::from_uuid(id),
            &Tenant::default(),
            Timestamp(1),
        );
        let spent = |tokens| Spent::new(Dollars::ZERO, tokens, Duration::ZERO);
        row.reserved = spent(100);
        row.note(&spent(30));
        assert_eq!((row.spent, row.reserved), (spent(30), spent(70)));
        // What was noted before stays.
        row.note(&spent(10));
        assert_eq!((row.spent, row.reserved), (spent(30), spent(70)));
        row.note(&spent(130));
        assert_eq!((row.spent, row.reserved), (spent(130), spent(0)));
        row.reserved = spent(9);
        row.end(&spent(120));
        assert_eq!((row.spent, row.reserved), (spent(130), spent(0)));
    }
}
