//! What comes after the end: files, hooks, then the word that all is done.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use super::TurnResult;
use super::attach::{attach, exchange_of};
use super::ears::Ears;
use super::leaving::{Driven, leave};
use super::tools::Tools;
use crate::plug_in::HookError;
use crate::product::Product as _;
use crate::reporter::Severity;
use crate::store::{Finish, StoreError};

/// Attaches the files of a finished turn, runs its hooks and marks it settled. The rows are
/// durable: a hook that fails is reported and changes nothing.
pub(super) async fn settle(tools: &Tools, ears: &mut Ears) -> Driven {
    let (turn, message) = match tokio::try_join!(
        tools.front.store.turn(tools.turn.id),
        tools.front.store.message(tools.turn.message)
    ) {
        Ok((Some(turn), Some(message))) => (turn, message),
        // The conversation was deleted.
        Ok(_) => return Driven::Lost,
        Err(error) => return unsettled(tools, &error),
    };
    let control = tools.control.clone();
    let attaching = async {
        let exchange = exchange_of(tools, ears, &turn).await;
        // A transform of the host's that panics costs its files, not the conversation its next turns.
        let attached = AssertUnwindSafe(attach(tools, &turn, &exchange));
        let attached = attached.catch_unwind().await;
        (exchange, attached)
    };
    let (exchange, attached) = tokio::select! {
        biased;
        () = control.leaves() => return leave(tools, ears).await,
        done = attaching => done,
    };
    let attached = attached.unwrap_or_else(|_| {
        let detail = "attaching the turn's files panicked".to_owned();
        Err(StoreError::Unexpected(detail))
    });
    let artifacts = match attached {
        Ok(artifacts) => artifacts,
        // The next claim attaches what is missing.
        Err(error) if error.is_transient() => return unsettled(tools, &error),
        Err(error) => {
            tools.report(&error);
            Vec::new()
        }
    };
    let Some(result) = TurnResult::of(&turn, &message, artifacts) else {
        return Driven::Lost;
    };
    let product = &tools.product;
    hook(
        tools,
        "on_finalized",
        product.on_finalized(&message, &exchange),
    )
    .await;
    hook(tools, "on_turn_finished", product.on_turn_finished(&result)).await;
    match tools.front.store.settle(&tools.lease).await {
        Ok(true) => trace_finished(tools).await,
        Ok(false) => {}
        Err(error) => return unsettled(tools, &error),
    }
    tools.live.finish();
    tools.front.queue_changed.notify_waiters();
    Driven::Finished
}

/// The hooks may have run; the next worker settles the turn.
fn unsettled(tools: &Tools, error: &StoreError) -> Driven {
    if !matches!(error, StoreError::LeaseLost { .. }) {
        tools.report(error);
    }
    Driven::Lost
}

/// Traces the `turn.finished` event that the store recorded with the end.
async fn trace_finished(tools: &Tools) {
    let events = match tools.front.store.turn_events(tools.turn.id).await {
        Ok(events) => events,
        Err(error) => return tools.report(&error),
    };
    for event in events.iter().filter(|event| event.name == Finish::EVENT) {
        let mut fields = event.payload.as_object().cloned().unwrap_or_default();
        fields.insert("turn".to_owned(), tools.turn.id.to_string().into());
        fields.insert(
            "conversation".to_owned(),
            tools.turn.conversation.to_string().into(),
        );
        tools.front.telemetry.event_of(Finish::EVENT, &fields);
    }
}

async fn hook(
    tools: &Tools,
    name: &'static str,
    hook: impl Future<Output = Result<(), HookError>>,
) {
    let Err(error) = hook.await else { return };
    tools.front.telemetry.report(
        error.as_ref(),
        Severity::Warning,
        [
            ("callback", name.into()),
            ("message", tools.turn.message.to_string().into()),
        ],
    );
    tools.front.telemetry.event(
        "callback.error",
        [
            ("callback", name.into()),
            ("turn", tools.turn.id.to_string().into()),
            ("error", error.to_string().into()),
        ],
    );
}
