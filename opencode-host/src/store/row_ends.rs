//! What a turn owes to the world outside, in rows: what its end does is noted with the end, and held until the turn is
//! settled, or its conversation is deleted; what its agent asks is due at once.

use super::row_spending;
use super::{
    AskedRequest, CancelOutcome, Effect, EffectKind, Finish, Message, Phase, Rows, StoreResult,
    Turn, TurnStatus,
};
use crate::clock::Timestamp;
use crate::id::{ConversationId, MessageId, TurnId};

/// Notes what the end of a turn owes, held.
pub(super) async fn note_end(on: &mut impl Rows, turn: &Turn, now: Timestamp) -> StoreResult<()> {
    if let Some(effect) = end_of(on, turn, now).await? {
        on.set_effect(effect.id, Some(effect)).await?;
    }
    Ok(())
}

/// A person can stop what no worker can read.
pub(super) async fn cancel_unread(
    on: &mut impl Rows,
    turn: TurnId,
    now: Timestamp,
) -> StoreResult<CancelOutcome> {
    let Some(message) = on.drop_unread(turn).await? else {
        return Ok(CancelOutcome::Requested);
    };
    if let Some(message) = on.message(message).await? {
        let mut message = Message::from(message);
        let waited = now.since(message.created_at);
        message.end(&Finish::never_started(waited), now);
        note_unread_end(on, turn, (message.conversation, message.id), now).await?;
        row_spending::free(on, turn).await?;
        on.put_message(message.into()).await?;
    }
    Ok(CancelOutcome::Cancelled)
}

/// Notes what the end of a turn owes that cannot be read, and is settled with its cancel.
async fn note_unread_end(
    on: &mut impl Rows,
    turn: TurnId,
    (conversation, message): (ConversationId, MessageId),
    now: Timestamp,
) -> StoreResult<()> {
    if let Some(row) = on.conversation(conversation).await? {
        let (tenant, status) = (row.conversation.tenant, TurnStatus::Cancelled);
        let mut effect = Effect::of_turn_end(conversation, turn, message, status, &tenant, now);
        effect.make_due(now);
        on.set_effect(effect.id, Some(effect)).await?;
    }
    Ok(())
}

/// Notes that endpoints are to be told of a request, unless that is noted.
pub(super) async fn note_request(
    on: &mut impl Rows,
    asked: &AskedRequest,
    now: Timestamp,
) -> StoreResult<()> {
    let id = asked.effect();
    let row = on.conversation(asked.conversation).await?;
    if let (Some(row), None) = (row, on.effect(id).await?) {
        let (tenant, kind) = (row.conversation.tenant, EffectKind::Asked(asked.clone()));
        let effect = Effect::new(id, &tenant, kind, now);
        on.set_effect(id, Some(effect)).await?;
    }
    Ok(())
}

/// Makes due what the end of a settled turn owes. One that ended before ends were noted is noted here.
pub(super) async fn release_end(
    on: &mut impl Rows,
    turn: &Turn,
    now: Timestamp,
) -> StoreResult<()> {
    let known = on.effect(turn.id.into()).await?;
    let noted = match known {
        Some(known) => Some(known),
        None => end_of(on, turn, now).await?,
    };
    release(on, noted, now).await
}

/// Makes due what the ends of these turns owe, which are deleted before they are settled.
pub(super) async fn release_ends(
    on: &mut impl Rows,
    turns: &[TurnId],
    now: Timestamp,
) -> StoreResult<()> {
    for turn in turns {
        let known = on.effect((*turn).into()).await?;
        release(on, known, now).await?;
    }
    Ok(())
}

async fn release(on: &mut impl Rows, noted: Option<Effect>, now: Timestamp) -> StoreResult<()> {
    if let Some(mut effect) = noted.filter(Effect::is_held) {
        effect.make_due(now);
        on.set_effect(effect.id, Some(effect)).await?;
    }
    Ok(())
}

/// `None` for a turn that has not ended, or whose conversation is gone.
async fn end_of(on: &mut impl Rows, turn: &Turn, now: Timestamp) -> StoreResult<Option<Effect>> {
    let Phase::Finished { status, .. } = turn.phase() else {
        return Ok(None);
    };
    let row = on.conversation(turn.conversation).await?;
    Ok(row.map(|row| {
        let tenant = &row.conversation.tenant;
        Effect::of_turn_end(
            turn.conversation,
            turn.id,
            turn.message,
            status,
            tenant,
            now,
        )
    }))
}
