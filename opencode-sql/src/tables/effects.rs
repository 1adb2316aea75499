//! What commits owe to the world outside.

use std::time::Duration;

use opencode_host::clock::Timestamp;
use opencode_host::id::{EffectId, TurnId};
use opencode_host::store::{
    AskedRequest, Effect, EffectKind, Lane, StoreError, StoreResult, Take, Tried,
};

use crate::columns::{Columns, escape, json};
use crate::engine::{Arg, Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

macro_rules! columns {
    () => {
        "id, tenant, kind, created_at, set_at, due_at, attempts, error"
    };
}

const ADD: Sql = sql!(
    "INSERT INTO opencode_effects (",
    columns!(),
    ", lane) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
);
/// What the end of a turn owes, held.
const ADD_END: Sql = sql!(
    "INSERT INTO opencode_effects (",
    columns!(),
    ", lane) SELECT t.id, c.tenant, $2, $3, $3, NULL, 0, NULL, $4 \
     FROM opencode_turns AS t JOIN opencode_conversations AS c ON c.id = t.conversation WHERE t.id = $1"
);
/// Takes one of those that are waited for. Those that another process has in its hands are passed over.
macro_rules! take {
    ($condition:literal, $lock:literal) => {
        concat!(
            "UPDATE opencode_effects SET attempts = attempts + 1, set_at = $1, due_at = $2 \
             WHERE id = (SELECT id FROM opencode_effects WHERE due_at IS NOT NULL AND ",
            $condition,
            " ORDER BY due_at, id LIMIT 1",
            $lock,
            ") RETURNING ",
            columns!(),
        )
    };
    ($condition:literal) => {
        Sql {
            sqlite: take!($condition, ""),
            postgres: take!($condition, " FOR UPDATE SKIP LOCKED"),
        }
    };
}
pub(crate) const TAKE: Sql = take!("lane = $3 AND due_at <= $1");
/// Set by a clock that was put back since. Such rows are few, and so are all that are not due.
const TAKE_AHEAD: Sql = take!("lane = $3 AND set_at > $1");
pub(crate) const TAKE_THIS: Sql = take!("id = $3 AND (due_at <= $1 OR set_at > $1)");
pub(crate) const IS_DUE: Sql = sql!(
    "SELECT id FROM opencode_effects WHERE due_at IS NOT NULL AND lane = $1 AND due_at <= $2 ORDER BY due_at LIMIT 1"
);
pub(crate) const IS_AHEAD: Sql = sql!(
    "SELECT id FROM opencode_effects WHERE due_at IS NOT NULL AND lane = $1 AND set_at > $2 ORDER BY due_at LIMIT 1"
);
/// What follows from another, unless it is there.
const ADD_NEW: Sql = sql!(
    "INSERT INTO opencode_effects (",
    columns!(),
    ", lane) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING"
);
/// What the agent of a running turn asks, unless it is there.
const ADD_ASKED: Sql = sql!(
    "INSERT INTO opencode_effects (",
    columns!(),
    ", lane) SELECT $2, c.tenant, $3, $4, $4, $4, 0, NULL, $5 \
     FROM opencode_turns AS t JOIN opencode_conversations AS c ON c.id = t.conversation \
     WHERE t.id = $1 ON CONFLICT (id) DO NOTHING"
);
const SET_KIND: Sql = sql!("UPDATE opencode_effects SET kind = $3 WHERE id = $1 AND attempts = $2");
/// Each lane by one step through the index, however many effects are in it.
pub(crate) const LANES: Sql = sql!(
    "WITH RECURSIVE lanes (lane) AS ( \
       SELECT MIN(lane) FROM opencode_effects WHERE due_at IS NOT NULL \
       UNION ALL \
       SELECT (SELECT MIN(e.lane) FROM opencode_effects AS e WHERE e.due_at IS NOT NULL AND e.lane > lanes.lane) \
       FROM lanes WHERE lanes.lane IS NOT NULL) \
     SELECT lane FROM lanes WHERE lane IS NOT NULL"
);
const SET: Sql = sql!(
    "UPDATE opencode_effects SET kind = $3, set_at = $4, due_at = $5, error = $6 WHERE id = $1 AND attempts = $2"
);
const DONE: Sql = sql!("DELETE FROM opencode_effects WHERE id = $1 AND attempts = $2");
const RELEASE: Sql = sql!(
    "UPDATE opencode_effects SET set_at = $2, due_at = $2 WHERE id = $1 AND due_at IS NULL AND attempts = 0"
);
const RETRY: Sql = sql!(
    "UPDATE opencode_effects SET set_at = $2, due_at = $2 WHERE id = $1 AND due_at IS NULL AND attempts > 0"
);
pub(crate) const OLDEST: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM opencode_effects ORDER BY created_at, id LIMIT $1"
);
pub(crate) const GIVEN_UP: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM opencode_effects WHERE due_at IS NULL AND attempts > 0 ORDER BY created_at, id LIMIT $1"
);

fn read(row: &impl Row) -> StoreResult<Effect> {
    let columns = Columns::new(row, "effects", "id")?;
    let (id, tenant): (EffectId, _) = (columns.id("id")?, columns.text("tenant")?.into());
    let mut effect = Effect::new(
        id,
        &tenant,
        columns.json("kind")?,
        columns.time("created_at")?,
    );
    effect.set_at = columns.time("set_at")?;
    effect.due_at = columns.optional_time("due_at")?;
    effect.attempts = columns.count("attempts")?;
    effect.error = columns.optional_text("error")?;
    Ok(effect)
}

/// Notes an effect, unless one of its id is there.
pub(crate) async fn add_new(on: &mut impl Handle, effect: &Effect) -> SqlResult<()> {
    add_by(on, ADD_NEW, effect).await
}

pub(crate) async fn add(on: &mut impl Handle, effect: &Effect) -> SqlResult<()> {
    add_by(on, ADD, effect).await
}

async fn add_by(on: &mut impl Handle, statement: Sql, effect: &Effect) -> SqlResult<()> {
    let lane = effect.kind.lane();
    let args = args![
        effect.id.to_string(),
        escape(effect.tenant.as_str()),
        json(&effect.kind)?,
        effect.created_at,
        effect.set_at,
        due(effect),
        effect.attempts,
        error(effect),
        lane.as_str(),
    ];
    on.execute(statement, args).await?;
    Ok(())
}

/// Notes what follows from an effect that its taker still has; answers whether it does.
pub(crate) async fn follow(
    on: &mut impl Handle,
    taken: &Effect,
    with: &[Effect],
) -> SqlResult<bool> {
    let args = args![taken.id.to_string(), taken.attempts, json(&taken.kind)?];
    if on.execute(SET_KIND, args).await? != 1 {
        return Ok(false);
    }
    for effect in with {
        add_by(on, ADD_NEW, effect).await?;
    }
    Ok(true)
}

/// Notes that endpoints are to be told of a request of this turn, whose row is locked.
pub(crate) async fn add_asked(on: &mut impl Handle, asked: &AskedRequest) -> SqlResult<()> {
    let (owed, now) = (EffectKind::Asked(asked.clone()), on.now().await?);
    let (id, lane) = (asked.effect().to_string(), owed.lane());
    let args = args![asked.turn, id, json(&owed)?, now, lane.as_str()];
    on.execute(ADD_ASKED, args).await?;
    Ok(())
}

/// The lanes of the effects that are due, or will be.
pub(crate) async fn lanes(on: &mut impl Handle) -> SqlResult<Vec<Lane>> {
    let rows = on.rows(LANES, args![]).await?;
    let lanes = rows
        .iter()
        .map(|row| Ok(Columns::new(row, "effects", "lane")?.text("lane")?.into()));
    Ok(lanes.collect::<StoreResult<_>>()?)
}

/// Notes what the end of a turn owes, held until the turn is settled.
pub(crate) async fn add_end(
    on: &mut impl Handle,
    turn: TurnId,
    owed: &EffectKind,
    now: Timestamp,
) -> SqlResult<()> {
    let lane = owed.lane();
    let args = args![turn, json(owed)?, now, lane.as_str()];
    on.execute(ADD_END, args).await?;
    Ok(())
}

/// Makes due what the end of a turn owes, if it is held.
pub(crate) async fn release(on: &mut impl Handle, turn: TurnId, now: Timestamp) -> SqlResult<()> {
    on.execute(RELEASE, args![turn, now]).await?;
    Ok(())
}

fn due(effect: &Effect) -> Arg<'_> {
    Arg::Int(effect.due_at.map(|due_at| due_at.0))
}

fn error(effect: &Effect) -> Arg<'_> {
    Arg::Text(effect.error.as_deref().map(escape))
}

/// Whether there is something to take. Writes nothing, so that looking often holds nobody up.
pub(crate) async fn is_any_due(on: &mut impl Handle, lane: &Lane) -> SqlResult<bool> {
    let now = on.now().await?;
    for statement in [IS_DUE, IS_AHEAD] {
        if on
            .row(statement, args![lane.as_str(), now])
            .await?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes an effect that is due. A row that cannot be read is taken too, so that it holds up no other.
pub(crate) async fn take(
    on: &mut impl Handle,
    take: Take<'_>,
    lease: Duration,
) -> SqlResult<Result<Option<Effect>, StoreError>> {
    let now = on.now().await?;
    let until = now.after(lease);
    let taken = match take {
        Take::Due(lane) => {
            let args = args![now, until, lane.as_str()];
            match on.row(TAKE, args).await? {
                None => on.row(TAKE_AHEAD, args).await?,
                due => due,
            }
        }
        Take::This(id) => on.row(TAKE_THIS, args![now, until, id.to_string()]).await?,
        other => {
            let unknown = format!("no way to take {other:?} is known here");
            return Err(StoreError::Unexpected(unknown).into());
        }
    };
    Ok(taken.as_ref().map(read).transpose())
}

pub(crate) async fn settle(on: &mut impl Handle, taken: &Effect, tried: &Tried) -> SqlResult<()> {
    let (id, now) = (taken.id.to_string(), on.now().await?);
    match taken.clone().tried(tried, now) {
        None => on.execute(DONE, args![id, taken.attempts]).await?,
        Some(kept) => {
            let args = args![
                id,
                kept.attempts,
                json(&kept.kind)?,
                kept.set_at,
                due(&kept),
                error(&kept)
            ];
            on.execute(SET, args).await?
        }
    };
    Ok(())
}

/// How many are read at a time.
const PAGE: u32 = 100;
/// The effects of a lane that are to be tried, those first that are due first.
pub(crate) const OF_LANE: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM opencode_effects WHERE lane = $1 AND due_at IS NOT NULL ORDER BY due_at LIMIT $2"
);
const DROP: Sql = sql!("DELETE FROM opencode_effects WHERE id = $1");

/// What is left of a server's deletions when it has lost all sessions: any worker can do it.
pub(crate) async fn forget_sessions(on: &mut impl Handle, lane: &Lane) -> SqlResult<()> {
    let now = on.now().await?;
    loop {
        let rows = on.rows(OF_LANE, args![lane.as_str(), PAGE]).await?;
        let is_last = rows.len() < PAGE as usize;
        for row in rows {
            let effect = read(&row)?;
            on.execute(DROP, args![effect.id.to_string()]).await?;
            if let Some(rest) = effect.without_session(now) {
                add(on, &rest).await?;
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Makes an effect due that was given up.
pub(crate) async fn retry(on: &mut impl Handle, id: EffectId) -> SqlResult<bool> {
    let now = on.now().await?;
    Ok(on.execute(RETRY, args![id.to_string(), now]).await? == 1)
}

pub(crate) async fn oldest(on: &mut impl Handle, limit: u32) -> SqlResult<Vec<Effect>> {
    let rows = on.rows(OLDEST, args![limit]).await?;
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}

pub(crate) async fn given_up(on: &mut impl Handle, limit: u32) -> SqlResult<Vec<Effect>> {
    let rows = on.rows(GIVEN_UP, args![limit]).await?;
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}
