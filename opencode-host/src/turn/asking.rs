//! Noting what the agent asks, where endpoints are told of it: the reply that has it is gone with the process.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::timeout;

use super::ears::Ears;
use super::tools::Tools;
use crate::reporter::Severity;
use crate::store::{AskedRequest, Note, StoreError};

/// How long a note may take. What is not noted then is noted when the turn wakes up next, within seconds.
const NOTING: Duration = Duration::from_secs(1);

/// Notes the requests that this claim has not noted: `noted` has those that it has.
pub(super) async fn note_requests(tools: &Tools, ears: &Ears, noted: &mut HashSet<String>) {
    let Some(reply) = ears
        .reply
        .as_ref()
        .filter(|_| tools.workshop.tells_requests)
    else {
        return;
    };
    for asked in reply.requests().iter() {
        if noted.contains(asked.id()) {
            continue;
        }
        let turn = &tools.turn;
        let request = AskedRequest::new(turn.conversation, turn.id, turn.message, asked);
        let noting = tools.front.store.note(&tools.lease, Note::Asked(&request));
        match timeout(NOTING, noting).await {
            Ok(Ok(())) => {
                noted.insert(request.request);
                tools.front.effect_noted.notify_waiters();
            }
            // The lease decides what becomes of the turn, and not this.
            Ok(Err(StoreError::LeaseLost { .. })) | Err(_) => return,
            Ok(Err(error)) => {
                let context = [("action", "request.note".into())];
                let telemetry = &tools.front.telemetry;
                telemetry.report(&error, Severity::Warning, context);
                return;
            }
        }
    }
}
