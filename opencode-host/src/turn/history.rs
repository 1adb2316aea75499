//! A session whose history cannot be read.
//!
//! A server that has stored one number that is none answers each read of the session with 500
//! (anomalyco/opencode#38703); a history can also be too large to be read, or stuck behind a proxy. It still tells
//! what the session does, and streams. So what streamed and finished is the answer then, and the session is replaced
//! before the conversation's next prompt: not before the end of this turn, because whoever takes the turn over must
//! find the session that was prompted.

use opencode_client::{Client, Error as ClientError, Exchange, Reply};
use tokio::time::{Instant, timeout};

use super::facts::{Facts, OfHistory, Unread};
use super::tools::{Tools, Trouble};
use crate::session::REMOVING;
use crate::store::{Owed, PromptRecord, Turn};

/// The turn's exchange; `Err` where the server is believed not to give it any more. `known` is how many messages the
/// reply has.
///
/// # Errors
/// See [`history_failed`].
pub(super) async fn read_exchange(
    tools: &Tools,
    facts: &Facts,
    client: &Client,
    prompted: &PromptRecord,
    known: usize,
) -> Result<Result<Exchange, Unread>, Trouble> {
    if let Some(unread) = facts.prompt.looks.unread.filter(|unread| unread.hopeless) {
        return Ok(Err(unread));
    }
    let reading = client.exchange(&prompted.session, &prompted.ids.message, known);
    match reading.await {
        Ok(exchange) => Ok(Ok(exchange)),
        Err(error) => history_failed(tools, facts, error).map(Err),
    }
}

/// What it means that the history could not be read, while the server told what the session does. `Ok` once that is
/// believed to stay so, which is reported the first time.
///
/// # Errors
/// It may pass, or it is another kind of failure.
pub(super) fn history_failed(
    tools: &Tools,
    facts: &Facts,
    error: ClientError,
) -> Result<Unread, Trouble> {
    if matches!(
        error,
        ClientError::SessionNotFound { .. } | ClientError::Unauthorized { .. }
    ) {
        return Err(error.into());
    }
    let unread = facts.history_failed(OfHistory::says(&error), Instant::now());
    if !unread.believed {
        return Err(Trouble::Unread(error, unread));
    }
    let before = facts.prompt.looks.unread;
    if !before.is_some_and(|before| before.believed) {
        tools.report(&error);
        let session = facts.session.as_ref();
        tools.front.telemetry.event(
            "session.unreadable",
            [
                ("turn", tools.turn.id.to_string().into()),
                (
                    "session",
                    session.map(|session| session.id.to_string()).into(),
                ),
                ("error", error.name().into()),
            ],
        );
    }
    Ok(unread)
}

/// What it means that no ids could be minted from the session's history.
pub(super) fn not_minted(tools: &Tools, facts: &Facts, error: ClientError) -> Trouble {
    if OfHistory::says(&error) == OfHistory::Nothing {
        return error.into();
    }
    match history_failed(tools, facts, error.clone()) {
        Ok(unread) => Trouble::Unreadable(error, unread),
        Err(trouble) => trouble,
    }
}

/// Has the conversation's next prompt go to a fresh session, where this one's history cannot be read, or an unknown
/// model stands. The turn has ended. Where this fails, the next turn finds out by itself.
pub(super) async fn give_session_up(tools: &Tools) {
    let Some(session) = &tools.context.conversation.session else {
        return;
    };
    let sessions = tools.sessions();
    let replaced = |_| Some(Owed::Replacement);
    let noting = sessions.note_owed(tools.context.conversation.id, &session.id, replaced);
    if let Ok(Err(error)) = timeout(REMOVING, noting).await {
        tools.report(&error);
    }
}

/// The exchange of a turn that ended, as the checkpoint has it.
pub(super) fn exchange_of_checkpoint(turn: &Turn) -> Option<Exchange> {
    let prompted = turn.prompted.as_ref()?;
    let (session, prompt) = (prompted.session.clone(), prompted.ids.message.clone());
    let checkpoint = turn.checkpoint.clone();
    let is_ours = checkpoint.is_of(&prompt);
    is_ours.then(|| Reply::restore(session, prompt, checkpoint).as_exchange())
}
