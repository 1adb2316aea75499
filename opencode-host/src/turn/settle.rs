//! What comes after the end: files, hooks, then the word that all is done.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::TurnResult;
use super::driver::{Driven, Driver};
use crate::product::HookError;
use crate::reporter::Severity;
use crate::store::StoreError;

impl Driver {
    /// Attaches the files of a finished turn, runs its hooks and marks it settled. The rows are
    /// durable: a hook that fails is reported and changes nothing.
    pub(super) async fn settle(&mut self) -> Driven {
        let (turn, message) = match tokio::try_join!(
            self.host.store.turn(self.turn.id),
            self.host.store.message(self.turn.message)
        ) {
            Ok((Some(turn), Some(message))) => (turn, message),
            // The conversation was deleted.
            Ok(_) => return Driven::Lost,
            Err(error) => return self.unsettled(&error),
        };
        let control = self.control.clone();
        let attaching = async {
            let exchange = self.exchange_of(&turn).await;
            // A transform of the host's that panics costs its files, not the conversation its next turns.
            let attached = AssertUnwindSafe(self.attach(&turn, &exchange));
            let attached = attached.catch_unwind().await;
            (exchange, attached)
        };
        let (exchange, attached) = tokio::select! {
            biased;
            () = control.leaves() => return self.leave().await,
            done = attaching => done,
        };
        let attached = attached.unwrap_or_else(|_| {
            let detail = "attaching the turn's files panicked".to_owned();
            Err(StoreError::Unexpected(detail))
        });
        let artifacts = match attached {
            Ok(artifacts) => artifacts,
            // The next claim attaches what is missing.
            Err(error) if error.is_transient() => return self.unsettled(&error),
            Err(error) => {
                self.report(&error);
                Vec::new()
            }
        };
        let Some(result) = TurnResult::of(&turn, &message, artifacts) else {
            return Driven::Lost;
        };
        let product = Arc::clone(&self.product);
        self.hook("on_finalized", product.on_finalized(&message, &exchange))
            .await;
        self.hook("on_turn_finished", product.on_turn_finished(&result))
            .await;
        match self.host.store.settle(&self.lease).await {
            Ok(true) => self.trace_finished().await,
            Ok(false) => {}
            Err(error) => return self.unsettled(&error),
        }
        self.live.finish();
        self.host.queue_changed.notify_waiters();
        Driven::Finished
    }

    /// The hooks may have run; the next worker settles the turn.
    fn unsettled(&self, error: &StoreError) -> Driven {
        if !matches!(error, StoreError::LeaseLost { .. }) {
            self.report(error);
        }
        Driven::Lost
    }

    /// Traces the `turn.finished` event that the store recorded with the end.
    async fn trace_finished(&self) {
        let events = match self.host.store.turn_events(self.turn.id).await {
            Ok(events) => events,
            Err(error) => return self.report(&error),
        };
        for event in events.iter().filter(|event| event.name == "turn.finished") {
            let mut fields = event.payload.as_object().cloned().unwrap_or_default();
            fields.insert("turn".to_owned(), self.turn.id.to_string().into());
            fields.insert(
                "conversation".to_owned(),
                self.turn.conversation.to_string().into(),
            );
            self.host.telemetry.event_of("turn.finished", &fields);
        }
    }

    async fn hook(&self, name: &'static str, hook: impl Future<Output = Result<(), HookError>>) {
        let Err(error) = hook.await else { return };
        self.host.telemetry.report(
            error.as_ref(),
            Severity::Warning,
            [
                ("callback", name.into()),
                ("message", self.turn.message.to_string().into()),
            ],
        );
        self.host.telemetry.event(
            "callback.error",
            [
                ("callback", name.into()),
                ("turn", self.turn.id.to_string().into()),
                ("error", error.to_string().into()),
            ],
        );
    }
}
