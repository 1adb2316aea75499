//! The upstream messages of a turn that has ended, read from the server once more, for who comes later.

use std::time::Duration;

use opencode_client::{Error as ClientError, Exchange};

use super::history::exchange_of_checkpoint;
use super::workshop::Workshop;
use crate::configuration_guard::guarded_client;
use crate::front::Front;
use crate::reporter::Severity;
use crate::sandbox::OwnConfiguration;
use crate::store::{Conversation, Turn};

/// How often the exchange is asked for.
const TRIES: u32 = 3;

/// How long between the tries.
const PAUSE: Duration = Duration::from_millis(500);

/// What the store has of the turn's exchange: what had streamed when it was saved last.
pub(crate) fn stored_exchange(turn: &Turn) -> Exchange {
    exchange_of_checkpoint(turn).unwrap_or(Exchange {
        prompt_seen: false,
        messages: Vec::new(),
    })
}

/// Reads the exchange from the server, a few times. Where the server does not give it, that is reported, and what the
/// store has is the answer. `is_over` says when it is not worth another try.
pub(crate) async fn past_exchange(
    front: &Front,
    workshop: &Workshop,
    conversation: &Conversation,
    own: OwnConfiguration,
    turn: &Turn,
    is_over: impl Fn() -> bool,
) -> Exchange {
    let stored = stored_exchange(turn);
    let Some(prompted) = &turn.prompted else {
        return stored;
    };
    let server = prompted.server.as_ref();
    if server.is_some_and(|server| *server != workshop.server) {
        // It is another server's, and not asked of this one.
        return stored;
    }
    let client = match guarded_client(front, &workshop.client, conversation, own).await {
        Ok(client) => client,
        Err(unguarded) => {
            let context = [("turn", turn.id.to_string().into())];
            front
                .telemetry
                .report(&unguarded, Severity::Warning, context);
            return stored;
        }
    };
    for tried in 1..=TRIES {
        let patience = workshop.options.limits.pace.answer * tried;
        let client = client.with_patience(patience);
        let known = turn.checkpoint.parts().len();
        let reading = client.exchange(&prompted.session, &prompted.ids.message, known);
        let error = match reading.await {
            Ok(exchange) => return exchange,
            Err(error) => error,
        };
        let hopeless = matches!(error, ClientError::SessionNotFound { .. });
        if hopeless || tried == TRIES || is_over() {
            let context = [
                ("action", "attach".into()),
                ("turn", turn.id.to_string().into()),
            ];
            front.telemetry.report(&error, Severity::Warning, context);
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    stored
}
