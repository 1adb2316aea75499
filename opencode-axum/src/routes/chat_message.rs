//! The last message of a chat, as front ends that others wrote send it: one turn in the conversation of the chat's name.

use opencode_client::wire::Prompt;
use opencode_host::id::{ConversationId, MessageId, TurnId};
use opencode_host::store::{OnBusy, StoreError, Turn};
use opencode_host::{SubmitOptions, check_prompt};
use tokio::sync::OwnedSemaphorePermit;

use super::inline_files::{InlineFile, uploads};
use super::submit::submit_once;
use crate::authorize::Scope;
use crate::problem::Problem;
use crate::settings::Settings;

/// What a person sends.
#[derive(Debug)]
pub(super) struct ChatMessage {
    pub(super) text: String,
    pub(super) files: Vec<InlineFile>,
    pub(super) client_key: Option<String>,
    /// Where it is sent; `None`: behind all others.
    pub(super) place: Option<Place>,
    pub(super) on_busy: OnBusy,
}

/// In whose place a message is sent.
#[derive(Debug)]
pub(super) enum Place {
    /// In that of the turn of this message. A front end that names messages itself may call it by a name of which nothing
    /// is known: then it is sent behind all others.
    Perhaps(String),
    /// In that of the turn of this message, which is to be there.
    InsteadOf(String),
}

impl ChatMessage {
    /// Queues a turn, or finds the one that the same message has made before; with a seat for its stream.
    pub(super) async fn submit(
        self,
        settings: &Settings,
        scope: &Scope,
        chat: &str,
    ) -> Result<(Turn, OwnedSemaphorePermit), Problem> {
        // Before there is a conversation for it.
        check_prompt(&self.text, settings.max_prompt)?;
        let seat = settings.seat()?;
        let (conversation, instead_of) = match &self.place {
            None => (scope.host.open_conversation(chat).await?.id, None),
            Some(Place::Perhaps(message)) => {
                let conversation = scope.host.open_conversation(chat).await?.id;
                (conversation, turn_of(scope, conversation, message).await?)
            }
            Some(Place::InsteadOf(message)) => {
                // Nothing is opened for a message that is not there.
                let known = scope.host.conversation_named(chat).await?;
                let conversation = known.ok_or_else(|| not_there(message))?.id;
                let turn = turn_of(scope, conversation, message).await?;
                (conversation, Some(turn.ok_or_else(|| not_there(message))?))
            }
        };
        let options = SubmitOptions {
            instead_of,
            client_key: self.client_key,
            on_busy: self.on_busy,
            uploads: uploads(scope, conversation, self.files).await?,
            ..SubmitOptions::default()
        };
        let prompt = Prompt::text(self.text);
        let submitted = submit_once(scope, conversation, prompt, options).await?;
        Ok((submitted.turn, seat))
    }
}

/// The turn whose answer this message of a chat is.
pub(super) async fn answered_turn(
    scope: &Scope,
    chat: &str,
    message: &str,
) -> Result<Turn, Problem> {
    let known = scope.host.conversation_named(chat).await?;
    let conversation = known.ok_or_else(|| not_there(message))?.id;
    let turn = turn_of(scope, conversation, message).await?;
    let turn = turn.ok_or_else(|| not_there(message))?;
    Ok(scope.host.turn(turn).await?)
}

/// The turn of a message of this conversation.
pub(super) async fn turn_of(
    scope: &Scope,
    conversation: ConversationId,
    message: &str,
) -> Result<Option<TurnId>, Problem> {
    let Ok(message) = message.parse::<MessageId>() else {
        return Ok(None);
    };
    match scope.host.message(message).await {
        Ok(found) => Ok(Some(found.turn).filter(|_| found.conversation == conversation)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// That nothing is asked.
pub(super) fn no_prompt() -> Problem {
    let detail = "The last message is to be the person's.";
    Problem::unprocessable("no_prompt", detail)
}

fn not_there(message: &str) -> Problem {
    Problem::not_found(format!(
        "There is no message {message:?} in this conversation."
    ))
}
