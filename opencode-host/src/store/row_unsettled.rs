//! The turns of a conversation that are not settled, for a store over tables.

use super::{Rows, StoreError, StoreResult, TurnRow};
use crate::clock::Timestamp;
use crate::id::{ConversationId, TurnId};

/// The queued and running turns of a conversation, oldest first. One that cannot be read counts: it holds up the others.
pub(super) async fn unfinished(
    on: &mut impl Rows,
    conversation: ConversationId,
) -> StoreResult<Vec<TurnId>> {
    let mut unfinished = Vec::new();
    for turn in on.unsettled(conversation).await? {
        match on.turn(turn).await {
            Ok(row) if row.as_ref().is_some_and(TurnRow::is_unfinished) => unfinished.push(turn),
            Ok(_) => {}
            Err(StoreError::Corrupt { .. }) => unfinished.push(turn),
            Err(error) => return Err(error),
        }
    }
    Ok(unfinished)
}

/// When the last lease on a turn of a conversation ends.
pub(super) async fn leased_until(
    on: &mut impl Rows,
    conversation: ConversationId,
) -> StoreResult<Option<Timestamp>> {
    let mut until = None;
    for turn in on.unsettled(conversation).await? {
        match on.turn(turn).await {
            Ok(row) => until = until.max(row.and_then(|row| row.lease).map(|held| held.expires_at)),
            Err(StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(until)
}
