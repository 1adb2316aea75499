//! A claim in a [`RowStore`](super::RowStore).

use std::collections::HashSet;

use super::row_placed::next_turn;
use super::row_shares::note_begin;
use super::{Claim, ClaimedTurn, Phase, Rows, StoreError, StoreResult};
use crate::clock::Timestamp;

/// Gives the next turn to a worker. One that cannot be read is set aside, and told.
pub(super) async fn claim_next(
    on: &mut impl Rows,
    claim: &Claim,
    shares: bool,
    now: Timestamp,
) -> StoreResult<Option<ClaimedTurn>> {
    let mut cut = HashSet::new();
    while let Some(next) = next_turn(on, claim, shares, now).await? {
        let row = on.turn(next).await;
        if let Err(StoreError::Corrupt { .. }) = row {
            on.set_aside(next).await?;
        }
        let Some(mut row) = row? else { break };
        // What the tables say of a turn is what was put: else it would be claimed twice, or looked at for ever.
        if !row.is_claimable(now) || !cut.insert(next) {
            let broken = format!(
                "turn {next} is given to be claimed, and its row says that it is leased or settled"
            );
            return Err(StoreError::Unexpected(broken));
        }
        if row.cut_lease(now) {
            on.put_turn(row).await?;
            continue;
        }
        if shares && row.turn.phase() == Phase::Queued {
            note_begin(on, claim, &row, now).await?;
        }
        let lease = row.claim(claim, now);
        let turn = row.turn.clone();
        on.put_turn(row).await?;
        let conversation = on.conversation(turn.conversation).await?;
        return Ok(conversation.map(|row| ClaimedTurn::new(lease, turn, row.conversation, now)));
    }
    Ok(None)
}
