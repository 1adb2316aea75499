//! The rows of the ledger: written in the transactions that change turns.

use super::{Account, Finish, LedgerRow, Rows, StoreResult, Tenant, Turn};
use crate::budget::{Budget, Spending, Spent};
use crate::clock::Timestamp;
use crate::id::{ConversationId, TurnId};

/// The turn's row, there or new. `None` where its conversation is gone.
pub(super) async fn row_of(
    on: &mut impl Rows,
    turn: &Turn,
    now: Timestamp,
) -> StoreResult<Option<LedgerRow>> {
    if let Some(row) = on.ledger_row(turn.id).await? {
        return Ok(Some(row));
    }
    let conversation = on.conversation(turn.conversation).await?;
    let at = turn.started_at().unwrap_or(now);
    Ok(conversation.map(|row| {
        let conversation = row.conversation;
        LedgerRow::new(turn.id, conversation.id, &conversation.tenant, at)
    }))
}

/// What other turns have used: of a conversation, and of its tenant in the period.
pub(super) async fn of_others(
    on: &mut impl Rows,
    budget: &Budget,
    (conversation, tenant): (ConversationId, &Tenant),
    without: Option<TurnId>,
    now: Timestamp,
) -> StoreResult<(Spending, Spending)> {
    let (mut in_conversation, mut of_tenant) = Default::default();
    if !budget.conversation.is_unlimited() {
        let account = Account::Conversation(conversation);
        in_conversation = on.spending(&account, Timestamp(i64::MIN), without).await?;
    }
    if !budget.tenant.is_unlimited() {
        let since = budget.period.start(now);
        let account = Account::Tenant(tenant.clone());
        of_tenant = on.spending(&account, since, without).await?;
    }
    Ok((in_conversation, of_tenant))
}

/// Refuses a submit for which nothing is left.
pub(super) async fn check(
    on: &mut impl Rows,
    budget: &Budget,
    whose: (ConversationId, &Tenant),
    now: Timestamp,
) -> StoreResult<()> {
    let (conversation, tenant) = of_others(on, budget, whose, None, now).await?;
    budget.grant(&Spent::default(), &conversation, &tenant, now)?;
    Ok(())
}

/// Notes what a running turn has used.
pub(super) async fn note(
    on: &mut impl Rows,
    turn: &Turn,
    spent: &Spent,
    now: Timestamp,
) -> StoreResult<()> {
    if let Some(mut row) = row_of(on, turn, now).await? {
        row.note(spent);
        on.put_ledger_row(row).await?;
    }
    Ok(())
}

/// Writes what a turn has used that ends, and frees what it had reserved.
pub(super) async fn end(
    on: &mut impl Rows,
    turn: &Turn,
    finish: &Finish,
    now: Timestamp,
) -> StoreResult<()> {
    if finish.spent.is_nothing() {
        return free(on, turn.id).await;
    }
    if let Some(mut row) = row_of(on, turn, now).await? {
        row.end(&finish.spent);
        on.put_ledger_row(row).await?;
    }
    Ok(())
}

/// Frees what a turn had reserved.
pub(super) async fn free(on: &mut impl Rows, turn: TurnId) -> StoreResult<()> {
    if let Some(mut row) = on.ledger_row(turn).await? {
        row.end(&Spent::default());
        on.put_ledger_row(row).await?;
    }
    Ok(())
}
