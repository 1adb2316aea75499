//! Looking at what the server holds of the turn.

use opencode_client::Client;
use opencode_client::Reply;
use opencode_client::reply::PendingRequest;

use super::ears::Ears;
use super::facts::{Facts, Inspection, LastMessage, Learned, Look, Requests};
use super::history::read_exchange;
use super::tools::{Outcome, Tools, Trouble};
use crate::store::Note;

/// Reads the session's status and the turn's exchange, and brings the reply up to them.
pub(super) async fn inspect(tools: &Tools, facts: &Facts, ears: &mut Ears) -> Outcome {
    let (Some(session), Some(prompted)) = (facts.linked_session(), facts.prompt.record()) else {
        return Ok(Learned::Done);
    };
    // The server may have been started anew since the agent wrote.
    tools.guard().await?;
    let client = tools.client(facts);
    // Status first: a session that was idle before its messages were read has no more to say.
    let busy = match client.status(&session.id).await {
        Ok(status) => status.is_busy(),
        Err(error) => return Ok(Learned::NoStatus(tools.failure(&error))),
    };
    let known = ears.reply.as_ref().map_or(0, Reply::message_count);
    let (read, unread) = match read_exchange(tools, facts, &client, prompted, known).await? {
        Ok(exchange) => (Some(exchange), None),
        Err(unread) => (None, Some(unread)),
    };
    let Some(reply) = &mut ears.reply else {
        return Ok(Learned::Done);
    };
    let requests = if busy && facts.requests_due() {
        sync_requests(tools, facts, &client, reply).await?
    } else {
        Requests::Unasked
    };
    let before = reply.changes();
    let exchange = match read {
        Some(exchange) => {
            reply.reconcile(&exchange);
            exchange
        }
        None => reply.as_exchange(),
    };
    let trace = |event| {
        tools.front.telemetry.event(
            event,
            [
                ("turn", tools.turn.id.to_string().into()),
                ("session", session.id.to_string().into()),
            ],
        );
    };
    if reply.changes() > before && facts.prompt.heard.is_none() {
        trace("response.recovered_from_exchange");
    }
    let inspection = Inspection {
        busy,
        prompt_seen: exchange.prompt_seen
            || !exchange.messages.is_empty()
            || (unread.is_some() && facts.prompt.looks.found),
        last: exchange.last().map(|message| LastMessage {
            error: message.info.error.clone(),
            finished: message.info.is_finished(),
            wants_more: message.wants_more(),
            truncated: exchange.is_truncated(),
        }),
        declined: exchange.is_declined(|call| reply.has_refused(call)),
        restarts: exchange.restarts(),
        unread: unread.is_some(),
    };
    let is_open = |last: &LastMessage| !last.finished;
    if busy && inspection.last.as_ref().is_some_and(is_open) && facts.prompt.orderly_idle {
        trace("response.waiting_for_final_text");
    }
    ears.exchange = Some(exchange);
    Ok(Learned::Looked(Look {
        inspection,
        unread,
        requests,
    }))
}

/// What the agent waits for, by the server's own lists.
async fn sync_requests(
    tools: &Tools,
    facts: &Facts,
    client: &Client,
    reply: &mut Reply,
) -> Result<Requests, Trouble> {
    let questions = client.questions().await?;
    let permissions = client.permissions().await?;
    let questions = questions.into_iter().map(PendingRequest::Question);
    let permissions = permissions.into_iter().map(PendingRequest::Permission);
    reply.sync_requests(questions.chain(permissions).collect());
    // Whoever died while a person was asked did not fail.
    if !reply.requests().is_empty() && facts.claim.attempts > 1 {
        let noting = Note::Waiting(true);
        tools.front.store.note(&tools.lease, noting).await?;
        tools.noted_waiting();
        return Ok(Requests::Waiting);
    }
    Ok(Requests::Synced)
}
