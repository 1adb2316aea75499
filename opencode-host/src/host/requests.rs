//! Answers to what a running turn's agent asks.

use opencode_client::wire::PermissionReply;
use opencode_client::{Client, Error as ClientError, PermissionId, QuestionId, SessionId};

use super::Host;
use crate::id::TurnId;
use crate::store::{StoreError, TurnState};

/// How deep sub-agents of sub-agents are followed. OpenCode's own limit is 1 unless it is configured.
const DEEPEST: usize = 16;

/// Why an answer did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The agent does not wait for this any more, or it is another conversation's.
    #[error("the agent does not wait for this answer any more")]
    NotWaiting,
    /// The server.
    #[error(transparent)]
    Upstream(ClientError),
}

impl From<ClientError> for AnswerError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::BadRequest { status: 404, .. } => Self::NotWaiting,
            other => Self::Upstream(other),
        }
    }
}

impl Host {
    /// Answers a question of a running turn: labels or words for each of its
    /// questions. Works from any process, also when the worker that saw the
    /// question is gone.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub async fn answer_question(
        &self,
        turn: TurnId,
        question: &QuestionId,
        answers: &[Vec<String>],
    ) -> Result<(), AnswerError> {
        let client = self.asked(turn, Asked::Question(question)).await?;
        Ok(client.answer_question(question, answers).await?)
    }

    /// Declines a question of a running turn. The turn then ends.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub async fn reject_question(
        &self,
        turn: TurnId,
        question: &QuestionId,
    ) -> Result<(), AnswerError> {
        let client = self.asked(turn, Asked::Question(question)).await?;
        Ok(client.reject_question(question).await?)
    }

    /// Answers a permission request of a running turn. A rejection with a
    /// message lets the agent go on without; without one the turn ends.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub async fn reply_permission(
        &self,
        turn: TurnId,
        permission: &PermissionId,
        reply: PermissionReply,
        message: Option<&str>,
    ) -> Result<(), AnswerError> {
        let client = self.asked(turn, Asked::Permission(permission)).await?;
        Ok(client.reply_permission(permission, reply, message).await?)
    }

    /// The client in the folder of the turn's session, once the turn is known to wait for this: it runs, the request
    /// is pending there, and the turn's session or a sub-agent's below it raised it. Conversations may share a
    /// folder, and a server answers whatever id it is given.
    async fn asked(&self, turn: TurnId, asked: Asked<'_>) -> Result<Client, AnswerError> {
        let store = &self.shared.store;
        let missing = || StoreError::NotFound {
            what: "turn",
            id: turn.to_string(),
        };
        let turn = store.turn(turn).await?.ok_or_else(missing)?;
        let conversation = store
            .conversation(turn.conversation)
            .await?
            .ok_or_else(missing)?;
        let (TurnState::Running, Some(prompted), Some(session)) =
            (turn.state, turn.prompted, &conversation.session)
        else {
            return Err(AnswerError::NotWaiting);
        };
        if let Err(unguarded) = self.shared.guard(&conversation).await {
            let unguarded = ClientError::Configuration(unguarded.to_string());
            return Err(AnswerError::Upstream(unguarded));
        }
        let client = session.client(&self.shared.client);
        let asks = match asked {
            Asked::Permission(id) => {
                let waiting = client.permissions().await?;
                let found = waiting.into_iter().find(|request| request.id == *id);
                found.map(|request| request.session_id)
            }
            Asked::Question(id) => {
                let waiting = client.questions().await?;
                let found = waiting.into_iter().find(|request| request.id == *id);
                found.map(|request| request.session_id)
            }
        };
        let asks = asks.ok_or(AnswerError::NotWaiting)?;
        if is_below(&client, asks, &prompted.session).await? {
            Ok(client)
        } else {
            Err(AnswerError::NotWaiting)
        }
    }
}

/// What a turn is said to wait for.
enum Asked<'a> {
    Permission(&'a PermissionId),
    Question(&'a QuestionId),
}

/// Whether `session` is `root`, or a sub-agent's session below it.
async fn is_below(
    client: &Client,
    mut session: SessionId,
    root: &SessionId,
) -> Result<bool, ClientError> {
    for _ in 0..DEEPEST {
        if session == *root {
            return Ok(true);
        }
        match client.session(&session).await {
            Ok(found) => match found.parent_id {
                Some(parent) => session = parent,
                None => return Ok(false),
            },
            Err(ClientError::SessionNotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
