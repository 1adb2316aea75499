//! What is to be claimed for a turn that is waited for: it, or the one that it waits for.

use super::placing::place;
use super::shared::Shared;
use crate::id::TurnId;
use crate::store::{ClaimedTurn, Phase, StoreError, Unplaced};

/// How far a turn is that is waited for.
pub(super) enum Toward {
    Settled,
    /// It, or the one it waits for, is ours now.
    Claimed(Box<ClaimedTurn>),
    /// Another worker has it, or its lease has not run out.
    Elsewhere,
}

/// What there is to do for a turn to be settled.
pub(super) async fn claim_towards(shared: &Shared, turn: TurnId) -> Result<Toward, StoreError> {
    let store = &shared.front.store;
    let row = store.turn(turn).await?;
    let row = row.ok_or_else(|| StoreError::not_found("turn", turn))?;
    if matches!(row.phase(), Phase::Finished { settled: true, .. }) {
        return Ok(Toward::Settled);
    }
    let next = store.turn_ahead(turn).await?.unwrap_or(turn);
    let mut claimed = shared.claim(Some(next)).await?;
    if claimed.is_none() && is_placed_anew(shared, next).await? {
        claimed = shared.claim(Some(next)).await?;
    }
    Ok(claimed.map_or(Toward::Elsewhere, |claimed| {
        Toward::Claimed(Box::new(claimed))
    }))
}

/// Sees to it that a turn's conversation is placed. Answers whether it was not before.
async fn is_placed_anew(shared: &Shared, turn: TurnId) -> Result<bool, StoreError> {
    let store = &shared.front.store;
    let Some(turn) = store.turn(turn).await?.filter(|_| store.keeps_servers()) else {
        return Ok(false);
    };
    let conversation = store.conversation(turn.conversation).await?;
    let conversation = conversation.filter(|row| row.server.is_none());
    let is_begun = turn.prompted.is_some() || matches!(turn.phase(), Phase::Finished { .. });
    let Some(conversation) = conversation.filter(|_| !is_begun) else {
        return Ok(false);
    };
    place(shared, Unplaced::new(conversation, turn)).await;
    Ok(true)
}
