//! Submitting a turn.

use opencode_host::store::{NewTurn, OnBusy, StoreError, Submitted, Turn};

use super::{attachments, conversations, endings, ledger, messages, turns, versions};
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
        return Ok(Submitted::known(turn));
    }
    if new.uploads.is_some() {
        // Under the conversation's lock: of two that would pass the quota together one sees the other.
        let used = attachments::uploaded_bytes(on, new.conversation).await?;
        new.check_quota(used)?;
    }
    let now = on.now().await?;
    if let Some(budget) = &new.budget {
        ledger::check(on, budget, new.conversation, now).await?;
    }
    let parent = match new.instead_of {
        Some(other) => versions::hide(on, new.conversation, other).await?,
        None => versions::last_shown(on, new.conversation).await?,
    };
    match new.on_busy {
        OnBusy::Enqueue => {}
        OnBusy::Reject => {
            if let Some(turn) = turns::oldest_unfinished(on, new.conversation).await? {
                return Err(StoreError::Busy { turn }.into());
            }
        }
        OnBusy::Interrupt => {
            for turn in turns::unfinished(on, new.conversation).await? {
                endings::cancel(on, &turn, None, now).await?;
            }
        }
    }
    let mut turn = new.turn(now);
    turn.parent = parent;
    for message in new.messages(now) {
        messages::add(on, &message).await?;
    }
    for file in new.files() {
        attachments::attach(on, &file).await?;
    }
    turns::add(on, &turn).await?;
    conversations::used(on, new.conversation, now, new.said()).await?;
    on.wake().await?;
    Ok(Submitted::new(turn))
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
