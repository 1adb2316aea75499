use opencode_client::wire::PermissionReply;
use opencode_client::{Client, Error as ClientError, PermissionId, QuestionId};

use super::Host;
use crate::id::TurnId;
use crate::store::StoreError;

/// Why an answer did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The agent does not wait for this any more.
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
        Ok(self
            .client_of(turn)
            .await?
            .answer_question(question, answers)
            .await?)
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
        Ok(self
            .client_of(turn)
            .await?
            .reject_question(question)
            .await?)
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
        Ok(self
            .client_of(turn)
            .await?
            .reply_permission(permission, reply, message)
            .await?)
    }

    /// The client in the folder of the turn's session: requests are kept per folder.
    async fn client_of(&self, turn: TurnId) -> Result<Client, AnswerError> {
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
        if let Err(unguarded) = self.shared.guard(&conversation).await {
            let unguarded = ClientError::Configuration(unguarded.to_string());
            return Err(AnswerError::Upstream(unguarded));
        }
        let client = self.shared.client.clone();
        Ok(
            match conversation.session.and_then(|session| session.directory) {
                Some(directory) => client.in_directory(directory),
                None => client,
            },
        )
    }
}
