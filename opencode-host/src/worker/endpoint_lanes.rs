//! Sending what endpoints are to be told: each address has a lane of its own.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::effects::{take, try_taken};
use super::shared::Shared;
use super::webhooks::id_for;
use crate::id::TurnId;
use crate::reporter::Severity;
use crate::store::{Lane, Take};

/// How many webhooks a worker sends to one address at once.
const AT_ONCE_TO_ONE: usize = 4;

/// How many it sends at once in all. What hangs is over in seconds.
const AT_ONCE: usize = 512;

/// Sends what is due, again and again, until `shutdown`: to each address by itself, so that none is held up by another.
pub(super) async fn keep_sending(shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut sending = JoinSet::new();
    let mut addresses: HashMap<Lane, Arc<Semaphore>> = HashMap::new();
    while !shutdown.is_cancelled() {
        // Armed before the look, so that none is missed.
        let noted = shared.front.effect_noted.notified();
        tokio::pin!(noted);
        noted.as_mut().enable();
        let lanes = lanes(&shared).await;
        addresses
            .retain(|lane, free| free.available_permits() < AT_ONCE_TO_ONE || lanes.contains(lane));
        for lane in lanes {
            let free = addresses.entry(lane.clone());
            let free = free.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE_TO_ONE)));
            while sending.len() < AT_ONCE
                && !shutdown.is_cancelled()
                && let Ok(place) = Arc::clone(free).try_acquire_owned()
                && let Some(effect) = take(&shared, Take::Due(&lane)).await
            {
                let (shared, over) = (Arc::clone(&shared), shutdown.clone());
                sending.spawn(async move {
                    try_taken(&shared, effect, &over).await;
                    drop(place);
                });
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = noted => {}
            () = tokio::time::sleep(shared.workshop.options.poll_interval) => {}
            Some(_) = sending.join_next() => {
                while sending.try_join_next().is_some() {}
            }
        }
    }
    while sending.join_next().await.is_some() {}
}

async fn lanes(shared: &Shared) -> Vec<Lane> {
    match shared.front.store.lanes().await {
        Ok(mut lanes) => {
            lanes.retain(Lane::is_of_webhooks);
            lanes
        }
        Err(error) => {
            let context = [("action", "effect.lanes".into())];
            let telemetry = &shared.front.telemetry;
            telemetry.report(&error, Severity::Error, context);
            Vec::new()
        }
    }
}

/// Tries once what was noted for the endpoints of a tenant of a turn's end.
pub(super) async fn send_end(shared: &Shared, turn: TurnId, shutdown: &CancellationToken) {
    let Some(webhooks) = &shared.webhooks else {
        return;
    };
    let told = async {
        let row = shared.front.store.turn(turn).await.ok().flatten()?;
        let conversation = shared.front.store.conversation(row.conversation);
        let tenant = conversation.await.ok().flatten()?.tenant;
        let limit = shared.workshop.options.plug_in_limit;
        webhooks.of(&tenant, limit).await.ok()
    };
    // Whatever fails here is due for whoever works on turns.
    for endpoint in told.await.unwrap_or_default() {
        if let Some(effect) = take(shared, Take::This(id_for(turn.into(), &endpoint))).await {
            try_taken(shared, effect, shutdown).await;
        }
    }
}
