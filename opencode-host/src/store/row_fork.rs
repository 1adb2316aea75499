//! A conversation that goes on from a turn of another one, in a store over tables.

use super::{
    Attachment, Conversation, ConversationRow, ConversationSummary, Forked, Message, MessageRole,
    NewFork, Rows, StoreError, StoreResult, TurnRow,
};
use crate::clock::Timestamp;

/// Makes a fork, for a store over tables.
pub(super) async fn fork(on: &mut impl Rows, new: &NewFork, now: Timestamp) -> StoreResult<Forked> {
    let missing = || StoreError::not_found("turn", new.turn);
    let last = on.turn(new.turn).await?.ok_or_else(missing)?;
    let of = on.conversation(last.turn.conversation).await?;
    let of = of.ok_or_else(missing)?.conversation;
    if let Some(known) = on.conversation_named(&of.tenant, &new.name).await? {
        return new.known(known.conversation);
    }
    if !last.is_settled() {
        return Err(StoreError::Busy { turn: new.turn });
    }
    let mut next = last.turn.parent;
    let mut line = vec![last];
    while let Some(parent) = next {
        let row = on.turn(parent).await?;
        let row = row.ok_or_else(|| StoreError::not_found("turn", parent))?;
        next = row.turn.parent;
        line.push(row);
    }
    let mut conversation = Conversation::new(new.id, &of.tenant, &new.name, now);
    conversation.metadata = of.metadata;
    conversation.forked_from = Some(new.turn);
    let mut row = ConversationRow {
        conversation,
        excerpt: None,
        used_at: now,
        head: Some(new.id_of(new.turn.as_uuid()).into()),
    };
    on.put_conversation(row.clone()).await?;
    for of in line.iter().rev() {
        on.put_turn(copy_of_turn(new, of)).await?;
        for message in [of.turn.user_message, of.turn.message] {
            let Some(message) = on.message(message).await? else {
                continue;
            };
            let message = copy_of_message(new, message.into());
            if message.role == MessageRole::User {
                let excerpt = || ConversationSummary::excerpt_of(&message.answer.content);
                row.excerpt.get_or_insert_with(excerpt);
            }
            on.put_message(message.into()).await?;
        }
        for message in [of.turn.user_message, of.turn.message] {
            for file in on.files(message).await? {
                on.add_file(copy_of_file(new, &file)).await?;
            }
        }
    }
    on.put_conversation(row.clone()).await?;
    Ok(Forked::new(row.conversation))
}

/// The copy of a turn, which goes on from the copy of its parent.
fn copy_of_turn(new: &NewFork, of: &TurnRow) -> TurnRow {
    let mut turn = of.turn.clone();
    turn.id = new.id_of(turn.id.as_uuid()).into();
    turn.conversation = new.id;
    turn.user_message = new.id_of(turn.user_message.as_uuid()).into();
    turn.message = new.id_of(turn.message.as_uuid()).into();
    turn.parent = turn.parent.map(|id| new.id_of(id.as_uuid()).into());
    turn.client_key = None;
    TurnRow {
        turn,
        lease: None,
        waits: false,
        answers: Vec::new(),
        events: Vec::new(),
    }
}

fn copy_of_message(new: &NewFork, mut of: Message) -> Message {
    of.id = new.id_of(of.id.as_uuid()).into();
    of.turn = new.id_of(of.turn.as_uuid()).into();
    of.conversation = new.id;
    of.hidden = false;
    of
}

fn copy_of_file(new: &NewFork, of: &Attachment) -> Attachment {
    let mut file = of.clone();
    file.id = new.id_of(file.id.as_uuid()).into();
    file.message = new.id_of(file.message.as_uuid()).into();
    file.conversation = new.id;
    file
}
