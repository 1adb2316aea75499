//! What the worker of a turn may do to it while its lease is good: the turn's
//! generation is the lease's, and nobody has given the turn back.

use std::collections::HashMap;
use std::time::Duration;

use opencode_host::id::TurnId;
use opencode_host::store::{AskedRequest, Lease, LeaseStatus, Note, Phase, StoreError};
use serde_json::json;

use super::turns::{self, Standing, lost};
use super::{arrivals, effects};
use crate::columns::{Columns, escape, json};
use crate::engine::{Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

/// The leases are one parameter, so that any number is one statement. On Postgres rows that are written are locked in
/// the order of their ids first: two statements over the same turns do not wait for each other then.
macro_rules! wanted {
    (sqlite) => {
        "(SELECT value ->> 'turn' AS turn, value ->> 'generation' AS generation FROM json_each($1)) AS l"
    };
    (postgres) => {
        "json_to_recordset(CAST($1 AS json)) AS l(turn text, generation bigint)"
    };
}

pub(super) use wanted;

macro_rules! held {
    (sqlite) => {
        wanted!(sqlite)
    };
    (postgres) => {
        concat!(
            "(SELECT l.turn, l.generation FROM ",
            wanted!(postgres),
            " JOIN opencode_turns AS r ON r.id = l.turn ORDER BY r.id FOR NO KEY UPDATE OF r) AS l"
        )
    };
}

/// Whether there are answers for the turn's worker to send.
macro_rules! answers {
    () => {
        "CAST(CASE WHEN EXISTS (SELECT 1 FROM opencode_answers AS a WHERE a.turn = opencode_turns.id AND a.open = 1) \
           THEN 1 ELSE 0 END AS BIGINT) AS answers"
    };
}

macro_rules! renew {
    ($engine:ident) => {
        concat!(
            "UPDATE opencode_turns SET leased_at = $2, lease_expires_at = $2 + $3 FROM ",
            held!($engine),
            " WHERE opencode_turns.id = l.turn AND opencode_turns.generation = l.generation \
               AND opencode_turns.worker IS NOT NULL \
             RETURNING id, opencode_turns.generation, cancel_requested_at, ",
            answers!()
        )
    };
}

macro_rules! check {
    ($engine:ident) => {
        concat!(
            "SELECT opencode_turns.id, opencode_turns.generation, opencode_turns.cancel_requested_at, ",
            answers!(),
            " FROM ",
            wanted!($engine),
            " JOIN opencode_turns ON opencode_turns.id = l.turn AND opencode_turns.generation = l.generation \
             WHERE opencode_turns.worker IS NOT NULL"
        )
    };
}

pub(crate) const RENEW: Sql = Sql {
    sqlite: renew!(sqlite),
    postgres: renew!(postgres),
};
pub(crate) const CHECK: Sql = Sql {
    sqlite: check!(sqlite),
    postgres: check!(postgres),
};
/// What was running is queued again; what had finished can be claimed at once, to be settled.
pub(crate) const RELEASE: Sql = sql!(
    "UPDATE opencode_turns SET worker = NULL, leased_at = NULL, \
       lease_expires_at = CASE state WHEN 'finished' THEN 0 ELSE NULL END, \
       state = CASE state WHEN 'running' THEN 'queued' ELSE state END, waits = 0, \
       attempts = CASE WHEN attempts > 0 THEN attempts - 1 ELSE 0 END \
     WHERE id = $1 AND generation = $2 AND worker IS NOT NULL"
);
pub(crate) const RECORD_PROMPT: Sql = sql!(
    "UPDATE opencode_turns SET prompted = $3, \
       resends = resends + CASE WHEN prompted IS NOT DISTINCT FROM $3 THEN 0 ELSE $4 END \
     WHERE id = $1 AND generation = $2 AND worker IS NOT NULL AND state = 'running'"
);
/// The first one stays.
pub(crate) const RECORD_REPLACEMENT: Sql = sql!(
    "UPDATE opencode_turns SET replaced = COALESCE(replaced, $3) \
     WHERE id = $1 AND generation = $2 AND worker IS NOT NULL AND state = 'running'"
);
const SET_UNREACHABLE: Sql = sql!(
    "UPDATE opencode_turns SET unreachable = $3 \
     WHERE id = $1 AND generation = $2 AND worker IS NOT NULL AND state = 'running'"
);

pub(crate) const SET_WAITS: Sql = sql!(
    "UPDATE opencode_turns SET waits = $3, attempts = CASE $3 WHEN 1 THEN 0 ELSE attempts END \
     WHERE id = $1 AND generation = $2 AND worker IS NOT NULL AND state = 'running'"
);

pub(crate) async fn renew(
    on: &mut impl Handle,
    leases: &[Lease],
    length: Duration,
) -> SqlResult<Vec<LeaseStatus>> {
    let now = on.now().await?;
    let rows = on
        .rows(RENEW, args![listed(leases)?, now, millis(length)])
        .await?;
    statuses(leases, &rows)
}

/// The length of a lease. A thousand years are enough, and no time overflows by them.
pub(crate) fn millis(length: Duration) -> i64 {
    const MILLENNIUM: i64 = 1000 * 366 * 86_400_000;
    i64::try_from(length.as_millis())
        .unwrap_or(MILLENNIUM)
        .min(MILLENNIUM)
}

pub(crate) async fn check(on: &mut impl Handle, leases: &[Lease]) -> SqlResult<Vec<LeaseStatus>> {
    let rows = on.rows(CHECK, args![listed(leases)?]).await?;
    statuses(leases, &rows)
}

/// Leases as one parameter.
pub(super) fn listed(leases: &[Lease]) -> SqlResult<String> {
    let list: Vec<_> = leases
        .iter()
        .map(|lease| json!({"turn": lease.turn, "generation": lease.generation}))
        .collect();
    Ok(json(&list)?)
}

fn statuses(leases: &[Lease], rows: &[impl Row]) -> SqlResult<Vec<LeaseStatus>> {
    let mut held = HashMap::new();
    for row in rows {
        let columns = Columns::new(row, "turns", "id")?;
        let turn: TurnId = columns.id("id")?;
        let cancel_requested = columns.optional_time("cancel_requested_at")?.is_some();
        held.insert(
            (turn, columns.count::<u64>("generation")?),
            LeaseStatus::Held {
                cancel_requested,
                answers: columns.flag("answers")?,
            },
        );
    }
    let status = |lease: &Lease| {
        held.get(&(lease.turn, lease.generation))
            .copied()
            .unwrap_or(LeaseStatus::Lost)
    };
    Ok(leases.iter().map(status).collect())
}

pub(crate) async fn release(on: &mut impl Handle, lease: &Lease) -> SqlResult<()> {
    let changed = on
        .execute(RELEASE, args![lease.turn, lease.generation])
        .await?;
    if changed == 1 {
        arrivals::add_of_turn(on, lease.turn).await?;
        on.wake().await
    } else {
        Err(lost(lease.turn).into())
    }
}

/// How the running turn of a good lease stands. Nobody else changes that until the transaction ends.
pub(crate) async fn running(on: &mut impl Handle, lease: &Lease) -> SqlResult<Standing> {
    let standing = turns::standing(on, lease.turn).await?;
    let ours = |turn: &Standing| {
        turn.generation == lease.generation && turn.leased && turn.phase == Phase::Running
    };
    Ok(standing.filter(ours).ok_or(lost(lease.turn))?)
}

/// Writes a note of the turn's worker.
pub(crate) async fn note(on: &mut impl Handle, lease: &Lease, note: Note<'_>) -> SqlResult<()> {
    let changed = match note {
        Note::Prompt(prompt) => {
            let args = args![lease.turn, lease.generation, json(prompt)?, prompt.resend];
            on.execute(RECORD_PROMPT, args).await?
        }
        Note::Replacement(lost) => {
            let args = args![lease.turn, lease.generation, escape(lost.as_str())];
            on.execute(RECORD_REPLACEMENT, args).await?
        }
        Note::Asked(asked) => return self::asked(on, lease, asked).await,
        Note::Waiting(waits) => {
            let args = args![lease.turn, lease.generation, waits];
            on.execute(SET_WAITS, args).await?
        }
        Note::Unreachable(unreachable) => {
            let args = args![lease.turn, lease.generation, unreachable];
            on.execute(SET_UNREACHABLE, args).await?
        }
        other => {
            let unknown = format!("this store does not know the note {:?}", other.name());
            return Err(StoreError::Unexpected(unknown).into());
        }
    };
    if changed == 1 {
        Ok(())
    } else {
        Err(lost(lease.turn).into())
    }
}

async fn asked(on: &mut impl Handle, lease: &Lease, asked: &AskedRequest) -> SqlResult<()> {
    let standing = turns::standing(on, lease.turn).await?;
    let is_running = |turn: &Standing| {
        turn.generation == lease.generation && turn.leased && turn.phase == Phase::Running
    };
    if !standing.as_ref().is_some_and(is_running) {
        return Err(lost(lease.turn).into());
    }
    effects::add_asked(on, asked).await
}
