//! Tenants' shares of the servers: whose queued turn is claimed next.

use std::num::NonZeroU32;
use std::time::Duration;

use opencode_host::clock::Timestamp;
use opencode_host::store::{
    Rate, RatePeriod, ServerName, ShareUsed, StoreError, StoreResult, Tenant, TenantShare,
};

use super::ROW_VERSION;
use crate::columns::{Columns, escape};
use crate::engine::{Arg, Handle, Row, Sql, args, locking, sql};
use crate::failure::SqlResult;

const SET: Sql = sql!(
    "INSERT INTO opencode_tenants (tenant, is_set, weight, concurrency, rate_turns, rate_millis) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant) DO UPDATE \
     SET is_set = $2, weight = $3, concurrency = $4, rate_turns = $5, rate_millis = $6, \
       period_began = 0, period_turns = 0, free_at = NULL"
);
/// A row to be locked, for a tenant of which nothing is said.
const ADD: Sql = sql!(
    "INSERT INTO opencode_tenants (tenant, is_set, weight) VALUES ($1, 0, 1) ON CONFLICT (tenant) DO NOTHING"
);
macro_rules! columns {
    () => {
        "SELECT tenant, is_set, weight, concurrency, rate_turns, rate_millis, period_began, period_turns, free_at \
         FROM opencode_tenants WHERE tenant = $1"
    };
}
pub(crate) const BY_TENANT: Sql = sql!(columns!());
/// No other claim has a turn of the tenant begin until the transaction ends.
const LOCK: Sql = locking!(columns!());
const SET_PERIOD: Sql = sql!(
    "UPDATE opencode_tenants SET period_began = $2, period_turns = $3, free_at = $4 WHERE tenant = $1"
);
pub(crate) const RUNNING: Sql = sql!(
    "SELECT COUNT(*) AS turns FROM opencode_turns AS r WHERE r.tenant = $1 AND r.state = 'running' AND r.waits = 0"
);
/// The outer join's other side is not to be locked.
macro_rules! locking_queue {
    ($($piece:expr),+ $(,)?) => {
        Sql {
            sqlite: concat!($($piece),+),
            postgres: concat!($($piece),+, " FOR UPDATE OF q"),
        }
    };
}
/// The queue that has come the least far, of those that have a turn whose row up to version $2 can be read, and whose tenant
/// may have one begin at $1; behind the queue that has come as far as $4, of the tenant $5. $3 is the bound of tenants whose
/// share is not set.
macro_rules! next {
    ($($server:literal)?) => {
        locking_queue!(
            "SELECT q.server, q.tenant, q.used_to FROM opencode_tenant_queues AS q LEFT JOIN opencode_tenants AS s ON s.tenant = q.tenant \
             WHERE q.waiting = 1 AND (q.used_to, q.tenant) > ($4, $5) ", $($server,)?
            "AND (s.free_at IS NULL OR s.free_at <= $1 OR s.period_began > $1) \
               AND EXISTS (SELECT 1 FROM opencode_turns AS t WHERE t.server = q.server AND t.tenant = q.tenant \
                 AND t.state = 'queued' AND t.is_first = 1 AND t.unreadable_by < $2) \
               AND (CASE WHEN s.is_set = 1 THEN s.concurrency ELSE $3 END IS NULL OR \
                 (SELECT COUNT(*) FROM opencode_turns AS r \
                  WHERE r.tenant = q.tenant AND r.state = 'running' AND r.waits = 0) \
                 < CASE WHEN s.is_set = 1 THEN s.concurrency ELSE $3 END) \
             ORDER BY q.used_to, q.tenant LIMIT 1"
        )
    };
}
pub(crate) const NEXT: Sql = next!();
pub(crate) const NEXT_ON: Sql = next!(
    "AND q.server = $6 AND NOT EXISTS (SELECT 1 FROM opencode_servers AS o WHERE o.name = $6 AND o.gone_at IS NOT NULL) "
);
macro_rules! has_turn {
    () => {
        "EXISTS (SELECT 1 FROM opencode_turns AS t WHERE t.server = q.server AND t.tenant = q.tenant \
           AND t.state = 'queued' AND t.is_first = 1)"
    };
}
/// Queues that have nothing: $1 is their server. They are locked before they are looked at once more, so that no claim
/// has them wait meanwhile.
pub(crate) const EMPTY: Sql = Sql {
    sqlite: concat!(
        "SELECT q.server, q.tenant FROM opencode_tenant_queues AS q WHERE q.server = $1 AND q.waiting = 1 AND NOT ",
        has_turn!(),
        " LIMIT 64"
    ),
    postgres: concat!(
        "SELECT q.server, q.tenant FROM opencode_tenant_queues AS q WHERE q.server = $1 AND q.waiting = 1 AND NOT ",
        has_turn!(),
        " LIMIT 64 FOR UPDATE OF q SKIP LOCKED"
    ),
};
const SET_EMPTY: Sql = sql!(
    "UPDATE opencode_tenant_queues AS q SET waiting = 0 WHERE q.server = $1 AND q.tenant = $2 AND NOT ",
    has_turn!()
);
const USED: Sql = sql!(
    "SELECT server, used_from, used_to FROM opencode_tenant_queues WHERE server = $1 AND tenant = $2"
);
/// The queue is locked, so that no other claim has it wait meanwhile.
pub(crate) const USE: Sql = sql!(
    "INSERT INTO opencode_tenant_queues AS q (server, tenant, waiting, used_from, used_to) VALUES ($1, $2, 1, $3, $4) \
     ON CONFLICT (server, tenant) DO UPDATE SET used_from = $3, used_to = $4, waiting = CASE WHEN ",
    has_turn!(),
    " THEN 1 ELSE 0 END"
);
pub(crate) const NEWEST: Sql =
    sql!("SELECT MAX(used_from) AS newest FROM opencode_tenant_queues WHERE server = $1");
pub(crate) const FREE_AT: Sql =
    sql!("SELECT MIN(free_at) AS at FROM opencode_tenants WHERE free_at > $1");

/// A queue of a tenant on a server, as its columns name both.
#[derive(Debug)]
pub(crate) struct TenantQueue {
    pub(crate) server: String,
    pub(crate) tenant: String,
}

impl TenantQueue {
    pub(crate) fn read(row: &impl Row) -> StoreResult<Self> {
        let columns = Columns::new(row, "tenant_queues", "server")?;
        let missing = |column| columns.corrupt(column, "is NULL");
        Ok(Self {
            server: columns
                .optional_raw("server")?
                .ok_or_else(|| missing("server"))?,
            tenant: columns
                .optional_raw("tenant")?
                .ok_or_else(|| missing("tenant"))?,
        })
    }
}

/// What a claim needs to know of a tenant.
#[derive(Debug, Default)]
struct Known {
    share: Option<TenantShare>,
    period: RatePeriod,
}

fn read(row: &impl Row) -> StoreResult<Known> {
    let columns = Columns::new(row, "tenants", "tenant")?;
    let period = RatePeriod::new(
        columns.time("period_began")?,
        columns.count("period_turns")?,
    );
    if !columns.flag("is_set")? {
        let share = None;
        return Ok(Known { share, period });
    }
    let number = |column| {
        let Some(number) = columns.optional_time(column)? else {
            return Ok(None);
        };
        let read = u32::try_from(number.0).ok().and_then(NonZeroU32::new);
        let odd = || columns.corrupt(column, format!("{} is out of range", number.0));
        read.map(Some).ok_or_else(odd)
    };
    let mut share = TenantShare::default();
    share.weight = number("weight")?.unwrap_or(share.weight);
    share.concurrency = number("concurrency")?;
    if let Some(turns) = number("rate_turns")? {
        let per = Duration::from_millis(columns.count("rate_millis")?);
        share.rate = Some(Rate::new(turns, per));
    }
    let share = Some(share);
    Ok(Known { share, period })
}

pub(crate) async fn set_share(
    on: &mut impl Handle,
    tenant: &Tenant,
    share: Option<&TenantShare>,
) -> SqlResult<()> {
    let of = share.copied().unwrap_or_default();
    let number = |number: Option<NonZeroU32>| Arg::Int(number.map(|number| number.get().into()));
    let millis = of
        .rate
        .map(|rate| i64::try_from(rate.per.as_millis()).unwrap_or(i64::MAX));
    let args = [
        escape(tenant.as_str()).into(),
        share.is_some().into(),
        of.weight.get().into(),
        number(of.concurrency),
        number(of.rate.map(|rate| rate.turns)),
        Arg::Int(millis),
    ];
    on.execute(SET, &args).await?;
    on.wake().await
}

pub(crate) async fn share(on: &mut impl Handle, tenant: &Tenant) -> SqlResult<Option<TenantShare>> {
    let row = on.row(BY_TENANT, args![escape(tenant.as_str())]).await?;
    Ok(row
        .as_ref()
        .map(read)
        .transpose()?
        .and_then(|row| row.share))
}

/// The queue that is next, of a server's or of all, behind one that was looked at; locked.
pub(crate) async fn next(
    on: &mut impl Handle,
    (server, default): (Option<&ServerName>, &TenantShare),
    behind: Option<(i64, TenantQueue)>,
    now: Timestamp,
) -> SqlResult<Option<(i64, TenantQueue)>> {
    let concurrency = default.concurrency.map(|most| most.get().into());
    let (used_to, tenant) = behind.map_or((i64::MIN, String::new()), |(used_to, behind)| {
        (used_to, behind.tenant)
    });
    let mut args = args![now, ROW_VERSION, Arg::Int(concurrency), used_to, tenant].to_vec();
    args.extend(server.map(|server| server.as_str().into()));
    let next = if server.is_some() { NEXT_ON } else { NEXT };
    let Some(row) = on.row(next, &args).await? else {
        return Ok(None);
    };
    let used_to = Columns::new(&row, "tenant_queues", "server")?
        .time("used_to")?
        .0;
    Ok(Some((used_to, TenantQueue::read(&row)?)))
}

/// Whether a tenant may have another turn begin. Where anything bounds it, no other claim has one begin until the
/// transaction ends.
pub(crate) async fn may_begin(
    on: &mut impl Handle,
    tenant: &str,
    default: &TenantShare,
    now: Timestamp,
) -> SqlResult<Option<TenantShare>> {
    let mut known = on.row(BY_TENANT, args![tenant]).await?;
    let row = known.as_ref().map(read).transpose()?;
    let share = row.and_then(|row| row.share).unwrap_or(*default);
    if !share.is_bounded() {
        return Ok(Some(share));
    }
    if known.is_none() {
        on.execute(ADD, args![tenant]).await?;
    }
    known = on.row(LOCK, args![tenant]).await?;
    let row = known.as_ref().map(read).transpose()?.unwrap_or_default();
    let share = row.share.unwrap_or(*default);
    if share
        .rate
        .is_some_and(|rate| !row.period.has_room(rate, now))
    {
        return Ok(None);
    }
    if share.concurrency.is_some() {
        let counted = on.row(RUNNING, args![tenant]).await?;
        let running = counted.map(|row| row.int("turns")).transpose();
        let running = running.map_err(StoreError::Unexpected)?.flatten();
        if !share.has_room(running.unwrap_or(0).unsigned_abs()) {
            return Ok(None);
        }
    }
    Ok(Some(share))
}

/// Notes that a turn of a tenant begins on a server.
pub(crate) async fn begin(
    on: &mut impl Handle,
    queue: &TenantQueue,
    share: &TenantShare,
    now: Timestamp,
) -> SqlResult<()> {
    let row = on.row(USED, args![&*queue.server, &*queue.tenant]).await?;
    let used = match &row {
        None => ShareUsed::default(),
        Some(row) => {
            let columns = Columns::new(row, "tenant_queues", "server")?;
            ShareUsed::new(columns.time("used_from")?.0, columns.time("used_to")?.0)
        }
    };
    let row = on.row(NEWEST, args![&*queue.server]).await?;
    let newest = row.map(|row| row.int("newest")).transpose();
    let newest = newest.map_err(StoreError::Unexpected)?.flatten();
    let used = used.next(share, newest.unwrap_or_default());
    let args = args![&*queue.server, &*queue.tenant, used.from, used.to];
    on.execute(USE, args).await?;
    let Some(rate) = share.rate else {
        return Ok(());
    };
    let row = on.row(BY_TENANT, args![&*queue.tenant]).await?;
    let mut period = row
        .as_ref()
        .map(read)
        .transpose()?
        .unwrap_or_default()
        .period;
    period.begin(rate, now);
    let free_at = period.free_at(rate).map(|free| free.0);
    let args = args![
        &*queue.tenant,
        period.began,
        period.turns,
        Arg::Int(free_at)
    ];
    on.execute(SET_PERIOD, args).await?;
    Ok(())
}

/// Has those queues of a server wait no more that have nothing.
pub(crate) async fn rest(on: &mut impl Handle, server: &ServerName) -> SqlResult<()> {
    for row in on.rows(EMPTY, args![server.as_str()]).await? {
        let queue = TenantQueue::read(&row)?;
        on.execute(SET_EMPTY, args![queue.server, queue.tenant])
            .await?;
    }
    Ok(())
}
