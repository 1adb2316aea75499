//! The shares of tenants in a [`RowStore`](super::RowStore): whose queued turn is claimed next.

use super::{
    Claim, Phase, RatePeriod, Rows, StoreError, StoreResult, Tenant, TenantRow, TenantShare,
    TurnRow,
};
use crate::clock::Timestamp;
use crate::id::TurnId;

/// Which turn to look at for a claim in the place of `found`, the next one by age: that of the tenant that has come the
/// least far, of those that may have another one begin.
pub(super) async fn fair_turn(
    on: &mut impl Rows,
    claim: &Claim,
    found: TurnId,
    now: Timestamp,
) -> StoreResult<Option<TurnId>> {
    let row = match on.turn(found).await {
        // It is for the claim to tell.
        Err(StoreError::Corrupt { .. }) => return Ok(Some(found)),
        row => row?,
    };
    let Some(row) = row.filter(|row| row.turn.phase() == Phase::Queued) else {
        return Ok(Some(found));
    };
    let conversation = on.conversation(row.turn.conversation).await?;
    let is_placed = conversation.is_some_and(|row| row.conversation.server.is_some());
    if claim.server.is_some() && !is_placed {
        // It was moved from a server that is gone: all that is left is to end it.
        return Ok(Some(found));
    }
    if claim.only.is_some() {
        let tenant = tenant_of(on, &row).await?;
        let may_begin = may_begin(on, &tenant, &claim.share, now).await?;
        return Ok(Some(found).filter(|_| may_begin));
    }
    let mut waiting = Vec::new();
    for (tenant, turn) in on.queued_of_tenants(claim.server.as_ref(), now).await? {
        let row = on.tenant_row(&tenant).await?;
        let used = row.map(|row| row.used_of(claim.server.as_ref()));
        waiting.push((used.unwrap_or_default(), tenant, turn));
    }
    waiting.sort();
    for (_, tenant, turn) in waiting {
        if may_begin(on, &tenant, &claim.share, now).await? {
            return Ok(Some(turn));
        }
    }
    Ok(None)
}

/// Notes that a turn begins that was queued.
pub(super) async fn note_begin(
    on: &mut impl Rows,
    claim: &Claim,
    row: &TurnRow,
    now: Timestamp,
) -> StoreResult<()> {
    let tenant = tenant_of(on, row).await?;
    let server = claim.server.as_ref();
    let rows = on.tenant_rows().await?;
    let newest = rows.iter().map(|row| row.used_of(server).from).max();
    let known = rows.into_iter().find(|row| row.tenant == tenant);
    let mut known = known.unwrap_or_else(|| TenantRow::new(&tenant));
    let share = known.share.unwrap_or(claim.share);
    known.begin(server, &share, newest.unwrap_or_default(), now);
    on.put_tenant_row(known).await
}

/// Sets the share of a tenant; the period of its rate begins anew.
pub(super) async fn set_share(
    on: &mut impl Rows,
    tenant: &Tenant,
    share: Option<&TenantShare>,
) -> StoreResult<()> {
    let known = on.tenant_row(tenant).await?;
    let mut row = known.unwrap_or_else(|| TenantRow::new(tenant));
    row.share = share.copied();
    row.period = RatePeriod::default();
    on.put_tenant_row(row).await
}

/// When a tenant may have a turn begin that may have none now, or a queued turn's moment comes: the first such moment.
pub(super) async fn next_due(
    on: &mut impl Rows,
    default: &TenantShare,
    now: Timestamp,
) -> StoreResult<Option<Timestamp>> {
    let mut moments: Vec<_> = on.next_moment(now).await?.into_iter().collect();
    for row in on.tenant_rows().await? {
        if let Some(rate) = row.share.unwrap_or(*default).rate {
            moments.extend(row.period.free_at(rate).filter(|free| *free > now));
        }
    }
    Ok(moments.into_iter().min())
}

async fn may_begin(
    on: &mut impl Rows,
    tenant: &Tenant,
    default: &TenantShare,
    now: Timestamp,
) -> StoreResult<bool> {
    let row = on.tenant_row(tenant).await?;
    let share = row.as_ref().and_then(|row| row.share).unwrap_or(*default);
    let period = row.map(|row| row.period).unwrap_or_default();
    if share.rate.is_some_and(|rate| !period.has_room(rate, now)) {
        return Ok(false);
    }
    Ok(share.concurrency.is_none() || share.has_room(on.running_of(tenant).await?))
}

async fn tenant_of(on: &mut impl Rows, row: &TurnRow) -> StoreResult<Tenant> {
    let conversation = on.conversation(row.turn.conversation).await?;
    let tenant = conversation.map(|row| row.conversation.tenant);
    tenant.ok_or_else(|| StoreError::not_found("conversation", row.turn.conversation))
}
