//! Answers to what a running turn's agent asks.
//!
//! A person waits for each, so a call that is not answered within seconds is made again. That is safe: each time, the
//! request is looked for first, and one that does not wait any more has got the answer whose fate was not known.

use std::time::Duration;

use opencode_client::wire::PermissionReply;
use opencode_client::{Client, Error as ClientError, PermissionId, QuestionId, SessionId};
use tokio::time::{Instant, sleep, timeout_at};

use super::Host;
use crate::id::TurnId;
use crate::store::{StoreError, TurnState};
use crate::worker;

/// How deep sub-agents of sub-agents are followed. OpenCode's own limit is 1 unless it is configured.
const DEEPEST: usize = 16;

/// How long an answer is tried, in units of [`Pace::answer`](crate::turn::Pace::answer).
const PATIENCE: u32 = 6;

/// How long before a call that failed is made again.
const PAUSE: Duration = Duration::from_millis(250);

/// Why an answer did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The agent does not wait for this any more, or it is another conversation's.
    #[error("the agent does not wait for this answer any more")]
    NotWaiting,
    /// The server could not be reached in time, or refused. It does not have the answer.
    #[error("the answer did not arrive: {0}. Is OpenCode running? Answer again once it is")]
    Upstream(ClientError),
    /// The answer was sent, and the server has not said that it got it.
    #[error(
        "it is not known whether the answer arrived: {0}. Answer again if the agent still waits"
    )]
    Unconfirmed(ClientError),
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
    /// See [`AnswerError`]; within some seconds, however long the server says nothing.
    pub async fn answer_question(
        &self,
        turn: TurnId,
        question: &QuestionId,
        answers: &[Vec<String>],
    ) -> Result<(), AnswerError> {
        self.give(turn, Answer::Question(question, answers)).await
    }

    /// Declines a question of a running turn. The turn then ends.
    ///
    /// # Errors
    /// See [`AnswerError`]; within some seconds, however long the server says nothing.
    pub async fn reject_question(
        &self,
        turn: TurnId,
        question: &QuestionId,
    ) -> Result<(), AnswerError> {
        self.give(turn, Answer::Rejection(question)).await
    }

    /// Answers a permission request of a running turn. A rejection with a
    /// message lets the agent go on without; without one the turn ends.
    ///
    /// # Errors
    /// See [`AnswerError`]; within some seconds, however long the server says nothing.
    pub async fn reply_permission(
        &self,
        turn: TurnId,
        permission: &PermissionId,
        reply: PermissionReply,
        message: Option<&str>,
    ) -> Result<(), AnswerError> {
        self.give(turn, Answer::Permission(permission, reply, message))
            .await
    }

    /// Gives the answer, and again where it is not known to have arrived, for some seconds.
    async fn give(&self, turn: TurnId, answer: Answer<'_>) -> Result<(), AnswerError> {
        let Some(worker) = self.front.workers().into_iter().next() else {
            return Err(AnswerError::Upstream(ClientError::Configuration(
                "no worker runs in this process".to_owned(),
            )));
        };
        let first = worker.options.limits.pace.answer;
        let until = Instant::now() + first * PATIENCE;
        let mut patience = first;
        // What became of the last post, where that is not known.
        let mut unconfirmed: Option<ClientError> = None;
        loop {
            let mut sent = false;
            let giving = async {
                let server = worker.client.with_patience(patience);
                let client = self.asked(&worker, &server, turn, answer).await?;
                sent = true;
                Ok(answer.post(&client).await?)
            };
            let given = timeout_at(until, giving).await.unwrap_or_else(|_| {
                Err(AnswerError::Upstream(ClientError::Timeout {
                    call: "a person's answer".to_owned(),
                    seconds: (first * PATIENCE).as_secs(),
                }))
            });
            let error = match given {
                Ok(()) => return Ok(()),
                // It has arrived, and the server's word for it was lost.
                Err(AnswerError::NotWaiting) if unconfirmed.is_some() => return Ok(()),
                Err(AnswerError::Upstream(error)) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            if sent {
                unconfirmed = Some(error.clone());
            }
            if Instant::now() + PAUSE >= until {
                return Err(match unconfirmed {
                    Some(_) => AnswerError::Unconfirmed(error),
                    None => AnswerError::Upstream(error),
                });
            }
            tracing::debug!(%error, "an answer is tried again");
            sleep(PAUSE).await;
            patience *= 2;
        }
    }

    /// The client in the folder of the turn's session, once the turn is known to wait for this: it runs, the request
    /// is pending there, and the turn's session or a sub-agent's below it raised it. Conversations may share a
    /// folder, and a server answers whatever id it is given.
    async fn asked(
        &self,
        worker: &worker::Shared,
        server: &Client,
        turn: TurnId,
        answer: Answer<'_>,
    ) -> Result<Client, AnswerError> {
        let store = &self.front.store;
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
        if let Err(unguarded) = worker.guard_of(&conversation).await {
            let unguarded = ClientError::Configuration(unguarded.to_string());
            return Err(AnswerError::Upstream(unguarded));
        }
        let client = session.client(server);
        let asks = match answer {
            Answer::Permission(id, ..) => {
                let waiting = client.permissions().await?;
                let found = waiting.into_iter().find(|request| request.id == *id);
                found.map(|request| request.session_id)
            }
            Answer::Question(id, _) | Answer::Rejection(id) => {
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

/// An answer to what a turn is said to wait for.
#[derive(Clone, Copy)]
enum Answer<'a> {
    Permission(&'a PermissionId, PermissionReply, Option<&'a str>),
    Question(&'a QuestionId, &'a [Vec<String>]),
    Rejection(&'a QuestionId),
}

impl Answer<'_> {
    async fn post(self, client: &Client) -> Result<(), ClientError> {
        match self {
            Self::Permission(id, reply, message) => {
                client.reply_permission(id, reply, message).await
            }
            Self::Question(id, answers) => client.answer_question(id, answers).await,
            Self::Rejection(id) => client.reject_question(id).await,
        }
    }
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
