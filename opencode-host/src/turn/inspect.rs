//! Looking at what the server holds of the turn.

use opencode_client::reply::PendingRequest;
use tokio::time::Instant;

use super::driver::{Driver, Trouble};
use super::plan::{Inspection, LastMessage};
use crate::store::Note;

impl Driver {
    /// Reads the session's status and the turn's exchange, and brings the reply up to them.
    pub(super) async fn inspect(&mut self) -> Result<(), Trouble> {
        let (Some(session), Some(prompt)) = (self.session.clone(), self.prompt_id()) else {
            return Ok(());
        };
        // The server may have been started anew since the agent wrote.
        self.guard().await?;
        let client = self.client();
        // Status first: a session that was idle before its messages were read has no more to say.
        let busy = match client.status(&session.id).await {
            Ok(status) => status.is_busy(),
            Err(error) => {
                self.unread = None;
                return Err(error.into());
            }
        };
        let read = self.read_exchange(&client, &session.id, &prompt).await?;
        if busy && self.requests_due {
            self.sync_requests().await?;
        }
        let Some(reply) = &mut self.reply else {
            return Ok(());
        };
        let before = reply.changes();
        let unread = read.is_none();
        let exchange = match read {
            Some(exchange) => {
                reply.reconcile(&exchange);
                exchange
            }
            None => reply.as_exchange(),
        };
        if reply.changes() > before && self.heard.is_none() {
            self.host.telemetry.event(
                "response.recovered_from_exchange",
                [
                    ("turn", self.turn.id.to_string().into()),
                    ("session", session.id.to_string().into()),
                ],
            );
        }
        let inspection = Inspection {
            busy,
            prompt_seen: exchange.prompt_seen
                || !exchange.messages.is_empty()
                || (unread && self.found),
            last: exchange.last().map(|message| LastMessage {
                error: message.info.error.clone(),
                finished: message.info.is_finished(),
                wants_more: message.wants_more(),
                truncated: exchange.is_truncated(),
            }),
            declined: exchange.is_declined(|call| reply.has_refused(call)),
            restarts: exchange.restarts(),
            unread,
        };
        if busy && inspection.last.as_ref().is_some_and(|last| !last.finished) && self.orderly_idle
        {
            self.host.telemetry.event(
                "response.waiting_for_final_text",
                [
                    ("turn", self.turn.id.to_string().into()),
                    ("session", session.id.to_string().into()),
                ],
            );
        }
        let now = Instant::now();
        (self.looked, self.look_due) = (Some(now), false);
        if inspection.prompt_seen {
            self.in_flight = None;
        }
        let first = match self.inspection.take() {
            Some((same, first)) if same == inspection => first,
            _ => now,
        };
        self.inspection = Some((inspection, first));
        self.exchange = Some(exchange);
        Ok(())
    }

    /// The prompt's upstream message.
    pub(super) fn prompt_id(&self) -> Option<opencode_client::MessageId> {
        self.prompted_ids().map(|ids| ids.message.clone())
    }

    /// What the agent waits for, by the server's own lists.
    async fn sync_requests(&mut self) -> Result<(), Trouble> {
        let client = self.client();
        let mut waiting: Vec<PendingRequest> = Vec::new();
        waiting.extend(
            client
                .questions()
                .await?
                .into_iter()
                .map(PendingRequest::Question),
        );
        waiting.extend(
            client
                .permissions()
                .await?
                .into_iter()
                .map(PendingRequest::Permission),
        );
        let Some(reply) = &mut self.reply else {
            return Ok(());
        };
        reply.sync_requests(waiting);
        // Whoever died while a person was asked did not fail.
        if !reply.requests().is_empty() && self.turn.attempts > 1 {
            self.host.store.note(&self.lease, Note::Waiting).await?;
            self.turn.attempts = 0;
        }
        self.requests_due = false;
        Ok(())
    }
}
