//! Submitting a turn.

use opencode_host::store::{
    Message, MessageRole, MessageStatus, NewTurn, OnBusy, StoreError, Submitted, Turn, Usage,
};

use super::{conversations, endings, messages, turns};
use crate::engine::Handle;
use crate::failure::SqlResult;

/// Adds a user message, a pending assistant message and a queued turn, unless
/// the turn is there already.
///
/// The conversation's row is locked throughout: the turns of a conversation
/// become visible in the order of their places in it, so a turn that has none
/// ahead of it never gets one.
pub(crate) async fn submit(on: &mut impl Handle, new: &NewTurn) -> SqlResult<Submitted> {
    conversations::lock(on, new.conversation).await?;
    if let Some(turn) = known(on, new).await? {
        return Ok(Submitted {
            turn,
            created: false,
        });
    }
    let now = on.now().await?;
    if new.on_busy != OnBusy::Enqueue {
        for turn in turns::unfinished(on, new.conversation).await? {
            if new.on_busy == OnBusy::Reject {
                return Err(StoreError::Busy { turn: turn.id }.into());
            }
            endings::cancel(on, &turn, now).await?;
        }
    }
    let turn = Turn::queued(new, now);
    let user = Message {
        id: new.user_message,
        conversation: new.conversation,
        turn: new.id,
        role: MessageRole::User,
        status: MessageStatus::Completed,
        reason: None,
        content: new.prompt.text.clone(),
        parts: Vec::new(),
        reasoning: String::new(),
        usage: Usage::default(),
        truncated: false,
        error: None,
        created_at: now,
        finished_at: None,
    };
    messages::add(on, &user).await?;
    let assistant = Message {
        id: new.message,
        role: MessageRole::Assistant,
        status: MessageStatus::Pending,
        content: String::new(),
        ..user
    };
    messages::add(on, &assistant).await?;
    turns::add(on, &turn).await?;
    conversations::used(on, new.conversation, now, &new.prompt.text).await?;
    Ok(Submitted {
        turn,
        created: true,
    })
}

/// The turn that the same submit made before.
async fn known(on: &mut impl Handle, new: &NewTurn) -> SqlResult<Option<Turn>> {
    if let Some(key) = &new.client_key
        && let Some(turn) = turns::by_client_key(on, new.conversation, key).await?
    {
        return Ok(Some(turn));
    }
    turns::by_id(on, new.id).await
}
