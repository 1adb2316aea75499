//! Schedules: prompts that are submitted again and again.

use std::time::Duration;

use opencode_host::clock::Timestamp;
use opencode_host::id::{ConversationId, ScheduleId};
use opencode_host::store::{Schedule, StoreError, StoreResult};

use crate::columns::{Columns, json};
use crate::engine::{Arg, Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

/// How much later one is due again that cannot be read.
const UNREAD: Duration = Duration::from_secs(3600);

macro_rules! select {
    ($($rest:literal)+) => {
        sql!("SELECT id, next_at, record FROM opencode_schedules ", $($rest),+)
    };
}

/// Nothing is added to a conversation that is not there.
const ADD: Sql = sql!(
    "INSERT INTO opencode_schedules (id, conversation, next_at, record) \
     SELECT $1, c.id, $3, $4 FROM opencode_conversations AS c WHERE c.id = $2"
);
pub(crate) const BY_ID: Sql = select!("WHERE id = $1");
pub(crate) const OF_CONVERSATION: Sql = select!("WHERE conversation = $1 ORDER BY id");
pub(crate) const DUE: Sql = select!("WHERE next_at <= $1 ORDER BY next_at, id LIMIT $2");
pub(crate) const NEXT_DUE: Sql = select!("WHERE next_at IS NOT NULL ORDER BY next_at, id LIMIT 1");
pub(crate) const SWAP: Sql = Sql {
    sqlite: "UPDATE opencode_schedules SET next_at = $3, record = $4 WHERE id = $1 AND next_at IS $2",
    postgres: "UPDATE opencode_schedules SET next_at = $3, record = $4 WHERE id = $1 AND next_at IS NOT DISTINCT FROM $2",
};
pub(crate) const PUT_OFF: Sql =
    sql!("UPDATE opencode_schedules SET next_at = $2 WHERE id = $1 AND next_at <= $3");
pub(crate) const DELETE: Sql = sql!("DELETE FROM opencode_schedules WHERE id = $1");

fn read(row: &impl Row) -> StoreResult<Schedule> {
    let columns = Columns::new(row, "schedules", "id")?;
    let mut schedule: Schedule = columns.json("record")?;
    schedule.next_at = columns.optional_time("next_at")?;
    Ok(schedule)
}

fn moment(at: Option<Timestamp>) -> Arg<'static> {
    Arg::Int(at.map(|at| at.0))
}

pub(crate) async fn add(on: &mut impl Handle, schedule: &Schedule) -> SqlResult<()> {
    let args = [
        schedule.id.to_string().into(),
        schedule.conversation.into(),
        moment(schedule.next_at),
        json(schedule)?.into(),
    ];
    if on.execute(ADD, &args).await? == 0 {
        return Err(StoreError::not_found("conversation", schedule.conversation).into());
    }
    Ok(())
}

pub(crate) async fn by_id(on: &mut impl Handle, id: ScheduleId) -> SqlResult<Option<Schedule>> {
    let row = on.row(BY_ID, args![id.to_string()]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

pub(crate) async fn of_conversation(
    on: &mut impl Handle,
    conversation: ConversationId,
) -> SqlResult<Vec<Schedule>> {
    let rows = on.rows(OF_CONVERSATION, args![conversation]).await?;
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}

/// Those that are due; or which one cannot be read, and why.
pub(crate) async fn due(
    on: &mut impl Handle,
    limit: u32,
) -> SqlResult<Result<Vec<Schedule>, (String, StoreError)>> {
    let now = on.now().await?;
    let rows = on.rows(DUE, args![now, limit]).await?;
    let mut due = Vec::new();
    for row in &rows {
        match read(row) {
            Ok(schedule) => due.push(schedule),
            // Those before it first.
            Err(_) if !due.is_empty() => break,
            Err(error) => {
                let id = Columns::new(row, "schedules", "id")?.text("id")?;
                return Ok(Err((id, error)));
            }
        }
    }
    Ok(Ok(due))
}

/// One that cannot be read holds up no others.
pub(crate) async fn put_off(on: &mut impl Handle, id: &str) -> SqlResult<()> {
    let now = on.now().await?;
    on.execute(PUT_OFF, args![id, now.after(UNREAD), now])
        .await?;
    Ok(())
}

pub(crate) async fn next_due(on: &mut impl Handle) -> SqlResult<Option<Timestamp>> {
    match on.row(NEXT_DUE, args![]).await? {
        Some(row) => Ok(Some(
            Columns::new(&row, "schedules", "id")?.time("next_at")?,
        )),
        None => Ok(None),
    }
}

pub(crate) async fn swap(
    on: &mut impl Handle,
    expected: &Schedule,
    new: &Schedule,
) -> SqlResult<bool> {
    let args = [
        expected.id.to_string().into(),
        moment(expected.next_at),
        moment(new.next_at),
        json(new)?.into(),
    ];
    Ok(on.execute(SWAP, &args).await? == 1)
}

pub(crate) async fn delete(on: &mut impl Handle, id: ScheduleId) -> SqlResult<bool> {
    Ok(on.execute(DELETE, args![id.to_string()]).await? == 1)
}
