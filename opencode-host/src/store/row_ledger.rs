//! The ledger of a [`RowStore`]: reserved, summed up and pruned.

use async_trait::async_trait;

use super::ledger::no_ledger;
use super::row_spending::{of_others, row_of};
use super::{Account, Lease, Ledger, Reserved, RowStore, Rows as _, StoreResult, Tables};
use crate::budget::{Budget, Spending, Spent};
use crate::clock::Timestamp;

#[async_trait]
impl<T: Tables> Ledger for RowStore<T> {
    fn keeps_ledger(&self) -> bool {
        self.tables.keeps_ledger()
    }

    async fn reserve(
        &self,
        lease: &Lease,
        budget: &Budget,
        spent: &Spent,
    ) -> StoreResult<Reserved> {
        let (mut on, now) = self.begin().await?;
        let turn = on.turn(lease.turn).await?.ok_or(lease.lost())?;
        turn.check_running(lease)?;
        let row = row_of(&mut on, &turn.turn, now).await?;
        let mut row = row.ok_or(lease.lost())?;
        let whose = (row.conversation, &row.tenant);
        let (conversation, tenant) =
            of_others(&mut on, budget, whose, Some(lease.turn), now).await?;
        let reserved = row.reserve(budget, spent, &conversation, &tenant, now);
        on.put_ledger_row(row).await?;
        on.commit().await?;
        Ok(reserved)
    }

    async fn spending(&self, of: &Account, since: Timestamp) -> StoreResult<Spending> {
        if !self.tables.keeps_ledger() {
            return Err(no_ledger());
        }
        let mut on = self.tables.begin_reading().await?;
        on.spending(of, since, None).await
    }

    async fn prune_ledger(&self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        let (mut on, _) = self.begin().await?;
        let pruned = on.prune_ledger(before, limit).await?;
        on.commit().await?;
        Ok(pruned)
    }
}
