//! What turns have used, and what those that run may use next.
//!
//! A turn's row here is written under the lock of its row among the turns. Whoever reserves locks its tenant behind that,
//! so that of two who reserve at the same time the later one finds what the earlier one has.

use std::time::Duration;

use opencode_host::budget::{Budget, Dollars, Spending, Spent};
use opencode_host::clock::Timestamp;
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::store::{Account, Lease, LedgerRow, Reserved, StoreError, StoreResult, Tenant};

use super::leases;
use crate::columns::{Columns, escape};
use crate::engine::{Arg, Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

macro_rules! amounts {
    () => {
        "cost, tokens, millis, held_cost, held_tokens, held_millis"
    };
}
pub(crate) const BY_TURN: Sql = sql!(
    "SELECT turn, conversation, tenant, at, deleted, ",
    amounts!(),
    " FROM opencode_ledger WHERE turn = $1"
);
/// $1 turn, $2 when it was begun where it does not say, $3 to $8 the amounts.
const PUT: Sql = sql!(
    "INSERT INTO opencode_ledger AS l (turn, conversation, tenant, at, ",
    amounts!(),
    ") SELECT t.id, t.conversation, c.tenant, COALESCE(t.started_at, $2), $3, $4, $5, $6, $7, $8 \
     FROM opencode_turns AS t JOIN opencode_conversations AS c ON c.id = t.conversation WHERE t.id = $1 \
     ON CONFLICT (turn) DO UPDATE SET cost = excluded.cost, tokens = excluded.tokens, millis = excluded.millis, \
       held_cost = excluded.held_cost, held_tokens = excluded.held_tokens, held_millis = excluded.held_millis"
);
const FREE: Sql = sql!(
    "UPDATE opencode_ledger SET held_cost = 0, held_tokens = 0, held_millis = 0 WHERE turn = $1"
);
pub(crate) const CLOSE: Sql = sql!(
    "UPDATE opencode_ledger SET held_cost = 0, held_tokens = 0, held_millis = 0, deleted = 1 WHERE conversation = $1"
);
macro_rules! sums {
    ($of:literal) => {
        sql!(
            "SELECT MAX(turn) AS id, CAST(COALESCE(SUM(cost), 0) AS BIGINT) AS cost, \
               CAST(COALESCE(SUM(tokens), 0) AS BIGINT) AS tokens, CAST(COALESCE(SUM(millis), 0) AS BIGINT) AS millis, \
               CAST(COALESCE(SUM(held_cost), 0) AS BIGINT) AS held_cost, \
               CAST(COALESCE(SUM(held_tokens), 0) AS BIGINT) AS held_tokens, \
               CAST(COALESCE(SUM(held_millis), 0) AS BIGINT) AS held_millis \
             FROM opencode_ledger WHERE ",
            $of,
            " = $1 AND at >= $2 AND turn <> $3"
        )
    };
}
pub(crate) const OF_TENANT: Sql = sums!("tenant");
pub(crate) const OF_CONVERSATION: Sql = sums!("conversation");
const TENANT: Sql = sql!("SELECT id, tenant FROM opencode_conversations WHERE id = $1");
/// SQLite has one writer at a time.
const LOCK_TENANT: Sql = Sql {
    sqlite: "SELECT $1 AS id",
    postgres: "SELECT pg_advisory_xact_lock(hashtextextended('opencode_ledger ' || $1, 0))",
};
pub(crate) const PRUNE: Sql = sql!(
    "DELETE FROM opencode_ledger WHERE turn IN ( \
       SELECT l.turn FROM opencode_ledger AS l WHERE l.deleted = 1 AND l.at < $1 ORDER BY l.at LIMIT $2)"
);

fn amounts<R: Row>(columns: &Columns<'_, R>) -> StoreResult<Spending> {
    let spent = |cost: &str, tokens: &str, millis: &str| {
        let (cost, millis) = (columns.count(cost)?, columns.count(millis)?);
        Ok::<_, StoreError>(Spent::new(
            Dollars::billionths(cost),
            columns.count(tokens)?,
            Duration::from_millis(millis),
        ))
    };
    let used = spent("cost", "tokens", "millis")?;
    let reserved = spent("held_cost", "held_tokens", "held_millis")?;
    Ok(Spending::new(used, reserved))
}

fn read(row: &impl Row) -> StoreResult<LedgerRow> {
    let columns = Columns::new(row, "ledger", "turn")?;
    let (turn, conversation) = (columns.id("turn")?, columns.id("conversation")?);
    let tenant: Tenant = columns.text("tenant")?.into();
    let mut row = LedgerRow::new(turn, conversation, &tenant, columns.time("at")?);
    let amounts = amounts(&columns)?;
    (row.spent, row.reserved) = (amounts.used, amounts.reserved);
    row.deleted = columns.flag("deleted")?;
    Ok(row)
}

async fn put(on: &mut impl Handle, row: &LedgerRow) -> SqlResult<()> {
    let mut args = args![row.turn, row.at].to_vec();
    for amount in [&row.spent, &row.reserved] {
        let millis = u64::try_from(amount.time.as_millis()).unwrap_or(u64::MAX);
        let amounts = [amount.cost.as_billionths(), amount.tokens, millis];
        args.extend(amounts.map(Arg::from));
    }
    on.execute(PUT, &args).await?;
    Ok(())
}

/// The turn's row, there or new.
async fn row_of(
    on: &mut impl Handle,
    turn: TurnId,
    conversation: ConversationId,
    now: Timestamp,
) -> SqlResult<LedgerRow> {
    match on.row(BY_TURN, args![turn]).await? {
        Some(row) => Ok(read(&row)?),
        // Whose it is, and when it was begun, the statement finds that writes it.
        None => Ok(LedgerRow::new(turn, conversation, &Tenant::default(), now)),
    }
}

/// What the turns of an account have used and reserved, but one.
async fn sum(
    on: &mut impl Handle,
    of: &Account,
    since: Timestamp,
    without: Option<TurnId>,
) -> SqlResult<Spending> {
    let without = without.map(|turn| turn.to_string()).unwrap_or_default();
    let row = match of {
        Account::Tenant(tenant) => {
            let args = args![escape(tenant.as_str()), since, without];
            on.row(OF_TENANT, args).await?
        }
        Account::Conversation(id) => on.row(OF_CONVERSATION, args![*id, since, without]).await?,
        other => {
            let unknown = format!("this store knows no account {other:?}");
            return Err(StoreError::Unexpected(unknown).into());
        }
    };
    let Some(row) = row else {
        return Ok(Spending::default());
    };
    Ok(amounts(&Columns::new(&row, "ledger", "id")?)?)
}

/// What other turns have used and reserved: of a conversation, and of its tenant in the period.
async fn of_others(
    on: &mut impl Handle,
    budget: &Budget,
    conversation: ConversationId,
    tenant: &Tenant,
    without: Option<TurnId>,
    now: Timestamp,
) -> SqlResult<(Spending, Spending)> {
    let (mut in_conversation, mut of_tenant) = (Spending::default(), Spending::default());
    if !budget.conversation.is_unlimited() {
        let account = Account::Conversation(conversation);
        in_conversation = sum(on, &account, Timestamp(i64::MIN), without).await?;
    }
    if !budget.tenant.is_unlimited() {
        let account = Account::Tenant(tenant.clone());
        of_tenant = sum(on, &account, budget.period.start(now), without).await?;
    }
    Ok((in_conversation, of_tenant))
}

async fn tenant_of(on: &mut impl Handle, conversation: ConversationId) -> SqlResult<Tenant> {
    let row = on.row(TENANT, args![conversation]).await?;
    let row = row.ok_or_else(|| StoreError::not_found("conversation", conversation))?;
    Ok(Columns::new(&row, "conversations", "id")?
        .text("tenant")?
        .into())
}

/// Refuses a submit for which nothing is left.
pub(crate) async fn check(
    on: &mut impl Handle,
    budget: &Budget,
    conversation: ConversationId,
    now: Timestamp,
) -> SqlResult<()> {
    let tenant = tenant_of(on, conversation).await?;
    let (in_conversation, of_tenant) =
        of_others(on, budget, conversation, &tenant, None, now).await?;
    let granted = budget.grant(&Spent::default(), &in_conversation, &of_tenant, now);
    granted.map_err(StoreError::from)?;
    Ok(())
}

pub(crate) async fn reserve(
    on: &mut impl Handle,
    lease: &Lease,
    budget: &Budget,
    spent: &Spent,
) -> SqlResult<Reserved> {
    let turn = leases::running(on, lease).await?;
    let tenant = tenant_of(on, turn.conversation).await?;
    if budget.needs_ledger() {
        on.execute(LOCK_TENANT, args![escape(tenant.as_str())])
            .await?;
    }
    let now = on.now().await?;
    let mut row = row_of(on, turn.id, turn.conversation, now).await?;
    let (in_conversation, of_tenant) =
        of_others(on, budget, turn.conversation, &tenant, Some(turn.id), now).await?;
    let reserved = row.reserve(budget, spent, &in_conversation, &of_tenant, now);
    put(on, &row).await?;
    Ok(reserved)
}

/// Notes what a running turn has used.
pub(crate) async fn note(on: &mut impl Handle, lease: &Lease, spent: &Spent) -> SqlResult<()> {
    let turn = leases::running(on, lease).await?;
    let now = on.now().await?;
    let mut row = row_of(on, turn.id, turn.conversation, now).await?;
    row.note(spent);
    put(on, &row).await
}

/// Writes what a turn has used that ends, and frees what it had reserved. Its row is locked.
pub(crate) async fn end(
    on: &mut impl Handle,
    turn: TurnId,
    conversation: ConversationId,
    spent: &Spent,
    now: Timestamp,
) -> SqlResult<()> {
    if spent.is_nothing() {
        on.execute(FREE, args![turn]).await?;
        return Ok(());
    }
    let mut row = row_of(on, turn, conversation, now).await?;
    row.end(spent);
    put(on, &row).await
}

/// The conversation is deleted, and all its turns.
pub(crate) async fn close(on: &mut impl Handle, conversation: ConversationId) -> SqlResult<()> {
    on.execute(CLOSE, args![conversation]).await?;
    Ok(())
}

pub(crate) async fn spending(
    on: &mut impl Handle,
    of: &Account,
    since: Timestamp,
) -> SqlResult<Spending> {
    sum(on, of, since, None).await
}

pub(crate) async fn prune(on: &mut impl Handle, before: Timestamp, limit: u32) -> SqlResult<u64> {
    on.execute(PRUNE, args![before, limit]).await
}
