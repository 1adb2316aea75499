//! Ending, settling and cancelling turns.

use opencode_host::clock::Timestamp;
use opencode_host::id::TurnId;
use opencode_host::store::{CancelOutcome, EffectKind, Finish, Finished, Lease, Phase, StoreError};

use super::turns::{self, Standing, lost};
use super::{arrivals, effects, ledger, messages, progress, words};
use crate::columns::{escape, json, word};
use crate::engine::{Handle, Sql, args, sql};
use crate::failure::{Failure, SqlResult};

const END: Sql = sql!(
    "UPDATE opencode_turns SET state = 'finished', status = $2, finished_at = $3 WHERE id = $1 AND state <> 'finished'"
);
const ADD_EVENT: Sql =
    sql!("INSERT INTO opencode_turn_events (turn, name, payload, at) VALUES ($1, $2, $3, $4)");
/// `settled <> 1` and not `= 0`: Postgres is to look the turn up by its id, not
/// to walk through the index of all open turns.
pub(crate) const SETTLE: Sql = sql!(
    "UPDATE opencode_turns SET settled = 1, worker = NULL, leased_at = NULL, lease_expires_at = NULL \
     WHERE id = $1 AND generation = $2 AND worker IS NOT NULL AND state = 'finished' AND settled <> 1"
);
/// Any worker can claim it, to settle it.
const LEAVE_BEHIND: Sql =
    sql!("UPDATE opencode_turns SET lease_expires_at = 0 WHERE id = $1 AND state = 'finished'");
/// Nobody has a lease on it, and nobody could.
const SETTLE_UNREADABLE: Sql =
    sql!("UPDATE opencode_turns SET settled = 1 WHERE id = $1 AND state = 'finished'");
const REQUEST_CANCEL: Sql = sql!(
    "UPDATE opencode_turns SET cancel_requested_at = $2, cancel_reason = $3 WHERE id = $1 AND cancel_requested_at IS NULL"
);

/// Writes an end: to the turn, its message and its record.
async fn end(
    on: &mut impl Handle,
    turn: &Standing,
    finish: &Finish,
    now: Timestamp,
) -> SqlResult<()> {
    if on
        .execute(END, args![turn.id, word(finish.status)?, now])
        .await?
        != 1
    {
        return Err(
            StoreError::Unexpected(format!("turn {} ended while it was locked", turn.id)).into(),
        );
    }
    progress::fold(on, turn.id).await?;
    messages::end(on, turn.message, finish, now).await?;
    words::write_of(on, turn.conversation).await?;
    on.execute(
        ADD_EVENT,
        args![turn.id, Finish::EVENT, json(&finish.event())?, now],
    )
    .await?;
    ledger::end(on, turn.id, turn.conversation, &finish.spent, now).await?;
    let owed = EffectKind::turn_end(turn.conversation, turn.id, turn.message, finish.status);
    effects::add_end(on, turn.id, &owed, now).await
}

pub(crate) async fn finish(
    on: &mut impl Handle,
    lease: &Lease,
    finish: &Finish,
) -> SqlResult<Finished> {
    let standing = turns::standing(on, lease.turn).await?;
    let turn = standing
        .filter(|turn| turn.generation == lease.generation)
        .ok_or(lost(lease.turn))?;
    match turn.phase {
        Phase::Finished { status, .. } => return Ok(Finished::Already(status)),
        Phase::Running if turn.leased => {}
        Phase::Running | Phase::Queued => return Err(lost(lease.turn).into()),
    }
    let now = on.now().await?;
    let cancelled = turn
        .cancel_requested
        .then(|| finish.clone().after_cancel(turn.cancel_reason.clone()));
    let finish = cancelled.as_ref().unwrap_or(finish);
    end(on, &turn, finish, now).await?;
    Ok(Finished::Stored(finish.status))
}

pub(crate) async fn settle(on: &mut impl Handle, lease: &Lease) -> SqlResult<bool> {
    if on
        .execute(SETTLE, args![lease.turn, lease.generation])
        .await?
        == 1
    {
        let now = on.now().await?;
        effects::release(on, lease.turn, now).await?;
        arrivals::add_of_turn(on, lease.turn).await?;
        return Ok(true);
    }
    let standing = turns::standing(on, lease.turn).await?;
    let turn = standing
        .filter(|turn| turn.generation == lease.generation)
        .ok_or(lost(lease.turn))?;
    match turn.phase {
        Phase::Finished { settled: true, .. } => Ok(false),
        Phase::Running if turn.leased => Ok(false),
        Phase::Running | Phase::Queued | Phase::Finished { .. } => Err(lost(lease.turn).into()),
    }
}

pub(crate) async fn request_cancel(
    on: &mut impl Handle,
    id: TurnId,
    reason: Option<&str>,
) -> SqlResult<CancelOutcome> {
    let turn = turns::standing(on, id).await?;
    let turn = turn.ok_or_else(|| StoreError::NotFound {
        what: "turn",
        id: id.to_string(),
    })?;
    let now = on.now().await?;
    cancel(on, &turn, reason, now).await
}

/// Cancels a turn whose row is locked.
pub(crate) async fn cancel(
    on: &mut impl Handle,
    turn: &Standing,
    reason: Option<&str>,
    now: Timestamp,
) -> SqlResult<CancelOutcome> {
    if let Phase::Finished { status, .. } = turn.phase {
        return Ok(CancelOutcome::Already(status));
    }
    let kept = reason.map(|reason| escape(reason).into_owned());
    on.execute(REQUEST_CANCEL, args![turn.id, now, kept])
        .await?;
    if turn.phase != Phase::Queued || turn.prompted {
        return Ok(CancelOutcome::Requested);
    }
    let reason = if turn.cancel_requested {
        turn.cancel_reason.clone()
    } else {
        reason.map(str::to_owned)
    };
    let waited = now.since(turn.created_at);
    let never_started = Finish::never_started(waited).after_cancel(reason);
    end(on, turn, &never_started, now).await?;
    match turns::by_id(on, turn.id).await {
        Err(Failure::Store(StoreError::Corrupt { .. })) => {
            on.execute(SETTLE_UNREADABLE, args![turn.id]).await?;
            effects::release(on, turn.id, now).await?;
            arrivals::add_of_turn(on, turn.id).await?;
        }
        read => {
            read?;
            on.execute(LEAVE_BEHIND, args![turn.id]).await?;
        }
    }
    on.wake().await?;
    Ok(CancelOutcome::Cancelled)
}
