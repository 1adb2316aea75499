//! What is placed on the servers of rows, and which turn a server's worker claims next.

use super::row_shares::fair_turn;
use super::{Claim, Phase, Rows, Server, ServerName, ServerState, StoreResult};
use crate::clock::Timestamp;
use crate::id::TurnId;

/// Which turn to look at for a claim.
pub(super) async fn next_turn(
    on: &mut impl Rows,
    claim: &Claim,
    shares: bool,
    now: Timestamp,
) -> StoreResult<Option<TurnId>> {
    match by_age(on, claim, now).await? {
        Some(found) if shares => fair_turn(on, claim, found, now).await,
        found => Ok(found),
    }
}

async fn by_age(on: &mut impl Rows, claim: &Claim, now: Timestamp) -> StoreResult<Option<TurnId>> {
    let Some(name) = &claim.server else {
        return on.next_turn(now, claim.only).await;
    };
    if let Some(server) = server(on, name).await?
        && server.state() == ServerState::Gone
    {
        return Ok(None);
    }
    let mut queued = true;
    if let Some(capacity) = claim.capacity {
        queued = load(on, name).await?.0 < u64::from(capacity.get());
    }
    on.next_turn_on(name, queued, now, claim.only).await
}

pub(super) async fn server(on: &mut impl Rows, name: &ServerName) -> StoreResult<Option<Server>> {
    let servers = on.servers().await?.into_iter();
    Ok(servers.into_iter().find(|server| server.name == *name))
}

/// How many turns run on a server, and how many are queued there.
pub(super) async fn load(on: &mut impl Rows, name: &ServerName) -> StoreResult<(u64, u64)> {
    let (mut running, mut queued) = (0, 0);
    for turn in on.turns_on(Some(name)).await? {
        match on.turn(turn).await?.map(|row| row.turn.phase()) {
            Some(Phase::Running) => running += 1,
            Some(Phase::Queued) => queued += 1,
            Some(Phase::Finished { .. }) | None => {}
        }
    }
    Ok((running, queued))
}
