//! Taking turns to work on.
//!
//! Whose clock: the database's on Postgres, which all nodes share; the
//! machine's on SQLite, which all processes on the file share. A worker's own
//! clock decides nothing, so clocks of nodes may differ as they like.

use opencode_host::clock::Timestamp;
use opencode_host::id::TurnId;
use opencode_host::store::{Claim, ClaimedTurn, Lease, StoreError};

use super::tenants::{self, TenantQueue};
use super::{ROW_VERSION, arrivals, conversations, leases, servers, turns};
use crate::columns::{Columns, escape};
use crate::engine::{Arg, Handle, Row as _, Sql, args, sql};
use crate::failure::{Failure, SqlResult};

/// One conditional update. `$1` worker, `$2` now, `$3` length of the lease,
/// `$4` newest known row version, `$5` the turn; of a server, `$5` the server, `$6` the turn or the tenant. Rows that another
/// claim has in its hands are passed over.
macro_rules! take {
    ($($condition:expr),+) => {
        Sql {
            sqlite: take!(@ concat!($($condition),+), ""),
            postgres: take!(@ concat!($($condition),+), " FOR UPDATE OF t SKIP LOCKED"),
        }
    };
    (@ $condition:expr, $lock:expr) => {
        concat!(
            "UPDATE opencode_turns SET worker = $1, leased_at = $2, lease_expires_at = $2 + $3, \
               state = CASE state WHEN 'queued' THEN 'running' ELSE state END, \
               generation = generation + 1, attempts = attempts + 1, unreachable = 0, \
               started_at = CASE state WHEN 'queued' THEN COALESCE(started_at, $2) ELSE started_at END, waits = 0 \
             WHERE id = (SELECT t.id FROM opencode_turns AS t WHERE ",
            $condition,
            " LIMIT 1",
            $lock,
            ") RETURNING ",
            turns::turn_columns!(),
        )
    };
}

/// None of its conversation is ahead of it.
macro_rules! first {
    () => {
        "t.unreadable_by < $4 AND NOT EXISTS ( \
           SELECT 1 FROM opencode_turns AS e WHERE e.conversation = t.conversation AND e.settled = 0 AND e.seq < t.seq)"
    };
}

/// Left behind: by a worker whose lease ran out, or by a cancel in the queue.
macro_rules! left_behind {
    () => {
        concat!("t.lease_expires_at <= $2 AND ", first!())
    };
}

macro_rules! queued {
    () => {
        concat!(
            "t.state = 'queued' AND (t.not_before IS NULL OR t.not_before <= $2) AND ",
            first!()
        )
    };
}

/// What workers of the server $5 may have: left behind there, or anywhere without need of a server.
macro_rules! left_behind_on {
    () => {
        concat!("t.server IN ($5, '') AND ", not_gone!(), left_behind!())
    };
}

macro_rules! queued_on {
    () => {
        concat!(
            "t.server = $5 AND ",
            not_gone!(),
            queued!(),
            " AND t.id = $6"
        )
    };
}

macro_rules! not_gone {
    () => {
        "NOT EXISTS (SELECT 1 FROM opencode_servers AS s WHERE s.name = $5 AND s.gone_at IS NOT NULL) AND "
    };
}

pub(crate) const TAKE_LEFT_BEHIND: Sql =
    take!(left_behind!(), " ORDER BY t.lease_expires_at, t.seq");
/// The first turn of a tenant's queue on a server.
pub(crate) const TAKE_QUEUED: Sql = take!(
    "t.server = $5 AND t.tenant = $6 AND t.state = 'queued' AND t.is_first = 1 AND t.unreadable_by < $4 \
     ORDER BY t.priority DESC, t.seq"
);
pub(crate) const TAKE_ONLY_LEFT_BEHIND: Sql = take!(left_behind!(), " AND t.id = $5");
pub(crate) const TAKE_ONLY_QUEUED: Sql = take!(queued!(), " AND t.id = $5");

pub(crate) const TAKE_LEFT_BEHIND_ON: Sql =
    take!(left_behind_on!(), " ORDER BY t.lease_expires_at, t.seq");
pub(crate) const TAKE_ONLY_LEFT_BEHIND_ON: Sql = take!(left_behind_on!(), " AND t.id = $6");
pub(crate) const TAKE_ONLY_QUEUED_ON: Sql = take!(queued_on!());

/// A lease that starts later than now was set by a clock that was put back
/// since. It would outlive its worker by as much.
pub(crate) const CUT_FUTURE_LEASES: Sql = sql!(
    "UPDATE opencode_turns SET lease_expires_at = $1 + (lease_expires_at - leased_at), leased_at = $1 \
     WHERE leased_at > $1 RETURNING id"
);
pub(crate) const QUEUE_OF: Sql =
    sql!("SELECT server, tenant FROM opencode_turns WHERE id = $1 AND state = 'queued'");
const PASS_OVER: Sql = sql!("UPDATE opencode_turns SET unreadable_by = $2 WHERE id = $1");

/// How many queues a claim looks at, where other claims come first.
const LOOKS: u32 = 16;

/// What a claim came to.
#[derive(Debug)]
pub(crate) enum Taken {
    Nothing,
    Turn(Box<ClaimedTurn>),
    /// A turn that cannot be read. The transaction is to be undone, and the
    /// turn to be [passed over](pass_over).
    Unreadable {
        turn: String,
        error: StoreError,
    },
}

pub(crate) async fn claim(on: &mut impl Handle, claim: &Claim) -> SqlResult<Taken> {
    let now = on.now().await?;
    for row in on.rows(CUT_FUTURE_LEASES, args![now]).await? {
        let turn: TurnId = Columns::new(&row, "turns", "id")?.id("id")?;
        tracing::warn!(%turn, now = now.0, "a lease began in the future, the clock was put back: cut to its length");
    }
    if claim.only.is_none() {
        arrivals::take(on, now).await?;
    }
    let Some(row) = take(on, claim, now).await? else {
        return Ok(Taken::Nothing);
    };
    let id = Columns::new(&row, "turns", "id")?.text("id")?;
    match claimed(on, row, now).await {
        Ok(turn) => Ok(Taken::Turn(Box::new(turn))),
        Err(Failure::Store(error @ StoreError::Corrupt { .. })) => {
            Ok(Taken::Unreadable { turn: id, error })
        }
        Err(failure) => Err(failure),
    }
}

async fn claimed<H: Handle>(on: &mut H, row: H::Row, now: Timestamp) -> SqlResult<ClaimedTurn> {
    let turn = turns::read(&row)?;
    let conversation = conversations::by_id(on, turn.conversation).await?;
    let gone = || StoreError::Unexpected(format!("turn {} has no conversation", turn.id));
    let conversation = conversation.ok_or_else(gone)?;
    let lease = Lease {
        turn: turn.id,
        generation: turn.generation,
    };
    Ok(ClaimedTurn::new(lease, turn, conversation, now))
}

async fn take<H: Handle>(on: &mut H, claim: &Claim, now: Timestamp) -> SqlResult<Option<H::Row>> {
    let worker = escape(&claim.worker.0);
    let left_behind = match (&claim.server, claim.only) {
        (None, None) => TAKE_LEFT_BEHIND,
        (None, Some(_)) => TAKE_ONLY_LEFT_BEHIND,
        (Some(_), None) => TAKE_LEFT_BEHIND_ON,
        (Some(_), Some(_)) => TAKE_ONLY_LEFT_BEHIND_ON,
    };
    let taking = args![&*worker, now, leases::millis(claim.lease), ROW_VERSION];
    let mut args = taking.to_vec();
    args.extend(claim.server.as_ref().map(|server| server.as_str().into()));
    args.extend(claim.only.map(Into::into));
    if let Some(row) = on.row(left_behind, &args).await? {
        return Ok(Some(row));
    }
    if let (Some(server), Some(capacity)) = (&claim.server, claim.capacity)
        && !servers::has_room(on, server, capacity).await?
    {
        return Ok(None);
    }
    match claim.only {
        Some(turn) => take_only(on, claim, turn, &args, now).await,
        None => take_next(on, claim, taking, now).await,
    }
}

/// Takes this queued turn, if its tenant may have one begin.
async fn take_only<H: Handle>(
    on: &mut H,
    claim: &Claim,
    turn: TurnId,
    args: &[Arg<'_>],
    now: Timestamp,
) -> SqlResult<Option<H::Row>> {
    let Some(row) = on.row(QUEUE_OF, args![turn]).await? else {
        return Ok(None);
    };
    let queue = TenantQueue::read(&row)?;
    let Some(share) = tenants::may_begin(on, &queue.tenant, &claim.share, now).await? else {
        return Ok(None);
    };
    let only = match claim.server {
        None => TAKE_ONLY_QUEUED,
        Some(_) => TAKE_ONLY_QUEUED_ON,
    };
    let taken = on.row(only, args).await?;
    if taken.is_some() {
        tenants::begin(on, &queue, &share, now).await?;
    }
    Ok(taken)
}

/// Takes the first turn of the queue that is next.
async fn take_next<H: Handle>(
    on: &mut H,
    claim: &Claim,
    taking: &[Arg<'_>],
    now: Timestamp,
) -> SqlResult<Option<H::Row>> {
    let server = claim.server.as_ref();
    let (whose, mut behind) = ((server, &claim.share), None);
    for _ in 0..LOOKS {
        let Some((used_to, queue)) = tenants::next(on, whose, behind, now).await? else {
            if let Some(server) = server {
                tenants::rest(on, server).await?;
            }
            break;
        };
        // Another claim may have had one begin while this one waited for it.
        if let Some(share) = tenants::may_begin(on, &queue.tenant, &claim.share, now).await? {
            let mut args = taking.to_vec();
            args.extend_from_slice(args![&*queue.server, &*queue.tenant]);
            if let Some(row) = on.row(TAKE_QUEUED, &args).await? {
                tenants::begin(on, &queue, &share, now).await?;
                return Ok(Some(row));
            }
        }
        // What it has is in another transaction's hands.
        behind = Some((used_to, queue));
    }
    Ok(None)
}

/// When a queued turn's moment comes, or a tenant's next period begins: the first such moment.
pub(crate) async fn next_due(on: &mut impl Handle) -> SqlResult<Option<Timestamp>> {
    let now = on.now().await?;
    let mut first: Option<Timestamp> = None;
    for look in [arrivals::NEXT_DUE, tenants::FREE_AT] {
        if let Some(row) = on.row(look, args![now]).await? {
            let at = row.int("at").map_err(StoreError::Unexpected)?;
            first = first.into_iter().chain(at.map(Timestamp)).min();
        }
    }
    Ok(first)
}

/// Keeps a turn that cannot be read from being claimed again, until a version
/// comes that knows more kinds of rows.
pub(crate) async fn pass_over(on: &mut impl Handle, turn: &str) -> SqlResult<()> {
    on.execute(PASS_OVER, args![turn, ROW_VERSION]).await?;
    Ok(())
}
