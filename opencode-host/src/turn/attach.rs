//! The files of a turn, attached between its end and its hooks.

use std::time::Duration;

use opencode_client::{Error as ClientError, Exchange};

use super::driver::Driver;
use crate::artifacts::{Echo, MessageArtifacts};
use crate::reporter::Severity;
use crate::sandbox::{Sandbox, SandboxId};
use crate::store::{Attachment, StoreError, Turn};

/// How often the exchange is asked for.
const TRIES: u32 = 3;

/// How long between the tries.
const PAUSE: Duration = Duration::from_millis(500);

/// How many of the conversation's newest files tell what is not new. Those of the turn before matter: what is older
/// is behind the cutoff.
const REMEMBERED: u32 = 1000;

impl Driver {
    /// The upstream messages of the ended turn. Where the worker that ran it is
    /// gone, they are read from the server once more; a server that is gone too is
    /// reported, and does not keep the turn from being settled.
    pub(super) async fn exchange_of(&mut self, turn: &Turn) -> Exchange {
        match self.exchange.take() {
            Some(exchange) => exchange,
            None => self.exchange_again(turn).await,
        }
    }

    /// Attaches the turn's files. Those that cannot be had are reported.
    ///
    /// # Errors
    /// A [`StoreError`] that concerns them all.
    pub(super) async fn attach(
        &self,
        turn: &Turn,
        exchange: &Exchange,
    ) -> Result<Vec<Attachment>, StoreError> {
        let store = &*self.host.store;
        // Who was never prompted has made no file: what is new in the folder is another turn's.
        let Some(blobs) = self.host.blobs.as_ref().filter(|_| turn.prompted.is_some()) else {
            return store.attachments(turn.message).await;
        };
        let known = store
            .newest_attachments(turn.conversation, REMEMBERED)
            .await?;
        let echo = Echo::of(known.iter().filter(|file| file.message != turn.message));
        let product = &self.product;
        let transforms = product.transforms(&self.conversation);
        let attaching = MessageArtifacts {
            message: turn.message,
            store,
            blobs,
            clock: &*self.host.clock,
            telemetry: &self.host.telemetry,
            default_attach: product.default_attach(&self.conversation),
            transforms: &transforms,
            transform_limit: self.host.options.plug_in_limit,
        };
        let cutoff = turn.started_at.unwrap_or(turn.created_at);
        let sandbox = self.sandbox().await;
        let report = attaching
            .attach_from(exchange, sandbox.as_ref(), cutoff, &echo)
            .await?;
        Ok(report.attachments)
    }

    /// The conversation's folder.
    async fn sandbox(&self) -> Option<Sandbox> {
        let root = self.host.sandboxes.clone()?;
        let id: SandboxId = self.conversation.id.to_string().parse().ok()?;
        match crate::sandbox::blocking(move || root.provision(&id)).await {
            Ok(sandbox) => Some(sandbox),
            Err(error) => {
                self.report(&error);
                None
            }
        }
    }

    async fn exchange_again(&self, turn: &Turn) -> Exchange {
        let none = Self::exchange_of_checkpoint(turn).unwrap_or(Exchange {
            prompt_seen: false,
            messages: Vec::new(),
        });
        let (Some(prompted), Some(_)) = (&turn.prompted, &self.host.blobs) else {
            return none;
        };
        if let Err(unguarded) = self
            .host
            .guard(&self.conversation, self.own_configuration())
            .await
        {
            self.report(&unguarded);
            return none;
        }
        let client = match &self.conversation.session {
            Some(session) => session.client(&self.host.client),
            None => self.host.client.clone(),
        };
        for tried in 1..=TRIES {
            let patience = self.host.options.limits.pace.answer * tried;
            let client = client.with_patience(patience);
            let known = turn.checkpoint.parts().len();
            let reading = client.exchange(&prompted.session, &prompted.ids.message, known);
            let error = match reading.await {
                Ok(exchange) => return exchange,
                Err(error) => error,
            };
            let hopeless = matches!(error, ClientError::SessionNotFound { .. });
            if hopeless || tried == TRIES || self.control.orders().lost {
                self.host.telemetry.report(
                    &error,
                    Severity::Warning,
                    [
                        ("action", "attach".into()),
                        ("turn", turn.id.to_string().into()),
                    ],
                );
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        none
    }
}
