//! Turn rows as such.

use std::collections::HashMap;

use opencode_client::reply::{Checkpoint, Growth};
use opencode_host::clock::Timestamp;
use opencode_host::id::{ConversationId, MessageId, TurnId};
use opencode_host::store::{
    ImpossibleState, Phase, StateRow, StoreError, StoreResult, Turn, TurnEvent, TurnStanding,
    TurnStatus,
};

use super::{ROW_VERSION, arrivals, turns};
use crate::columns::{Columns, escape, json};
use crate::engine::{Arg, Handle, Row, Sql, args, locking, sql};
use crate::failure::SqlResult;

/// What has come to the checkpoint of the turn of this id, as one JSON array; NULL for nothing.
macro_rules! growths {
    ($turn:literal) => {
        concat!(
            "(SELECT '[' || string_agg(g.growth, ',' ORDER BY g.generation, g.number) || ']' \
               FROM opencode_growths AS g WHERE g.turn = ",
            $turn,
            ")"
        )
    };
}

/// When something new came to the reply.
macro_rules! progress_at {
    () => {
        "COALESCE((SELECT g.at FROM opencode_growths AS g WHERE g.turn = opencode_turns.id \
           ORDER BY g.generation DESC, g.number DESC LIMIT 1), opencode_turns.progress_at) AS progress_at"
    };
}

/// The columns that [`read`] needs, of a statement that gives the table no other name.
macro_rules! turn_columns {
    () => {
        concat!(
            "id, version, conversation, user_message, message, prompt, client_key, metadata, deadlines, \
             cancel_reason, state, status, settled, generation, attempts, prompted, resends, replaced, unreachable, \
             cancel_requested_at, checkpoint, parent, priority, not_before, created_at, started_at, finished_at, ",
            turns::growths!("opencode_turns.id"),
            " AS growths, ",
            turns::progress_at!()
        )
    };
}

pub(crate) use {growths, progress_at, turn_columns};

pub(crate) const BY_ID: Sql = sql!(
    "SELECT ",
    turn_columns!(),
    " FROM opencode_turns WHERE id = $1"
);
/// The ids are one parameter, so that any number is one statement.
macro_rules! of_these {
    ($($piece:expr),+) => {
        Sql {
            sqlite: concat!($($piece),+, " FROM opencode_turns WHERE id IN (SELECT value FROM json_each($1))"),
            postgres: concat!(
                $($piece),+,
                " FROM opencode_turns WHERE id = ANY (ARRAY(SELECT json_array_elements_text(CAST($1 AS json))))"
            ),
        }
    };
}

pub(crate) const BY_IDS: Sql = of_these!("SELECT ", turn_columns!());
pub(crate) const STANDINGS: Sql = of_these!(
    "SELECT id, state, status, settled, generation, unreachable, ",
    progress_at!(),
    ", CAST(CASE WHEN prompted IS NULL THEN 0 ELSE 1 END AS BIGINT) AS prompted"
);
pub(crate) const BY_CLIENT_KEY: Sql = sql!(
    "SELECT ",
    turn_columns!(),
    " FROM opencode_turns WHERE conversation = $1 AND client_key = $2"
);
const ADD: Sql = sql!(
    "INSERT INTO opencode_turns (id, version, conversation, user_message, message, prompt, client_key, metadata, deadlines, \
       state, checkpoint, created_at, parent, priority, not_before, server, tenant) \
     SELECT $1, $2, c.id, $4, $5, $6, $7, $8, $9, 'queued', $10, $11, $12, $13, $14, c.server, c.tenant \
     FROM opencode_conversations AS c WHERE c.id = $3"
);
pub(crate) const AHEAD: Sql = sql!(
    "SELECT e.id FROM opencode_turns AS t JOIN opencode_turns AS e \
       ON e.conversation = t.conversation AND e.settled = 0 AND e.seq < t.seq \
     WHERE t.id = $1 ORDER BY e.seq LIMIT 1"
);
pub(crate) const ACTIVE: Sql = sql!(
    "SELECT ",
    turn_columns!(),
    " FROM opencode_turns WHERE conversation = $1 AND settled = 0 AND state <> 'finished' ORDER BY seq LIMIT $2"
);
pub(crate) const EVENTS: Sql =
    sql!("SELECT turn, name, payload, at FROM opencode_turn_events WHERE turn = $1 ORDER BY seq");

pub(crate) fn read(row: &impl Row) -> StoreResult<Turn> {
    let columns = Columns::new(row, "turns", "id")?;
    let version: i64 = columns.count("version")?;
    if version > ROW_VERSION {
        let why = format!(
            "{version} is newer than {ROW_VERSION}, the newest this version reads: run the newer one"
        );
        return Err(columns.corrupt("version", why));
    }
    let mut turn = Turn::new(
        columns.id("id")?,
        columns.id("conversation")?,
        columns.id("user_message")?,
        columns.id("message")?,
        columns.json("prompt")?,
        columns.time("created_at")?,
    );
    turn.client_key = columns.optional_text("client_key")?;
    turn.metadata = columns.json("metadata")?;
    turn.deadlines = columns.optional_json("deadlines")?.unwrap_or_default();
    turn.cancel_reason = columns.optional_text("cancel_reason")?;
    let mut state = StateRow::new(phase(&columns)?);
    state.cancel_requested_at = columns.optional_time("cancel_requested_at")?;
    state.started_at = columns.optional_time("started_at")?;
    state.progress_at = columns.optional_time("progress_at")?;
    state.finished_at = columns.optional_time("finished_at")?;
    turn.state = state
        .try_into()
        .map_err(|impossible: ImpossibleState| columns.corrupt("state", impossible))?;
    turn.generation = columns.count("generation")?;
    turn.attempts = columns.count("attempts")?;
    turn.prompted = columns.optional_json("prompted")?;
    turn.resends = columns.count("resends")?;
    turn.replaced = columns.optional_text("replaced")?.map(Into::into);
    turn.unreachable = columns.flag("unreachable")?;
    turn.checkpoint = checkpoint(&columns)?.unwrap_or_default();
    turn.parent = parent(&columns)?;
    turn.priority = priority(&columns)?;
    turn.not_before = columns.optional_time("not_before")?;
    Ok(turn)
}

/// What was saved of a reply, where anything was: the whole, and what has come since.
pub(crate) fn checkpoint(columns: &Columns<'_, impl Row>) -> StoreResult<Option<Checkpoint>> {
    let mut checkpoint: Option<Checkpoint> = columns.optional_json("checkpoint")?;
    let growths: Option<Vec<Growth>> = columns.optional_json("growths")?;
    for growth in growths.into_iter().flatten() {
        let grown = checkpoint.get_or_insert_default().grow(growth);
        grown.map_err(|mismatch| columns.corrupt("growths", mismatch))?;
    }
    Ok(checkpoint)
}

/// The turn that one goes on from: a turn without one has an empty text, so that its versions are found by what they have
/// in common.
pub(crate) fn parent(columns: &Columns<'_, impl Row>) -> StoreResult<Option<TurnId>> {
    if columns.text("parent")?.is_empty() {
        return Ok(None);
    }
    columns.id("parent").map(Some)
}

fn priority(columns: &Columns<'_, impl Row>) -> StoreResult<i8> {
    let number = columns.time("priority")?.0;
    i8::try_from(number).map_err(|error| columns.corrupt("priority", error))
}

fn phase(columns: &Columns<'_, impl Row>) -> StoreResult<Phase> {
    match columns.text("state")?.as_str() {
        "queued" => Ok(Phase::Queued),
        "running" => Ok(Phase::Running),
        "finished" => Ok(Phase::Finished {
            status: columns.word("status")?,
            settled: columns.flag("settled")?,
        }),
        other => Err(columns.corrupt("state", format!("{other:?} is unknown"))),
    }
}

pub(crate) async fn by_id(on: &mut impl Handle, id: TurnId) -> SqlResult<Option<Turn>> {
    let row = on.row(BY_ID, args![id]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// Those that there are. What cannot be read is left out.
pub(crate) async fn by_ids(on: &mut impl Handle, ids: &[TurnId]) -> SqlResult<Vec<Turn>> {
    let rows = on.rows(BY_IDS, args![json(&ids)?]).await?;
    Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
}

/// How turns stand, in their order.
pub(crate) async fn standings(
    on: &mut impl Handle,
    ids: &[TurnId],
) -> SqlResult<Vec<Option<TurnStanding>>> {
    let rows = on.rows(STANDINGS, args![json(&ids)?]).await?;
    let mut standings = HashMap::with_capacity(rows.len());
    for row in &rows {
        let columns = Columns::new(row, "turns", "id")?;
        let id: TurnId = columns.id("id")?;
        standings.insert(id, standing_of(&columns).unwrap_or_default());
    }
    Ok(ids.iter().map(|id| standings.get(id).copied()).collect())
}

fn standing_of(columns: &Columns<'_, impl Row>) -> StoreResult<TurnStanding> {
    let mut standing = TurnStanding::default();
    if let Phase::Finished { status, settled } = phase(columns)? {
        let was_prompted = columns.flag("prompted")?;
        standing.over = settled || (status == TurnStatus::Cancelled && !was_prompted);
    }
    standing.generation = columns.count("generation")?;
    standing.unreachable = columns.flag("unreachable")?;
    standing.progress_at = columns.optional_time("progress_at")?;
    Ok(standing)
}

pub(crate) async fn by_client_key(
    on: &mut impl Handle,
    conversation: ConversationId,
    key: &str,
) -> SqlResult<Option<Turn>> {
    let row = on
        .row(BY_CLIENT_KEY, args![conversation, escape(key)])
        .await?;
    Ok(row.as_ref().map(read).transpose()?)
}

pub(crate) async fn add(on: &mut impl Handle, turn: &Turn) -> SqlResult<()> {
    let args = args![
        turn.id,
        ROW_VERSION,
        turn.conversation,
        turn.user_message,
        turn.message,
        json(&turn.prompt)?,
        turn.client_key
            .as_deref()
            .map(|key| escape(key).into_owned()),
        json(&turn.metadata)?,
        json(&turn.deadlines)?,
        json(&turn.checkpoint)?,
        turn.created_at,
        turn.parent
            .map(|parent| parent.to_string())
            .unwrap_or_default(),
        i64::from(turn.priority),
        Arg::Int(turn.not_before.map(|at| at.0)),
    ];
    on.execute(ADD, args).await?;
    arrivals::add(on, turn.conversation, turn.not_before).await
}

pub(crate) async fn ahead(on: &mut impl Handle, id: TurnId) -> SqlResult<Option<TurnId>> {
    let Some(row) = on.row(AHEAD, args![id]).await? else {
        return Ok(None);
    };
    Ok(Some(Columns::new(&row, "turns", "id")?.id("id")?))
}

/// The queued and running turns of a conversation, oldest first.
pub(crate) async fn active(
    on: &mut impl Handle,
    conversation: ConversationId,
    limit: u32,
) -> SqlResult<Vec<Turn>> {
    let rows = on.rows(ACTIVE, args![conversation, limit]).await?;
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}

pub(crate) async fn events(on: &mut impl Handle, id: TurnId) -> SqlResult<Vec<TurnEvent>> {
    let rows = on.rows(EVENTS, args![id]).await?;
    let events = rows.iter().map(|row| {
        let columns = Columns::new(row, "turn_events", "turn")?;
        let (payload, at) = (columns.json("payload")?, columns.time("at")?);
        Ok(TurnEvent::new(columns.text("name")?, payload, at))
    });
    Ok(events.collect::<StoreResult<_>>()?)
}

/// What of a turn decides whether it may be written to. Read without the rest,
/// so that a turn can be cancelled whose prompt cannot be read.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) id: TurnId,
    pub(crate) conversation: ConversationId,
    pub(crate) message: MessageId,
    pub(crate) phase: Phase,
    pub(crate) generation: u64,
    /// Somebody has a lease, run out or not.
    pub(crate) leased: bool,
    pub(crate) prompted: bool,
    pub(crate) cancel_requested: bool,
    pub(crate) cancel_reason: Option<String>,
    pub(crate) created_at: Timestamp,
}

macro_rules! standing_columns {
    () => {
        "id, conversation, message, state, status, settled, generation, worker, prompted, cancel_requested_at, \
         cancel_reason, created_at"
    };
}

const STANDING: Sql = locking!(
    "SELECT ",
    standing_columns!(),
    " FROM opencode_turns WHERE id = $1"
);
pub(crate) const UNFINISHED: Sql = locking!(
    "SELECT ",
    standing_columns!(),
    " FROM opencode_turns WHERE conversation = $1 AND settled = 0 AND state <> 'finished' ORDER BY seq"
);

pub(crate) const UNSETTLED: Sql =
    sql!("SELECT id FROM opencode_turns WHERE conversation = $1 AND settled = 0 ORDER BY seq");

/// Locks nothing: a claim would pass the turn over meanwhile.
pub(crate) const OLDEST_UNFINISHED: Sql = sql!(
    "SELECT id FROM opencode_turns WHERE conversation = $1 AND settled = 0 AND state <> 'finished' ORDER BY seq LIMIT 1"
);

fn read_standing(row: &impl Row) -> StoreResult<Standing> {
    let columns = Columns::new(row, "turns", "id")?;
    Ok(Standing {
        id: columns.id("id")?,
        conversation: columns.id("conversation")?,
        message: columns.id("message")?,
        phase: phase(&columns)?,
        generation: columns.count("generation")?,
        leased: columns.optional_raw("worker")?.is_some(),
        prompted: columns.optional_raw("prompted")?.is_some(),
        cancel_requested: columns.optional_time("cancel_requested_at")?.is_some(),
        cancel_reason: columns.optional_text("cancel_reason")?,
        created_at: columns.time("created_at")?,
    })
}

/// How a turn stands. Nobody else changes that until the transaction ends.
pub(crate) async fn standing(on: &mut impl Handle, id: TurnId) -> SqlResult<Option<Standing>> {
    let row = on.row(STANDING, args![id]).await?;
    Ok(row.as_ref().map(read_standing).transpose()?)
}

/// How the queued and running turns of a conversation stand, oldest first.
/// Nobody else changes that until the transaction ends.
pub(crate) async fn unfinished(
    on: &mut impl Handle,
    conversation: ConversationId,
) -> SqlResult<Vec<Standing>> {
    let rows = on.rows(UNFINISHED, args![conversation]).await?;
    Ok(rows.iter().map(read_standing).collect::<StoreResult<_>>()?)
}

/// The turns of a conversation that are not settled, oldest first.
pub(crate) async fn unsettled(
    on: &mut impl Handle,
    conversation: ConversationId,
) -> SqlResult<Vec<TurnId>> {
    let rows = on.rows(UNSETTLED, args![conversation]).await?;
    let ids = rows
        .iter()
        .map(|row| Columns::new(row, "turns", "id")?.id("id"));
    Ok(ids.collect::<StoreResult<_>>()?)
}

/// The oldest queued or running turn of a conversation.
pub(crate) async fn oldest_unfinished(
    on: &mut impl Handle,
    conversation: ConversationId,
) -> SqlResult<Option<TurnId>> {
    let row = on.row(OLDEST_UNFINISHED, args![conversation]).await?;
    Ok(row
        .map(|row| Columns::new(&row, "turns", "id")?.id("id"))
        .transpose()?)
}

pub(crate) fn lost(turn: TurnId) -> StoreError {
    StoreError::LeaseLost { turn }
}
