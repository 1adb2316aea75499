//! Conversations that go on from a turn of another one.

use std::collections::HashMap;

use opencode_host::clock::Timestamp;
use opencode_host::id::{AttachmentId, ConversationId, MessageId, TurnId};
use opencode_host::store::{Forked, NewFork, StoreError, StoreResult};

use super::{conversations, messages};
use crate::columns::{Columns, escape};
use crate::engine::{Handle, Sql, args, sql};
use crate::failure::SqlResult;

pub(crate) const PLACE: Sql =
    sql!("SELECT id, conversation, settled FROM opencode_turns WHERE id = $1");
/// The turns up to turn $1, oldest first.
const LINE: Sql = sql!(
    "WITH RECURSIVE line (id, parent) AS ( \
       SELECT id, parent FROM opencode_turns WHERE id = $1 \
       UNION ALL \
       SELECT t.id, t.parent FROM line JOIN opencode_turns AS t ON t.id = line.parent) \
     SELECT t.id, t.user_message, t.message, t.parent \
     FROM line JOIN opencode_turns AS t ON t.id = line.id ORDER BY t.seq"
);
pub(crate) const FILES: Sql =
    sql!("SELECT id, message FROM opencode_attachments WHERE conversation = $1 ORDER BY seq");
const ADD: Sql = Sql {
    sqlite: "INSERT INTO opencode_conversations \
               (id, tenant, name, metadata, created_at, used_at, forked_from, former_name) \
             SELECT $1, tenant, $2, metadata, $3, $3, $4, '\\id ' || $1 \
             FROM opencode_conversations WHERE id = $5 ON CONFLICT (tenant, name) DO NOTHING",
    postgres: "INSERT INTO opencode_conversations (id, tenant, name, metadata, created_at, used_at, forked_from) \
               SELECT $1, tenant, $2, metadata, CAST($3 AS BIGINT), CAST($3 AS BIGINT), $4 \
               FROM opencode_conversations WHERE id = $5 ON CONFLICT (tenant, name) DO NOTHING",
};
const COPY_TURN: Sql = sql!(
    "INSERT INTO opencode_turns (id, version, conversation, user_message, message, prompt, metadata, deadlines, \
       cancel_reason, state, status, settled, generation, attempts, prompted, resends, replaced, cancel_requested_at, \
       checkpoint, parent, created_at, started_at, progress_at, finished_at) \
     SELECT $1, version, $2, $3, $4, prompt, metadata, deadlines, \
       cancel_reason, state, status, settled, generation, attempts, prompted, resends, replaced, cancel_requested_at, \
       checkpoint, $5, created_at, started_at, progress_at, finished_at FROM opencode_turns WHERE id = $6"
);
const COPY_FILE: Sql = sql!(
    "INSERT INTO opencode_attachments (id, message, conversation, name, digest, size, mime_type, source, trust, place, created_at) \
     SELECT $1, $2, $3, name, digest, size, mime_type, source, trust, place, created_at FROM opencode_attachments WHERE id = $4"
);

/// A turn that is copied.
struct Copied {
    id: TurnId,
    messages: [MessageId; 2],
    parent: Option<TurnId>,
}

/// Makes a fork. The conversation that it begins as is locked meanwhile.
pub(crate) async fn fork(on: &mut impl Handle, new: &NewFork) -> SqlResult<Forked> {
    let (of, _) = place(on, new.turn).await?;
    conversations::lock(on, of).await?;
    // Again, as nobody else deletes it now.
    let (_, is_settled) = place(on, new.turn).await?;
    let now = on.now().await?;
    if !add(on, new, of, now).await? {
        let known = conversations::named_beside(on, of, &new.name).await?;
        let gone =
            || StoreError::Unavailable("the conversation was deleted while it was forked".into());
        return Ok(new.known(known.ok_or_else(gone)?)?);
    }
    if !is_settled {
        return Err(StoreError::Busy { turn: new.turn }.into());
    }
    let line = line(on, new.turn).await?;
    for turn in &line {
        copy_turn(on, new, turn).await?;
    }
    copy_files(on, new, of, &line).await?;
    let first = line.first().map(|turn| turn.messages[0]);
    let first = match first {
        Some(first) => messages::by_id(on, first).await?,
        None => None,
    };
    let said = first.map(|first| first.answer.content).unwrap_or_default();
    conversations::used(on, new.id, now, &said).await?;
    let made = conversations::by_id(on, new.id).await?;
    let made = made.ok_or_else(|| StoreError::not_found("conversation", new.id))?;
    Ok(Forked::new(made))
}

/// The turn's conversation, and whether the turn is settled.
async fn place(on: &mut impl Handle, turn: TurnId) -> SqlResult<(ConversationId, bool)> {
    let row = on.row(PLACE, args![turn]).await?;
    let row = row.ok_or_else(|| StoreError::not_found("turn", turn))?;
    let columns = Columns::new(&row, "turns", "id")?;
    Ok((columns.id("conversation")?, columns.flag("settled")?))
}

/// Adds the conversation's row. False where the name is taken.
async fn add(
    on: &mut impl Handle,
    new: &NewFork,
    of: ConversationId,
    now: Timestamp,
) -> SqlResult<bool> {
    let args = args![new.id, escape(&new.name), now, new.turn, of];
    if on.execute(ADD, args).await? == 0 {
        return Ok(false);
    }
    conversations::add_session(on, new.id).await?;
    Ok(true)
}

async fn line(on: &mut impl Handle, last: TurnId) -> SqlResult<Vec<Copied>> {
    let mut line = Vec::new();
    for row in on.rows(LINE, args![last]).await? {
        let columns = Columns::new(&row, "turns", "id")?;
        line.push(Copied {
            id: columns.id("id")?,
            messages: [columns.id("user_message")?, columns.id("message")?],
            parent: super::turns::parent(&columns)?,
        });
    }
    Ok(line)
}

async fn copy_turn(on: &mut impl Handle, new: &NewFork, of: &Copied) -> SqlResult<()> {
    let turn = TurnId::from(new.id_of(of.id.as_uuid()));
    let copies = of
        .messages
        .map(|message| MessageId::from(new.id_of(message.as_uuid())));
    for (copy, message) in copies.iter().zip(of.messages) {
        messages::copy(on, message, *copy, (new.id, turn)).await?;
    }
    let parent = of.parent.map(|parent| new.id_of(parent.as_uuid()));
    let parent = parent.map(|parent| parent.to_string()).unwrap_or_default();
    let args = args![turn, new.id, copies[0], copies[1], parent, of.id];
    on.execute(COPY_TURN, args).await?;
    Ok(())
}

async fn copy_files(
    on: &mut impl Handle,
    new: &NewFork,
    of: ConversationId,
    line: &[Copied],
) -> SqlResult<()> {
    let copied = line.iter().flat_map(|turn| turn.messages);
    let copied: HashMap<_, _> = copied
        .map(|message| (message, MessageId::from(new.id_of(message.as_uuid()))))
        .collect();
    let rows = on.rows(FILES, args![of]).await?;
    let files = rows.iter().map(|row| {
        let columns = Columns::new(row, "attachments", "id")?;
        Ok((columns.id("id")?, columns.id("message")?))
    });
    let files: Vec<(AttachmentId, MessageId)> = files.collect::<StoreResult<_>>()?;
    for (id, message) in files {
        if let Some(copy) = copied.get(&message) {
            let own = new.id_of(id.as_uuid()).to_string();
            let args = args![own, *copy, new.id, id.to_string()];
            on.execute(COPY_FILE, args).await?;
        }
    }
    Ok(())
}
