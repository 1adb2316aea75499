//! Calling a product's hooks for a turn that has ended.

use std::sync::Arc;
use std::time::Duration;

use opencode_client::Exchange;

use super::shared::Shared;
use crate::id::TurnId;
use crate::plug_in::PlugInError;
use crate::product::{Delivery, HookError};
use crate::reporter::Severity;
use crate::store::{HooksCalled, Turn};
use crate::turn::TurnResult;
use crate::turn::past_exchange::{past_exchange, stored_exchange};

/// How long reading the exchange from the server may take, all tries together.
const READING: Duration = Duration::from_secs(20);

/// What else there is to do for the hooks of a turn, without the calls themselves: reading rows, writing down what came of it.
const REST: Duration = Duration::from_secs(10);

/// A hook's failure that was reported already.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Told(PlugInError);

/// How long a try of a turn's hooks takes at most.
pub(super) fn longest_try(plug_in_limit: Duration) -> Duration {
    // Two calls, and a second for each to notice that its time is up.
    let calls = plug_in_limit.saturating_add(Duration::from_secs(1));
    (READING + REST).saturating_add(calls.saturating_mul(2))
}

/// Calls the hooks that have not done their part yet.
///
/// # Errors
/// [`Told`] for what the last hook that failed said; else what kept them from being called.
pub(super) async fn call(
    shared: &Shared,
    turn: TurnId,
    called: &mut HooksCalled,
    delivery: Delivery,
) -> Result<(), HookError> {
    let store = &shared.front.store;
    let Some(turn) = store.turn(turn).await? else {
        // The conversation was deleted.
        return Ok(());
    };
    let Some(message) = store.message(turn.message).await? else {
        return Ok(());
    };
    let mut failed = None;
    if !called.on_finalized {
        let exchange = exchange_of(shared, &turn).await?;
        let hook = shared
            .product
            .on_finalized(message.clone(), exchange, delivery);
        match hook.await {
            Ok(()) => called.on_finalized = true,
            Err(error) => failed = Some(told(shared, "on_finalized", &turn, delivery, error)),
        }
    }
    if !called.on_turn_finished {
        let files = store.attachments(message.id).await?;
        if let Some(result) = TurnResult::of(&turn, &message, files) {
            match shared.product.on_turn_finished(result, delivery).await {
                Ok(()) => called.on_turn_finished = true,
                Err(error) => {
                    failed = Some(told(shared, "on_turn_finished", &turn, delivery, error));
                }
            }
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => {
            shared.workshop.exchanges.forget(turn.id);
            Ok(())
        }
    }
}

async fn exchange_of(shared: &Shared, turn: &Turn) -> Result<Arc<Exchange>, HookError> {
    if let Some(exchange) = shared.workshop.exchanges.of(turn.id) {
        return Ok(exchange);
    }
    let conversation = shared.front.store.conversation(turn.conversation).await?;
    let (Some(conversation), true) = (conversation, turn.prompted.is_some()) else {
        return Ok(Arc::new(stored_exchange(turn)));
    };
    let own = shared.product.own_configuration(&conversation).await?;
    let never = || false;
    let (front, workshop) = (&shared.front, &shared.workshop);
    let reading = past_exchange(front, workshop, &conversation, own, turn, never);
    let read = tokio::time::timeout(READING, reading).await;
    Ok(Arc::new(read.unwrap_or_else(|_| stored_exchange(turn))))
}

/// Reports and traces that a hook failed.
fn told(
    shared: &Shared,
    callback: &'static str,
    turn: &Turn,
    delivery: Delivery,
    error: PlugInError,
) -> Told {
    let context = [
        ("callback", callback.into()),
        ("message", turn.message.to_string().into()),
        ("attempt", delivery.attempt.into()),
    ];
    let telemetry = &shared.front.telemetry;
    match &error {
        PlugInError::Failed(error) => {
            telemetry.report(error.as_ref(), Severity::Warning, context);
        }
        error => telemetry.report(error, Severity::Warning, context),
    }
    telemetry.event(
        "callback.error",
        [
            ("callback", callback.into()),
            ("turn", turn.id.to_string().into()),
            ("attempt", delivery.attempt.into()),
            ("error", error.to_string().into()),
        ],
    );
    Told(error)
}
