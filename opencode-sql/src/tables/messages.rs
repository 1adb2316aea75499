//! Message rows.

use opencode_host::clock::Timestamp;
use opencode_host::id::{ConversationId, MessageId, TurnId};
use opencode_host::outcome::Answer;
use opencode_host::store::{
    Finish, Message, MessageEntry, MessageStatus, StoreError, StoreResult, Usage,
};

use super::turns;
use crate::columns::{Columns, escape, json, optional_json, word};
use crate::engine::{Arg, Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

macro_rules! message_columns {
    () => {
        "id, conversation, turn, role, status, reason, content, parts, reasoning, cost, input_tokens, \
         output_tokens, cache_read_tokens, cache_write_tokens, truncated, error, created_at, finished_at, hidden"
    };
}

/// What has streamed of a turn is kept once, in the turn: while that runs, the message's parts are there.
macro_rules! checkpoint {
    () => {
        "CASE WHEN opencode_messages.status = 'pending' THEN (SELECT t.checkpoint FROM opencode_turns AS t \
           WHERE t.id = opencode_messages.turn) END"
    };
}

macro_rules! read_columns {
    () => {
        concat!(
            message_columns!(),
            ", ",
            checkpoint!(),
            " AS checkpoint, CASE WHEN opencode_messages.status = 'pending' THEN ",
            turns::growths!("opencode_messages.turn"),
            " END AS growths"
        )
    };
}

pub(crate) const BY_ID: Sql = sql!(
    "SELECT ",
    read_columns!(),
    " FROM opencode_messages WHERE id = $1"
);
const PLACE: Sql = sql!("SELECT id, conversation, seq FROM opencode_messages WHERE id = $1");
pub(crate) const PAGE: Sql = sql!(
    "SELECT ",
    read_columns!(),
    " FROM opencode_messages WHERE seq > $1 ORDER BY seq LIMIT $2"
);
pub(crate) const PAGE_OF_CONVERSATION: Sql = sql!(
    "SELECT ",
    read_columns!(),
    " FROM opencode_messages WHERE conversation = $3 AND seq > $1 AND hidden = 0 ORDER BY seq LIMIT $2"
);
/// `octet_length` reads no text that is kept apart from its row.
macro_rules! index_columns {
    () => {
        concat!(
            "seq, id, hidden, CAST(octet_length(content) AS BIGINT) + CAST(octet_length(parts) AS BIGINT) \
             + CAST(octet_length(reasoning) AS BIGINT) + COALESCE(CAST(octet_length(",
            checkpoint!(),
            ") AS BIGINT), 0) + COALESCE((SELECT CAST(SUM(octet_length(g.growth)) AS BIGINT) FROM opencode_growths AS g \
               WHERE g.turn = opencode_messages.turn), 0) AS bytes"
        )
    };
}
pub(crate) const INDEX: Sql = sql!(
    "SELECT ",
    index_columns!(),
    " FROM opencode_messages WHERE seq > $1 ORDER BY seq LIMIT $2"
);
pub(crate) const INDEX_OF_CONVERSATION: Sql = sql!(
    "SELECT ",
    index_columns!(),
    " FROM opencode_messages WHERE conversation = $3 AND seq > $1 ORDER BY seq LIMIT $2"
);
pub(crate) const BEFORE: Sql = sql!(
    "SELECT ",
    read_columns!(),
    " FROM opencode_messages WHERE conversation = $2 AND seq < $1 AND hidden = 0 ORDER BY seq DESC LIMIT $3"
);
const ADD: Sql = sql!(
    "INSERT INTO opencode_messages (",
    message_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 0)"
);
const COPY: Sql = sql!(
    "INSERT INTO opencode_messages (",
    message_columns!(),
    ") SELECT $1, $2, $3, role, status, reason, content, parts, reasoning, cost, input_tokens, output_tokens, \
       cache_read_tokens, cache_write_tokens, truncated, error, created_at, finished_at, 0 \
     FROM opencode_messages WHERE id = $4"
);
const END: Sql = sql!(
    "UPDATE opencode_messages SET status = $2, reason = $3, content = $4, parts = $5, reasoning = $6, cost = $7, \
       input_tokens = $8, output_tokens = $9, cache_read_tokens = $10, cache_write_tokens = $11, truncated = $12, \
       error = $13, finished_at = $14 \
     WHERE id = $1"
);

fn read(row: &impl Row) -> StoreResult<Message> {
    let columns = Columns::new(row, "messages", "id")?;
    let mut message = Message::new(
        columns.id("id")?,
        columns.id("conversation")?,
        columns.id("turn")?,
        columns.word("role")?,
        columns.time("created_at")?,
    );
    message.status = columns.word("status")?;
    message.answer.reason = columns.optional_word("reason")?;
    message.answer.content = columns.text("content")?;
    message.answer.parts = columns.json("parts")?;
    if let Some(checkpoint) = turns::checkpoint(&columns)? {
        message.answer.parts = checkpoint.parts();
    }
    message.answer.reasoning = columns.text("reasoning")?;
    message.answer.usage = Usage {
        cost: columns.real("cost")?,
        input_tokens: columns.count("input_tokens")?,
        output_tokens: columns.count("output_tokens")?,
        cache_read_tokens: columns.count("cache_read_tokens")?,
        cache_write_tokens: columns.count("cache_write_tokens")?,
    };
    message.answer.truncated = columns.flag("truncated")?;
    message.answer.error = columns.optional_json("error")?;
    message.finished_at = columns.optional_time("finished_at")?;
    message.hidden = columns.flag("hidden")?;
    Ok(message)
}

pub(crate) async fn by_id(on: &mut impl Handle, id: MessageId) -> SqlResult<Option<Message>> {
    let row = on.row(BY_ID, args![id]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

pub(crate) async fn page(
    on: &mut impl Handle,
    conversation: Option<ConversationId>,
    after: Option<MessageId>,
    limit: u32,
) -> SqlResult<Vec<Message>> {
    let after = match after {
        None => 0,
        Some(id) => place(on, conversation, id).await?,
    };
    let rows = match conversation {
        None => on.rows(PAGE, args![after, limit]).await?,
        Some(id) => {
            on.rows(PAGE_OF_CONVERSATION, args![after, limit, id])
                .await?
        }
    };
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}

fn entry(row: &impl Row) -> StoreResult<MessageEntry> {
    let text = |column| row.text(column).ok().flatten();
    let bytes = row.int("bytes").ok().flatten();
    let place = Columns::new(row, "messages", "id")?.count("seq")?;
    // What is no text has no size.
    let bytes = bytes.map_or(0, i64::cast_unsigned);
    let hidden = row.int("hidden").ok().flatten() == Some(1);
    Ok(MessageEntry::new(place, text("id").unwrap_or_default(), bytes).hidden(hidden))
}

pub(crate) async fn index(
    on: &mut impl Handle,
    conversation: Option<ConversationId>,
    after: u64,
    limit: u32,
) -> SqlResult<Vec<MessageEntry>> {
    let rows = match conversation {
        None => on.rows(INDEX, args![after, limit]).await?,
        Some(id) => {
            on.rows(INDEX_OF_CONVERSATION, args![after, limit, id])
                .await?
        }
    };
    Ok(rows.iter().map(entry).collect::<StoreResult<_>>()?)
}

/// The messages of a conversation that are older than `before`, newest first.
pub(crate) async fn before(
    on: &mut impl Handle,
    conversation: ConversationId,
    before: Option<MessageId>,
    limit: u32,
) -> SqlResult<Vec<Message>> {
    let before = match before {
        None => i64::MAX,
        Some(id) => place(on, Some(conversation), id).await?,
    };
    let rows = on.rows(BEFORE, args![before, conversation, limit]).await?;
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}

/// Copies a message into another conversation, as one of a turn there.
pub(crate) async fn copy(
    on: &mut impl Handle,
    message: MessageId,
    copy: MessageId,
    (conversation, turn): (ConversationId, TurnId),
) -> SqlResult<()> {
    on.execute(COPY, args![copy, conversation, turn, message])
        .await?;
    Ok(())
}

/// The place of a message among all, if it is of this conversation.
async fn place(
    on: &mut impl Handle,
    conversation: Option<ConversationId>,
    id: MessageId,
) -> SqlResult<i64> {
    let missing = || StoreError::not_found("message", id);
    let row = on.row(PLACE, args![id]).await?.ok_or_else(missing)?;
    let columns = Columns::new(&row, "messages", "id")?;
    let of = columns.id("conversation")?;
    if conversation.is_some_and(|wanted| wanted != of) {
        return Err(missing().into());
    }
    Ok(columns.count("seq")?)
}

/// What an answer is written as, in the order that [`ADD`] and [`END`] have its columns in.
fn answered(answer: &Answer) -> SqlResult<[Arg<'_>; 11]> {
    let usage = &answer.usage;
    Ok([
        answer.reason.map(word).transpose()?.into(),
        escape(&answer.content).into(),
        json(&answer.parts)?.into(),
        escape(&answer.reasoning).into(),
        usage.cost.into(),
        usage.input_tokens.into(),
        usage.output_tokens.into(),
        usage.cache_read_tokens.into(),
        usage.cache_write_tokens.into(),
        answer.truncated.into(),
        optional_json(answer.error.as_ref())?.into(),
    ])
}

pub(crate) async fn add(on: &mut impl Handle, message: &Message) -> SqlResult<()> {
    let whose: [Arg<'_>; 5] = [
        message.id.into(),
        message.conversation.into(),
        message.turn.to_string().into(),
        word(message.role)?.into(),
        word(message.status)?.into(),
    ];
    let times: [Arg<'_>; 2] = [
        message.created_at.into(),
        Arg::Int(message.finished_at.map(|at| at.0)),
    ];
    let args: Vec<_> = whose
        .into_iter()
        .chain(answered(&message.answer)?)
        .chain(times)
        .collect();
    on.execute(ADD, &args).await?;
    Ok(())
}

/// Writes the end of a turn to its message.
pub(crate) async fn end(
    on: &mut impl Handle,
    id: MessageId,
    finish: &Finish,
    now: Timestamp,
) -> SqlResult<()> {
    let status = word(MessageStatus::from(finish.status))?;
    let mut args: Vec<Arg<'_>> = vec![id.into(), status.into()];
    args.extend(answered(&finish.answer)?);
    args.push(now.into());
    on.execute(END, &args).await?;
    Ok(())
}
