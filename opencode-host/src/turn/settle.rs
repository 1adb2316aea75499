//! What comes after the end: files, then the word that the turn is settled. With it the hooks are due
//! (`worker/hooks.rs`), and the conversation's next turn can be claimed.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use super::attach::{attach, exchange_of};
use super::ears::Ears;
use super::leaving::{Driven, leave};
use super::tools::Tools;
use crate::store::{Finish, StoreError};

/// Attaches the files of a finished turn and marks it settled.
pub(super) async fn settle(tools: &Tools, ears: &mut Ears) -> Driven {
    let turn = match tools.front.store.turn(tools.turn.id).await {
        Ok(Some(turn)) => turn,
        // The conversation was deleted.
        Ok(None) => return Driven::Lost,
        Err(error) => return unsettled(tools, &error),
    };
    let control = tools.control.clone();
    let attaching = async {
        let exchange = exchange_of(tools, ears, &turn).await;
        let attached = match &exchange {
            // A transform of the host's that panics costs its files, not the conversation its next turns.
            Some(exchange) => {
                let attached = AssertUnwindSafe(attach(tools, &turn, exchange));
                attached.catch_unwind().await
            }
            None => Ok(Ok(())),
        };
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
    match attached {
        Ok(()) => {}
        // The next claim attaches what is missing.
        Err(error) if error.is_transient() => return unsettled(tools, &error),
        Err(error) => tools.report(&error),
    }
    // For the hooks, which are due with the word.
    if let Some(exchange) = exchange {
        tools.workshop.exchanges.keep(turn.id, exchange);
    }
    match tools.front.store.settle(&tools.lease).await {
        Ok(true) => {
            tools.front.effect_noted.notify_waiters();
            trace_finished(tools).await;
        }
        Ok(false) => {}
        Err(error) => return unsettled(tools, &error),
    }
    tools.live.finish();
    tools.front.queue_changed.notify_waiters();
    Driven::Finished
}

/// The next worker settles the turn.
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
