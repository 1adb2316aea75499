//! Versions of turns, for a store over tables: which of them a conversation shows.
//!
//! Turns are a tree by their parents. What is shown is one line of it, from its beginning to the head of the conversation's
//! row. The tables list messages only, so the turns are found by them: all of a conversation are read, where one of
//! them takes the place of another, or its versions are asked for.

use std::collections::HashSet;

use super::row_unsettled::unfinished;
use super::{
    ConversationRow, MessageRole, Rows, SessionRecord, StoreError, StoreResult, Turn, TurnVersion,
};
use crate::id::{ConversationId, TurnId};

/// How many places of messages are read at a time.
const PAGE: u32 = 64;

/// Makes room for a turn in the place of another one: hides that, with what is shown behind it. Returns the turn that both
/// go on from.
pub(super) async fn hide(
    on: &mut impl Rows,
    conversation: &mut ConversationRow,
    turn: TurnId,
) -> StoreResult<Option<TurnId>> {
    let id = conversation.conversation.id;
    let hidden = on.turn(turn).await?.map(|row| row.turn);
    let hidden = hidden.filter(|turn| turn.conversation == id);
    let hidden = hidden.ok_or_else(|| StoreError::not_found("turn", turn))?;
    refuse_busy(on, id).await?;
    let turns = turns(on, id).await?;
    show(on, conversation, &turns, hidden.parent).await?;
    Ok(hidden.parent)
}

/// Shows a turn, with those before it and the newest behind it.
pub(super) async fn choose(on: &mut impl Rows, turn: TurnId) -> StoreResult<()> {
    let missing = || StoreError::not_found("turn", turn);
    let id = on.turn(turn).await?.ok_or_else(missing)?.turn.conversation;
    let mut conversation = on.conversation(id).await?.ok_or_else(missing)?;
    let turns = turns(on, id).await?;
    let is_shown = |(known, shown): &(Turn, bool)| known.id == turn && *shown;
    if turns.iter().any(is_shown) {
        return Ok(());
    }
    refuse_busy(on, id).await?;
    let mut last = turn;
    let newest = |last| {
        let mut behind = turns.iter().rev().map(|(turn, _)| turn);
        behind.find(|turn| turn.parent == Some(last))
    };
    while let Some(next) = newest(last) {
        last = next.id;
    }
    show(on, &mut conversation, &turns, Some(last)).await?;
    on.put_conversation(conversation).await
}

/// The turns with the parent of this one.
pub(super) async fn versions(on: &mut impl Rows, turn: TurnId) -> StoreResult<Vec<TurnVersion>> {
    let row = on.turn(turn).await?;
    let of = row.ok_or_else(|| StoreError::not_found("turn", turn))?.turn;
    let turns = turns(on, of.conversation).await?;
    let versions = turns.iter().filter(|(turn, _)| turn.parent == of.parent);
    let versions = versions.map(|(turn, shown)| {
        let messages = [turn.user_message, turn.message];
        TurnVersion::new(turn.id, messages, *shown, turn.created_at)
    });
    Ok(versions.collect())
}

async fn refuse_busy(on: &mut impl Rows, conversation: ConversationId) -> StoreResult<()> {
    match unfinished(on, conversation).await?.first() {
        Some(turn) => Err(StoreError::Busy { turn: *turn }),
        None => Ok(()),
    }
}

/// All turns of a conversation, oldest first, and whether each is shown.
async fn turns(on: &mut impl Rows, id: ConversationId) -> StoreResult<Vec<(Turn, bool)>> {
    let (mut turns, mut after) = (Vec::new(), 0);
    loop {
        let page = on.message_index(Some(id), after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(turns);
        };
        after = last.place;
        for entry in page {
            let row = on.message(entry.message()?).await?;
            if let Some(message) = row.map(|row| row.message)
                && message.role == MessageRole::Assistant
                && let Some(row) = on.turn(message.turn).await?
            {
                turns.push((row.turn, !message.hidden));
            }
        }
    }
}

/// Has a conversation show the turns up to `last`, and no others.
async fn show(
    on: &mut impl Rows,
    conversation: &mut ConversationRow,
    turns: &[(Turn, bool)],
    last: Option<TurnId>,
) -> StoreResult<()> {
    let (mut line, mut next) = (HashSet::new(), last);
    // A turn is behind its parent.
    for (turn, _) in turns.iter().rev() {
        if next == Some(turn.id) {
            line.insert(turn.id);
            next = turn.parent;
        }
    }
    for (turn, was_shown) in turns {
        let shown = line.contains(&turn.id);
        if shown == *was_shown {
            continue;
        }
        for message in [turn.user_message, turn.message] {
            if let Some(mut row) = on.message(message).await? {
                row.message.hidden = !shown;
                on.put_message(row).await?;
            }
        }
    }
    conversation.head = last;
    let session = &mut conversation.conversation.session;
    *session = session.take().map(SessionRecord::to_be_replaced);
    Ok(())
}
