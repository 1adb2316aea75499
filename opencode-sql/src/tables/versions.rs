//! Versions of turns: which of them a conversation shows.
//!
//! Turns are a tree by their parents. What is shown is one line of it: the messages that are not hidden.

use opencode_host::id::{ConversationId, TurnId};
use opencode_host::store::{StoreError, StoreResult, TurnVersion};

use super::{conversations, turns};
use crate::columns::Columns;
use crate::engine::{Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

pub(crate) const LAST_SHOWN: Sql = sql!(
    "SELECT turn AS id FROM opencode_messages WHERE conversation = $1 AND hidden = 0 ORDER BY seq DESC LIMIT 1"
);
/// Where a turn stands among its versions.
pub(crate) const PLACE: Sql = sql!(
    "SELECT t.id, t.conversation, t.parent, m.hidden \
     FROM opencode_turns AS t JOIN opencode_messages AS m ON m.id = t.message WHERE t.id = $1"
);
pub(crate) const VERSIONS: Sql = sql!(
    "SELECT v.id, v.user_message, v.message, v.created_at, m.hidden \
     FROM opencode_turns AS t \
     JOIN opencode_turns AS v ON v.conversation = t.conversation AND v.parent = t.parent \
     JOIN opencode_messages AS m ON m.id = v.message \
     WHERE t.id = $1 ORDER BY v.seq"
);
pub(crate) const NEWEST_BEHIND: Sql = sql!(
    "SELECT id FROM opencode_turns WHERE conversation = $1 AND parent = $2 ORDER BY seq DESC LIMIT 1"
);
/// Shows the turns of conversation $1 up to turn $2, and no others.
const SHOW: Sql = sql!(
    "WITH RECURSIVE line (id, parent) AS ( \
       SELECT id, parent FROM opencode_turns WHERE id = $2 \
       UNION ALL \
       SELECT t.id, t.parent FROM line JOIN opencode_turns AS t ON t.id = line.parent) \
     UPDATE opencode_messages SET hidden = 1 - hidden \
     WHERE conversation = $1 AND hidden = CASE WHEN turn IN (SELECT id FROM line) THEN 1 ELSE 0 END"
);

/// The last turn that a conversation shows.
pub(crate) async fn last_shown(
    on: &mut impl Handle,
    conversation: ConversationId,
) -> SqlResult<Option<TurnId>> {
    let row = on.row(LAST_SHOWN, args![conversation]).await?;
    one_id(row.as_ref())
}

/// The turns with the parent of this one, oldest first.
pub(crate) async fn of(on: &mut impl Handle, turn: TurnId) -> SqlResult<Vec<TurnVersion>> {
    let rows = on.rows(VERSIONS, args![turn]).await?;
    if rows.is_empty() {
        return Err(StoreError::not_found("turn", turn).into());
    }
    let versions = rows.iter().map(|row| {
        let columns = Columns::new(row, "turns", "id")?;
        Ok(TurnVersion::new(
            columns.id("id")?,
            [columns.id("user_message")?, columns.id("message")?],
            !columns.flag("hidden")?,
            columns.time("created_at")?,
        ))
    });
    Ok(versions.collect::<StoreResult<_>>()?)
}

/// Makes room for a turn in the place of another one of the conversation, which is locked: hides that, with what is shown
/// behind it. Returns the turn that both go on from.
pub(crate) async fn hide(
    on: &mut impl Handle,
    conversation: ConversationId,
    turn: TurnId,
) -> SqlResult<Option<TurnId>> {
    let place = place(on, turn).await?;
    if place.conversation != conversation {
        return Err(StoreError::not_found("turn", turn).into());
    }
    refuse_busy(on, conversation).await?;
    show(on, conversation, place.parent).await?;
    Ok(place.parent)
}

/// Shows a turn, with those before it and the newest behind it.
pub(crate) async fn choose(on: &mut impl Handle, turn: TurnId) -> SqlResult<()> {
    let conversation = place(on, turn).await?.conversation;
    conversations::lock(on, conversation).await?;
    // Again, as nobody else changes it now.
    if !place(on, turn).await?.hidden {
        return Ok(());
    }
    refuse_busy(on, conversation).await?;
    let mut last = turn;
    loop {
        let row = on.row(NEWEST_BEHIND, args![conversation, last]).await?;
        match one_id(row.as_ref())? {
            Some(next) => last = next,
            None => break,
        }
    }
    show(on, conversation, Some(last)).await
}

struct Place {
    conversation: ConversationId,
    parent: Option<TurnId>,
    hidden: bool,
}

async fn place(on: &mut impl Handle, turn: TurnId) -> SqlResult<Place> {
    let row = on.row(PLACE, args![turn]).await?;
    let row = row.ok_or_else(|| StoreError::not_found("turn", turn))?;
    let columns = Columns::new(&row, "turns", "id")?;
    Ok(Place {
        conversation: columns.id("conversation")?,
        parent: turns::parent(&columns)?,
        hidden: columns.flag("hidden")?,
    })
}

async fn refuse_busy(on: &mut impl Handle, conversation: ConversationId) -> SqlResult<()> {
    match turns::oldest_unfinished(on, conversation).await? {
        Some(turn) => Err(StoreError::Busy { turn }.into()),
        None => Ok(()),
    }
}

/// Has a conversation show the turns up to `last`, and no others, and another session take the place of its own.
async fn show(
    on: &mut impl Handle,
    conversation: ConversationId,
    last: Option<TurnId>,
) -> SqlResult<()> {
    let last = last.map(|last| last.to_string()).unwrap_or_default();
    on.execute(SHOW, args![conversation, last]).await?;
    conversations::replace_session(on, conversation).await
}

fn one_id(row: Option<&impl Row>) -> SqlResult<Option<TurnId>> {
    let id = row.map(|row| Columns::new(row, "turns", "id")?.id("id"));
    Ok(id.transpose()?)
}
