//! Conversations and their upstream sessions.

use std::collections::BTreeSet;

use opencode_host::clock::Timestamp;
use opencode_host::id::ConversationId;
use opencode_host::store::{
    Conversation, ConversationFilter, ConversationSummary, Metadata, Order, Page, ServerName,
    SessionRecord, StoreError, StoreResult, Swapped, Tenant,
};

use super::{effects, ledger, turns, words};
use crate::columns::{Columns, escape, json};
use crate::engine::{Handle, Row, Sql, args, locking, sql};
use crate::failure::SqlResult;

macro_rules! columns {
    () => {
        "SELECT c.id, c.tenant, c.name, c.metadata, c.created_at, c.forked_from, c.server, c.waits_for, s.session \
         FROM opencode_conversations AS c LEFT JOIN opencode_sessions AS s ON s.conversation = c.id "
    };
}

pub(crate) const BY_ID: Sql = sql!(columns!(), "WHERE c.id = $1");
pub(crate) const BY_NAME: Sql = sql!(columns!(), "WHERE c.tenant = $1 AND c.name = $2");
pub(crate) const BY_NAME_BESIDE: Sql = sql!(
    columns!(),
    "JOIN opencode_conversations AS o ON o.tenant = c.tenant WHERE o.id = $1 AND c.name = $2"
);
const ADD: Sql = Sql {
    sqlite: "INSERT INTO opencode_conversations (id, tenant, name, created_at, used_at, former_name) \
             VALUES ($1, $2, $3, $4, $4, '\\id ' || $1) ON CONFLICT (tenant, name) DO NOTHING",
    postgres: "INSERT INTO opencode_conversations (id, tenant, name, created_at, used_at) \
               VALUES ($1, $2, $3, $4, $4) ON CONFLICT (tenant, name) DO NOTHING",
};
const ADD_SESSION: Sql = sql!("INSERT INTO opencode_sessions (conversation) VALUES ($1)");
/// On SQLite a write: an application's transaction that has only begun takes the write lock with it, and waits for it, where
/// one that has read before it writes is refused when another has written meanwhile.
const LOCK: Sql = Sql {
    sqlite: "UPDATE opencode_conversations SET created_at = created_at WHERE id = $1 RETURNING id",
    postgres: "SELECT id FROM opencode_conversations WHERE id = $1 FOR UPDATE",
};
const UNUSED: Sql = sql!(
    "SELECT c.id FROM opencode_conversations AS c WHERE c.id = $1 AND c.used_at < $2 AND NOT EXISTS ( \
       SELECT 1 FROM opencode_turns AS t \
       WHERE t.conversation = c.id AND t.settled = 0 AND t.state <> 'finished')"
);
const LEASED_UNTIL: Sql = sql!(
    "SELECT MAX(conversation) AS id, CAST(MAX(lease_expires_at) AS BIGINT) AS until \
     FROM opencode_turns WHERE conversation = $1 AND settled = 0 AND lease_expires_at IS NOT NULL"
);
const DELETE: Sql = sql!("DELETE FROM opencode_conversations WHERE id = $1");
/// Whether a turn is queued or runs.
macro_rules! busy {
    () => {
        "CAST(CASE WHEN EXISTS ( \
           SELECT 1 FROM opencode_turns AS t \
           WHERE t.conversation = c.id AND t.settled = 0 AND t.state <> 'finished' \
         ) THEN 1 ELSE 0 END AS BIGINT)"
    };
}
/// Whether the last message that is shown says that its turn ended with an error.
macro_rules! failed {
    () => {
        "CAST(CASE WHEN ( \
           SELECT m.status FROM opencode_messages AS m WHERE m.conversation = c.id AND m.hidden = 0 ORDER BY m.seq DESC LIMIT 1 \
         ) = 'error' THEN 1 ELSE 0 END AS BIGINT)"
    };
}
/// How many of the names in a JSON array something is noted under.
macro_rules! noted {
    (sqlite, $names:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM json_each(", $names, ") AS n \
              WHERE EXISTS (SELECT 1 FROM json_each(c.metadata) AS m WHERE m.key = n.value))"
        )
    };
    // Postgres cannot read the character NUL out of JSON.
    (postgres, $names:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM json_array_elements_text(REPLACE(", $names, ", '\\u0000', '\\ufffd')::json) AS n \
              WHERE n IN (SELECT json_object_keys(REPLACE(c.metadata, '\\u0000', '\\ufffd')::json)))"
        )
    };
}
/// Those used from $1 on, and before $2, of the places behind ($3, $4); $5 is whether they are to be busy, 2 for either.
/// $7 and $8 are the names that something is to be noted under, and those that nothing is, as JSON; $9 is how many names
/// there are in $7.
macro_rules! listed {
    ($database:ident, $behind:literal, $order:literal, $tenant:literal $(, $found:ident)?) => {
        concat!(
            "SELECT c.id, c.tenant, c.name, c.metadata, c.created_at, c.forked_from, c.server, c.waits_for, s.session, c.excerpt, c.used_at, ",
            busy!(),
            " AS busy, ",
            failed!(),
            " AS failed \
             FROM opencode_conversations AS c LEFT JOIN opencode_sessions AS s ON s.conversation = c.id \
             WHERE c.used_at >= $1 AND c.used_at < $2 AND (c.used_at, c.id) ",
            $behind,
            " ($3, $4) AND ($5 = 2 OR $5 = ",
            busy!(),
            ") AND ($9 = 0 OR $9 = ",
            noted!($database, "$7"),
            ") AND ($8 = '[]' OR 0 = ",
            noted!($database, "$8"),
            ")",
            $tenant,
            $($found!($database),)?
            " ORDER BY c.used_at ", $order, ", c.id ", $order, " LIMIT $6"
        )
    };
    ($behind:literal, $order:literal, $tenant:literal $(, $found:ident)?) => {
        Sql {
            sqlite: listed!(sqlite, $behind, $order, $tenant $(, $found)?),
            postgres: listed!(postgres, $behind, $order, $tenant $(, $found)?),
        }
    };
}
/// In which words are found: all of $10 in a message, or all $12 of $11 in what it is called.
macro_rules! found {
    ($database:ident) => {
        concat!(
            " AND (c.id IN (SELECT m.conversation FROM opencode_messages AS m WHERE m.hidden = 0 AND ",
            words::in_messages!($database, "$10"),
            ") OR $12 = ",
            words::in_title!($database, "$11"),
            ")"
        )
    };
}
pub(crate) const NEWEST: Sql = listed!("<", "DESC", "");
pub(crate) const NEWEST_OF_TENANT: Sql = listed!("<", "DESC", " AND c.tenant = $10");
pub(crate) const OLDEST: Sql = listed!(">", "ASC", "");
pub(crate) const OLDEST_OF_TENANT: Sql = listed!(">", "ASC", " AND c.tenant = $10");
pub(crate) const FOUND_NEWEST: Sql = listed!("<", "DESC", "", found);
pub(crate) const FOUND_NEWEST_OF_TENANT: Sql = listed!("<", "DESC", " AND c.tenant = $13", found);
pub(crate) const FOUND_OLDEST: Sql = listed!(">", "ASC", "", found);
pub(crate) const FOUND_OLDEST_OF_TENANT: Sql = listed!(">", "ASC", " AND c.tenant = $13", found);
const SET_METADATA: Sql =
    sql!("UPDATE opencode_conversations SET metadata = $2, words = NULL WHERE id = $1");
/// Reads the session and keeps it from others until the transaction ends.
const LOCK_SESSION: Sql =
    locking!("SELECT conversation, session FROM opencode_sessions WHERE conversation = $1");
pub(super) const SET_SESSION: Sql =
    sql!("UPDATE opencode_sessions SET session = $2 WHERE conversation = $1");

/// The server that a row says: a conversation that is not placed has an empty text.
fn placed(columns: &Columns<'_, impl Row>) -> StoreResult<Option<ServerName>> {
    if columns.text("server")?.is_empty() {
        return Ok(None);
    }
    columns.id("server").map(Some)
}

pub(crate) fn read(row: &impl Row) -> StoreResult<Conversation> {
    let columns = Columns::new(row, "conversations", "id")?;
    let (id, created_at) = (columns.id("id")?, columns.time("created_at")?);
    let tenant = columns.text("tenant")?.into();
    let mut conversation = Conversation::new(id, &tenant, columns.text("name")?, created_at);
    conversation.metadata = columns.json("metadata")?;
    conversation.session = columns.optional_json("session")?;
    conversation.forked_from = columns.optional_id("forked_from")?;
    conversation.server = placed(&columns)?;
    conversation.waits_for = columns.optional_text("waits_for")?;
    Ok(conversation)
}

pub(crate) async fn by_id(
    on: &mut impl Handle,
    id: ConversationId,
) -> SqlResult<Option<Conversation>> {
    let row = on.row(BY_ID, args![id]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

pub(crate) async fn by_name(
    on: &mut impl Handle,
    tenant: &Tenant,
    name: &str,
) -> SqlResult<Option<Conversation>> {
    let args = args![escape(tenant.as_str()), escape(name)];
    let row = on.row(BY_NAME, args).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// Makes a conversation of the tenant with this name, or finds the one that is there.
pub(crate) async fn open(
    on: &mut impl Handle,
    id: ConversationId,
    tenant: &Tenant,
    name: &str,
) -> SqlResult<Conversation> {
    let now = on.now().await?;
    let args = args![id, escape(tenant.as_str()), escape(name), now];
    if on.execute(ADD, args).await? == 1 {
        add_session(on, id).await?;
        return Ok(Conversation::new(id, tenant, name, now));
    }
    let missing =
        || StoreError::Unavailable("the conversation was deleted while it was opened".to_owned());
    Ok(by_name(on, tenant, name).await?.ok_or_else(missing)?)
}

/// Adds the row of the session that the conversation will have.
pub(crate) async fn add_session(on: &mut impl Handle, id: ConversationId) -> SqlResult<()> {
    on.execute(ADD_SESSION, args![id]).await?;
    Ok(())
}

/// The conversation of this name of the tenant that another conversation is of.
pub(crate) async fn named_beside(
    on: &mut impl Handle,
    other: ConversationId,
    name: &str,
) -> SqlResult<Option<Conversation>> {
    let row = on.row(BY_NAME_BESIDE, args![other, escape(name)]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// Keeps others from submitting to the conversation, and from deleting it,
/// until the transaction ends.
pub(crate) async fn lock(on: &mut impl Handle, id: ConversationId) -> SqlResult<()> {
    let row = on.row(LOCK, args![id]).await?;
    Ok(row.map(drop).ok_or_else(|| not_found(id))?)
}

/// Deletes a conversation, and notes what is to go with it outside the database. With `unused_since`, only if it was not
/// used since then and has no turn that is queued or runs.
pub(crate) async fn delete(
    on: &mut impl Handle,
    id: ConversationId,
    unused_since: Option<Timestamp>,
) -> SqlResult<Option<Conversation>> {
    if on.row(LOCK, args![id]).await?.is_none() {
        return Ok(None);
    }
    if let Some(since) = unused_since
        && on.row(UNUSED, args![id, since]).await?.is_none()
    {
        return Ok(None);
    }
    // A mint that is under way ends first, so that its session is in the answer.
    on.row(LOCK_SESSION, args![id]).await?;
    let conversation = by_id(on, id).await?;
    if let Some(conversation) = &conversation {
        let now = on.now().await?;
        let row = on.row(LEASED_UNTIL, args![id]).await?;
        let until = match &row {
            Some(row) => Columns::new(row, "conversations", "id")?.optional_time("until")?,
            None => None,
        };
        let deletion = conversation.deletion(until, now);
        effects::add(on, &deletion).await?;
    }
    let unsettled = turns::unsettled(on, id).await?;
    on.execute(DELETE, args![id]).await?;
    // Behind the turns, whose rows are locked before those of what they owe elsewhere too.
    let now = on.now().await?;
    for turn in unsettled {
        effects::release(on, turn, now).await?;
    }
    ledger::close(on, id).await?;
    Ok(conversation)
}

pub(crate) async fn listed(
    on: &mut impl Handle,
    filter: &ConversationFilter,
    page: &Page,
) -> SqlResult<Vec<ConversationSummary>> {
    let (since, before) = (filter.used_since, filter.used_before);
    let noted: BTreeSet<_> = filter.noted.iter().collect();
    // Without a place: behind all that an id may be, or before.
    let (used_at, id) = match (page.after, page.order) {
        (Some(after), _) => (after.used_at.0, after.id.to_string()),
        (None, Order::NewestFirst) => (i64::MAX, "~".to_owned()),
        (None, Order::OldestFirst) => (i64::MIN, String::new()),
    };
    let mut args = args![
        since.map_or(i64::MIN, |since| since.0),
        before.map_or(i64::MAX, |before| before.0),
        used_at,
        id,
        filter.busy.map_or(2, i64::from),
        page.limit,
        json(&noted)?,
        json(&filter.not_noted)?,
        u64::try_from(noted.len()).unwrap_or(u64::MAX),
    ]
    .to_vec();
    if let Some(search) = &filter.search {
        let words: Vec<_> = search.words().collect();
        args.push(words::of_search(search, filter.tenant.as_ref())?.into());
        args.push(json(&words)?.into());
        args.push(u64::try_from(words.len()).unwrap_or(u64::MAX).into());
    }
    let statement = match (page.order, &filter.tenant, &filter.search) {
        (Order::NewestFirst, None, None) => NEWEST,
        (Order::OldestFirst, None, None) => OLDEST,
        (Order::NewestFirst, Some(_), None) => NEWEST_OF_TENANT,
        (Order::OldestFirst, Some(_), None) => OLDEST_OF_TENANT,
        (Order::NewestFirst, None, Some(_)) => FOUND_NEWEST,
        (Order::OldestFirst, None, Some(_)) => FOUND_OLDEST,
        (Order::NewestFirst, Some(_), Some(_)) => FOUND_NEWEST_OF_TENANT,
        (Order::OldestFirst, Some(_), Some(_)) => FOUND_OLDEST_OF_TENANT,
    };
    args.extend(
        filter
            .tenant
            .iter()
            .map(|tenant| escape(tenant.as_str()).into()),
    );
    let rows = on.rows(statement, &args).await?;
    let summaries = rows.iter().map(|row| {
        let columns = Columns::new(row, "conversations", "id")?;
        let mut summary = ConversationSummary::new(read(row)?, columns.time("used_at")?);
        summary.excerpt = columns.optional_text("excerpt")?;
        summary.busy = columns.flag("busy")?;
        summary.failed = columns.flag("failed")?;
        Ok(summary)
    });
    Ok(summaries.collect::<StoreResult<_>>()?)
}

pub(crate) async fn set_metadata(
    on: &mut impl Handle,
    id: ConversationId,
    metadata: &Metadata,
) -> SqlResult<()> {
    match on.execute(SET_METADATA, args![id, json(metadata)?]).await? {
        0 => Err(not_found(id).into()),
        _ => Ok(()),
    }
}

/// The session of a conversation. Others do not change it until the transaction ends.
pub(crate) async fn locked_session(
    on: &mut impl Handle,
    id: ConversationId,
) -> SqlResult<Option<SessionRecord>> {
    let row = on.row(LOCK_SESSION, args![id]).await?;
    let row = row.ok_or_else(|| not_found(id))?;
    Ok(Columns::new(&row, "sessions", "conversation")?.optional_json("session")?)
}

/// Replaces the session if the row still has `expected`; else answers what it has.
pub(crate) async fn swap_session(
    on: &mut impl Handle,
    id: ConversationId,
    expected: Option<&SessionRecord>,
    new: &SessionRecord,
) -> SqlResult<Swapped> {
    let current = locked_session(on, id).await?;
    if current.as_ref() != expected {
        return Ok(Swapped::No(current.map(Box::new)));
    }
    on.execute(SET_SESSION, args![id, json(new)?]).await?;
    Ok(Swapped::Yes)
}

/// Has another session take the place of the conversation's, which does not know what is shown from now on.
pub(crate) async fn replace_session(on: &mut impl Handle, id: ConversationId) -> SqlResult<()> {
    if let Some(session) = locked_session(on, id).await? {
        let session = session.to_be_replaced();
        on.execute(SET_SESSION, args![id, json(&session)?]).await?;
    }
    Ok(())
}

fn not_found(id: ConversationId) -> StoreError {
    StoreError::not_found("conversation", id)
}

/// Notes that the conversation was used, and its first prompt.
const USE: Sql = sql!(
    "UPDATE opencode_conversations SET used_at = $2, excerpt = COALESCE(excerpt, $3) WHERE id = $1"
);

pub(crate) async fn used(
    on: &mut impl Handle,
    id: ConversationId,
    now: Timestamp,
    prompt: &str,
) -> SqlResult<()> {
    let excerpt = ConversationSummary::excerpt_of(prompt);
    on.execute(USE, args![id, now, escape(&excerpt)]).await?;
    Ok(())
}
