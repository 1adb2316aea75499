//! What commits owe to the world outside.

use std::time::Duration;

use opencode_host::id::EffectId;
use opencode_host::store::{Effect, StoreError, StoreResult, Tried};

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
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
);
/// Those that another process has in its hands are passed over.
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
}
pub(crate) const TAKE: Sql = Sql {
    sqlite: take!("due_at <= $1", ""),
    postgres: take!("due_at <= $1", " FOR UPDATE SKIP LOCKED"),
};
/// Set by a clock that was put back since. Such rows are few, and so are all that are not due.
const TAKE_AHEAD: Sql = Sql {
    sqlite: take!("set_at > $1", ""),
    postgres: take!("set_at > $1", " FOR UPDATE SKIP LOCKED"),
};
/// Whether any waits for a try, due or not: as a rule none does.
pub(crate) const WAITING: Sql =
    sql!("SELECT id FROM opencode_effects WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1");
const SET: Sql = sql!(
    "UPDATE opencode_effects SET set_at = $3, due_at = $4, error = $5 WHERE id = $1 AND attempts = $2"
);
const DONE: Sql = sql!("DELETE FROM opencode_effects WHERE id = $1 AND attempts = $2");
pub(crate) const OLDEST: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM opencode_effects ORDER BY created_at, id LIMIT $1"
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

pub(crate) async fn add(on: &mut impl Handle, effect: &Effect) -> SqlResult<()> {
    let args = args![
        effect.id.to_string(),
        escape(effect.tenant.as_str()),
        json(&effect.kind)?,
        effect.created_at,
        effect.set_at,
        due(effect),
        effect.attempts,
        error(effect),
    ];
    on.execute(ADD, args).await?;
    Ok(())
}

fn due(effect: &Effect) -> Arg<'_> {
    Arg::Int(effect.due_at.map(|due_at| due_at.0))
}

fn error(effect: &Effect) -> Arg<'_> {
    Arg::Text(effect.error.as_deref().map(escape))
}

/// Whether there may be something to take. Writes nothing, so that looking often holds nobody up.
pub(crate) async fn is_any_waiting(on: &mut impl Handle) -> SqlResult<bool> {
    Ok(on.row(WAITING, &[]).await?.is_some())
}

/// Takes what is due longest. A row that cannot be read is taken too, so that it holds up no other.
pub(crate) async fn take(
    on: &mut impl Handle,
    lease: Duration,
) -> SqlResult<Result<Option<Effect>, StoreError>> {
    let now = on.now().await?;
    for statement in [TAKE, TAKE_AHEAD] {
        if let Some(row) = on.row(statement, args![now, now.after(lease)]).await? {
            return Ok(read(&row).map(Some));
        }
    }
    Ok(Ok(None))
}

pub(crate) async fn settle(on: &mut impl Handle, taken: &Effect, tried: &Tried) -> SqlResult<()> {
    let (id, now) = (taken.id.to_string(), on.now().await?);
    match taken.clone().tried(tried, now) {
        None => on.execute(DONE, args![id, taken.attempts]).await?,
        Some(kept) => {
            let args = args![id, kept.attempts, kept.set_at, due(&kept), error(&kept)];
            on.execute(SET, args).await?
        }
    };
    Ok(())
}

pub(crate) async fn oldest(on: &mut impl Handle, limit: u32) -> SqlResult<Vec<Effect>> {
    let rows = on.rows(OLDEST, args![limit]).await?;
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}
