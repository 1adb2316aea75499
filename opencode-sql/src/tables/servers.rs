//! OpenCode servers, and which conversation is placed on which.

use std::num::NonZeroU32;
use std::time::Duration;

use opencode_host::id::{ConversationId, TurnId};
use opencode_host::store::{
    Effect, Lane, Server, ServerLoad, ServerName, ServerProblem, ServerReport, SessionRecord,
    StoreError, StoreResult, Tenant, Unplaced, WorkerId,
};

use super::{ROW_VERSION, arrivals, conversations, effects, turns};
use crate::columns::{Columns, escape, json};
use crate::engine::{Arg, Handle, Row, Sql, args, locking, sql};
use crate::failure::{Failure, SqlResult};

macro_rules! columns {
    () => {
        "name, address, labels, capacity, draining, heard_at, heard_by, gone_at, problem, created_at"
    };
}

/// One that answers.
const HEARD: Sql = sql!(
    "INSERT INTO opencode_servers (name, address, labels, capacity, heard_at, created_at, heard_by) \
     VALUES ($1, $2, $3, $4, $5, $5, $6) ON CONFLICT (name) DO UPDATE \
     SET address = $2, labels = $3, capacity = $4, heard_at = $5, heard_by = $6 RETURNING ",
    columns!()
);
const NAMED: Sql = sql!(
    "INSERT INTO opencode_servers (name, address, labels, capacity, created_at) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING"
);
pub(crate) const BY_NAME: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM opencode_servers WHERE name = $1"
);
/// Nobody else changes it, or places something there, until the transaction ends.
const LOCK: Sql = locking!(
    "SELECT ",
    columns!(),
    " FROM opencode_servers WHERE name = $1"
);
const ALL: Sql = sql!(
    "SELECT ",
    columns!(),
    ", (SELECT COUNT(*) FROM opencode_turns AS t \
        WHERE t.server = opencode_servers.name AND t.settled = 0 AND t.state = 'running') AS running, \
       (SELECT COUNT(*) FROM opencode_turns AS t \
        WHERE t.server = opencode_servers.name AND t.settled = 0 AND t.state = 'queued') AS queued \
     FROM opencode_servers ORDER BY name"
);
const SET_PROBLEM: Sql = sql!("UPDATE opencode_servers SET problem = $2 WHERE name = $1");
const LEAVE: Sql =
    sql!("UPDATE opencode_servers SET heard_by = NULL WHERE name = $1 AND heard_by = $2");
const SET_DRAINING: Sql = sql!("UPDATE opencode_servers SET draining = $2 WHERE name = $1");
const LOSE_SILENT: Sql = sql!(
    "UPDATE opencode_servers SET gone_at = $2 \
     WHERE name <> $1 AND gone_at IS NULL AND COALESCE(heard_at, created_at) <= $3 RETURNING name"
);
const RETURNED: Sql =
    sql!("UPDATE opencode_servers SET gone_at = NULL, heard_at = $2 WHERE name = $1");
pub(crate) const ON_GONE: Sql = sql!(
    "SELECT DISTINCT t.conversation AS id, t.server \
     FROM opencode_servers AS s CROSS JOIN opencode_turns AS t \
     WHERE s.gone_at IS NOT NULL AND t.server = s.name AND t.settled = 0 LIMIT $1"
);
pub(crate) const PLACED_ON: Sql =
    sql!("SELECT id FROM opencode_conversations WHERE server = $1 ORDER BY used_at DESC LIMIT $2");
pub(crate) const SESSIONS: Sql = sql!(
    "SELECT s.conversation, s.session FROM opencode_conversations AS c \
     JOIN opencode_sessions AS s ON s.conversation = c.id \
     WHERE c.server = $1 AND s.session IS NOT NULL ORDER BY c.used_at DESC LIMIT $2"
);
macro_rules! unplaced {
    ($index:literal) => {
        concat!(
            "SELECT ",
            turns::turn_columns!(),
            " FROM opencode_turns ",
            $index,
            "WHERE opencode_turns.settled = 0 AND opencode_turns.server = '' AND opencode_turns.state <> 'finished' \
               AND opencode_turns.prompted IS NULL AND opencode_turns.unreadable_by < $2 \
               AND opencode_turns.seq > COALESCE((SELECT b.seq FROM opencode_turns AS b WHERE b.id = $1), 0) \
               AND NOT EXISTS (SELECT 1 FROM opencode_turns AS e \
                 WHERE e.conversation = opencode_turns.conversation AND e.settled = 0 AND e.seq < opencode_turns.seq) \
             ORDER BY opencode_turns.seq LIMIT $3"
        )
    };
}
/// Of turns behind the turn $1, where that is given, as readers of rows up to version $2 can read. `SQLite` would sort all of
/// them, however many there are, to have the first.
pub(crate) const UNPLACED: Sql = Sql {
    sqlite: unplaced!("INDEXED BY opencode_turns_unplaced "),
    postgres: unplaced!(""),
};
const PLACE: Sql = sql!(
    "UPDATE opencode_conversations SET server = $2, waits_for = NULL WHERE id = $1 AND server = ''"
);
pub(crate) const PLACE_TURNS: Sql =
    sql!("UPDATE opencode_turns SET server = $2 WHERE conversation = $1 AND settled = 0");
const WAITS_FOR: Sql =
    sql!("UPDATE opencode_conversations SET waits_for = $2 WHERE id = $1 AND server = ''");
const UNPLACE: Sql = sql!("UPDATE opencode_conversations SET server = '' WHERE id = $1");
/// No worker has them any more. What is only to be ended or settled can be claimed at once, by any.
pub(crate) const DISPLACE_TURNS: Sql = sql!(
    "UPDATE opencode_turns SET server = '', worker = NULL, leased_at = NULL, generation = generation + 1, \
       waits = 0, lease_expires_at = CASE WHEN state = 'finished' OR prompted IS NOT NULL THEN 0 ELSE NULL END, \
       attempts = CASE WHEN state = 'running' AND attempts > 0 THEN attempts - 1 ELSE attempts END, \
       state = CASE state WHEN 'running' THEN 'queued' ELSE state END \
     WHERE conversation = $1 AND settled = 0"
);
/// How many turns run on a server, or are queued there too, counted up to a number.
macro_rules! count {
    ($states:literal) => {
        sql!(
            "SELECT COUNT(*) AS turns FROM (SELECT t.id FROM opencode_turns AS t \
               WHERE t.server = $1 AND t.settled = 0 AND t.state ",
            $states,
            " LIMIT $2) AS counted"
        )
    };
}
pub(crate) const RUNNING: Sql = count!("= 'running'");
pub(crate) const UNFINISHED: Sql = count!("IN ('running', 'queued')");

fn read(row: &impl Row) -> StoreResult<Server> {
    let columns = Columns::new(row, "servers", "name")?;
    let mut report = ServerReport::new(columns.id("name")?, columns.text("address")?);
    report.labels = columns.json("labels")?;
    report.capacity = match columns.optional_time("capacity")? {
        None => None,
        Some(number) => {
            let capacity = u32::try_from(number.0).ok().and_then(NonZeroU32::new);
            let odd = || columns.corrupt("capacity", format!("{} is none", number.0));
            Some(capacity.ok_or_else(odd)?)
        }
    };
    let mut server = Server::new(&report, columns.time("created_at")?);
    server.draining = columns.flag("draining")?;
    server.heard_at = columns.optional_time("heard_at")?;
    server.heard_by = columns.optional_text("heard_by")?.map(WorkerId);
    server.gone_at = columns.optional_time("gone_at")?;
    server.problem = columns.optional_json("problem")?;
    Ok(server)
}

pub(crate) async fn report(on: &mut impl Handle, report: &ServerReport) -> SqlResult<Server> {
    let now = on.now().await?;
    let mut args = args![
        report.name.as_str(),
        escape(&report.address),
        json(&report.labels)?,
        Arg::Int(report.capacity.map(|capacity| capacity.get().into())),
        now,
    ]
    .to_vec();
    let row = if let Some(worker) = &report.heard_by {
        args.push(escape(&worker.0).into());
        on.row(HEARD, &args).await?
    } else {
        on.execute(NAMED, &args).await?;
        on.row(BY_NAME, args![report.name.as_str()]).await?
    };
    let gone = || StoreError::Unavailable("the server's row was deleted".to_owned());
    Ok(read(&row.ok_or_else(gone)?)?)
}

pub(crate) async fn leave(
    on: &mut impl Handle,
    server: &ServerName,
    worker: &WorkerId,
) -> SqlResult<()> {
    let args = args![server.as_str(), escape(&worker.0)];
    on.execute(LEAVE, args).await?;
    Ok(())
}

pub(crate) async fn set_problem(
    on: &mut impl Handle,
    server: &ServerName,
    problem: Option<&str>,
) -> SqlResult<()> {
    let now = on.now().await?;
    let problem = problem.map(|problem| json(&ServerProblem::new(problem, now)));
    let args = args![server.as_str(), problem.transpose()?];
    on.execute(SET_PROBLEM, args).await?;
    Ok(())
}

pub(crate) async fn all(on: &mut impl Handle) -> SqlResult<Vec<ServerLoad>> {
    let rows = on.rows(ALL, args![]).await?;
    let loads = rows.iter().map(|row| {
        let columns = Columns::new(row, "servers", "name")?;
        let (running, queued) = (columns.count("running")?, columns.count("queued")?);
        Ok(ServerLoad::new(read(row)?, running, queued))
    });
    Ok(loads.collect::<StoreResult<_>>()?)
}

pub(crate) async fn set_draining(
    on: &mut impl Handle,
    server: &ServerName,
    draining: bool,
) -> SqlResult<bool> {
    let args = args![server.as_str(), draining];
    Ok(on.execute(SET_DRAINING, args).await? == 1)
}

pub(crate) async fn lose_silent(
    on: &mut impl Handle,
    heard: &ServerName,
    silent: Duration,
) -> SqlResult<Vec<ServerName>> {
    let now = on.now().await?;
    let args = args![heard.as_str(), now, now.before(silent)];
    let rows = on.rows(LOSE_SILENT, args).await?;
    let lost = rows
        .iter()
        .map(|row| Columns::new(row, "servers", "name")?.id("name"));
    Ok(lost.collect::<StoreResult<_>>()?)
}

pub(crate) async fn returned(on: &mut impl Handle, server: &ServerName) -> SqlResult<()> {
    let now = on.now().await?;
    on.execute(RETURNED, args![server.as_str(), now]).await?;
    on.wake().await
}

/// Conversations with turns to be done on servers that are gone.
pub(crate) async fn on_gone(
    on: &mut impl Handle,
    limit: u32,
) -> SqlResult<Vec<(ConversationId, ServerName)>> {
    let rows = on.rows(ON_GONE, args![limit]).await?;
    let found = rows.iter().map(|row| {
        let columns = Columns::new(row, "turns", "id")?;
        Ok((columns.id("id")?, columns.id("server")?))
    });
    Ok(found.collect::<StoreResult<_>>()?)
}

/// Takes a conversation from a server, if it is still there, and the server still gone.
pub(crate) async fn move_from_gone(
    on: &mut impl Handle,
    id: ConversationId,
    from: &ServerName,
) -> SqlResult<bool> {
    let server = locked(on, from).await?;
    if server.is_none_or(|server| server.gone_at.is_none()) {
        return Ok(false);
    }
    let Some((session, tenant)) = displace(on, id, from).await? else {
        return Ok(false);
    };
    if let Some(session) = session {
        let now = on.now().await?;
        let left = Effect::of_left_session(id, session, from, &tenant, now);
        effects::add_new(on, &left).await?;
    }
    on.wake().await?;
    Ok(true)
}

async fn locked(on: &mut impl Handle, name: &ServerName) -> SqlResult<Option<Server>> {
    let row = on.row(LOCK, args![name.as_str()]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// Takes a conversation from its server, with its turns. Answers the session that it leaves there, and whose it is; nothing
/// where it is not there any more.
async fn displace(
    on: &mut impl Handle,
    id: ConversationId,
    from: &ServerName,
) -> SqlResult<Option<(Option<SessionRecord>, Tenant)>> {
    match conversations::lock(on, id).await {
        Err(Failure::Store(StoreError::NotFound { .. })) => return Ok(None),
        locked => locked?,
    }
    let session = conversations::locked_session(on, id).await?;
    let conversation = conversations::by_id(on, id).await?;
    let placed = conversation.filter(|row| row.server.as_ref() == Some(from));
    let Some(conversation) = placed else {
        return Ok(None);
    };
    on.execute(DISPLACE_TURNS, args![id]).await?;
    on.execute(UNPLACE, args![id]).await?;
    arrivals::add(on, id, None).await?;
    let left = session.map(|session| session.left_on(from));
    if let Some(left) = &left {
        let session = json(&left.clone().to_be_replaced())?;
        on.execute(conversations::SET_SESSION, args![id, session])
            .await?;
    }
    Ok(Some((left, conversation.tenant)))
}

/// Takes conversations from a server that has lost all sessions.
pub(crate) async fn forget_sessions(
    on: &mut impl Handle,
    server: &ServerName,
    limit: u32,
) -> SqlResult<u32> {
    let none: Option<String> = None;
    if on
        .execute(SET_PROBLEM, args![server.as_str(), none])
        .await?
        == 0
    {
        return Err(StoreError::not_found("server", server).into());
    }
    effects::forget_sessions(on, &Lane::of_deletions_on(server)).await?;
    let rows = on.rows(PLACED_ON, args![server.as_str(), limit]).await?;
    let mut forgotten = 0;
    for row in rows {
        let id = Columns::new(&row, "conversations", "id")?.id("id")?;
        if displace(on, id, server).await?.is_some() {
            forgotten += 1;
        }
    }
    on.wake().await?;
    Ok(forgotten)
}

pub(crate) async fn sessions(
    on: &mut impl Handle,
    server: &ServerName,
    limit: u32,
) -> SqlResult<Vec<SessionRecord>> {
    let rows = on.rows(SESSIONS, args![server.as_str(), limit]).await?;
    let sessions = rows
        .iter()
        .map(|row| Columns::new(row, "sessions", "conversation")?.json("session"));
    Ok(sessions.collect::<StoreResult<_>>()?)
}

/// Conversations that are not placed, with the turn that waits. A turn that cannot be read is told with its id.
pub(crate) async fn unplaced(
    on: &mut impl Handle,
    after: Option<TurnId>,
    limit: u32,
) -> SqlResult<Result<Vec<Unplaced>, (String, StoreError)>> {
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    let rows = on.rows(UNPLACED, args![after, ROW_VERSION, limit]).await?;
    let mut unplaced = Vec::new();
    for row in rows {
        let turn = match turns::read(&row) {
            Ok(turn) => turn,
            Err(error) => {
                let id = Columns::new(&row, "turns", "id")?.text("id")?;
                return Ok(Err((id, error)));
            }
        };
        // It may have been deleted since.
        if let Some(conversation) = conversations::by_id(on, turn.conversation).await? {
            unplaced.push(Unplaced::new(conversation, turn));
        }
    }
    Ok(Ok(unplaced))
}

pub(crate) async fn place(
    on: &mut impl Handle,
    id: ConversationId,
    name: &ServerName,
) -> SqlResult<bool> {
    let server = locked(on, name).await?;
    let takes = |server: &Server| !server.draining && server.gone_at.is_none();
    let Some(server) = server.filter(takes) else {
        return Ok(false);
    };
    if let Some(capacity) = server.capacity
        && !is_below(on, UNFINISHED, name, capacity).await?
    {
        return Ok(false);
    }
    if on.execute(PLACE, args![id, name.as_str()]).await? == 0 {
        return Ok(false);
    }
    on.execute(PLACE_TURNS, args![id, name.as_str()]).await?;
    arrivals::add(on, id, None).await?;
    on.wake().await?;
    Ok(true)
}

/// Whether another turn may run on a server. Nobody else has one begin there until the transaction ends.
pub(crate) async fn has_room(
    on: &mut impl Handle,
    server: &ServerName,
    capacity: NonZeroU32,
) -> SqlResult<bool> {
    on.row(LOCK, args![server.as_str()]).await?;
    is_below(on, RUNNING, server, capacity).await
}

async fn is_below(
    on: &mut impl Handle,
    count: Sql,
    server: &ServerName,
    capacity: NonZeroU32,
) -> SqlResult<bool> {
    let row = on
        .row(count, args![server.as_str(), capacity.get()])
        .await?;
    let turns = row.map(|row| row.int("turns")).transpose();
    let turns = turns.map_err(StoreError::Unexpected)?.flatten();
    Ok(turns.unwrap_or(0) < i64::from(capacity.get()))
}

pub(crate) async fn note_waits_for(
    on: &mut impl Handle,
    id: ConversationId,
    why: &str,
) -> SqlResult<()> {
    on.execute(WAITS_FOR, args![id, escape(why)]).await?;
    Ok(())
}
