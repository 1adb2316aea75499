//! Answers to what a running turn's agent asks.
//!
//! An answer is a row like a cancel: the first one wins, and the turn's worker sends it, in whatever process it runs
//! (`worker/answering.rs`). Whoever gave it waits here for the worker's word.

use opencode_client::wire::PermissionReply;
use opencode_client::{PermissionId, QuestionId};
use tokio::time::{Instant, sleep};

use super::Host;
use crate::clock::Timestamp;
use crate::id::TurnId;
use crate::store::{
    AnswerOutcome, AnswerState, NewAnswer, Phase, RequestAnswer, StoreError, StoreResult, Turn,
};

/// Why an answer did not arrive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The agent does not wait for this any more, or it is another conversation's.
    #[error("the agent does not wait for this answer any more")]
    NotWaiting,
    /// The request has an answer already, and that one counts.
    #[error("this was answered before{}", by.as_ref().map(|who| format!(", by {who}")).unwrap_or_default())]
    AlreadyAnswered {
        /// Who gave it, where they said so.
        by: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// The server could not be reached in time, or refused. It does not have the answer.
    #[error("the answer did not arrive: {0}. Is OpenCode running? Answer again once it is")]
    Upstream(String),
    /// The answer was sent, and the server has not said that it got it.
    #[error(
        "it is not known whether the answer arrived: {0}. Answer again if the agent still waits"
    )]
    Unconfirmed(String),
    /// No worker has taken it up in time. It is kept, and sent once one does.
    #[error("the answer is kept, and not sent yet: no worker has taken it up. Is one running?")]
    Unsent,
}

impl Host {
    /// Answers a question of a running turn: labels or words for each of its
    /// questions.
    ///
    /// # Errors
    /// As for [`Host::answer`].
    pub async fn answer_question(
        &self,
        turn: TurnId,
        question: &QuestionId,
        answers: &[Vec<String>],
    ) -> Result<(), AnswerError> {
        self.answer(turn, NewAnswer::question(question, answers))
            .await
    }

    /// Declines a question of a running turn. The turn then ends.
    ///
    /// # Errors
    /// As for [`Host::answer`].
    pub async fn reject_question(
        &self,
        turn: TurnId,
        question: &QuestionId,
    ) -> Result<(), AnswerError> {
        self.answer(turn, NewAnswer::rejection(question)).await
    }

    /// Answers a permission request of a running turn. A rejection with a
    /// message lets the agent go on without; without one the turn ends.
    ///
    /// # Errors
    /// As for [`Host::answer`].
    pub async fn reply_permission(
        &self,
        turn: TurnId,
        permission: &PermissionId,
        reply: PermissionReply,
        message: Option<&str>,
    ) -> Result<(), AnswerError> {
        let answer = NewAnswer::permission(permission, reply);
        let answer = match message {
            Some(message) => answer.message(message),
            None => answer,
        };
        self.answer(turn, answer).await
    }

    /// Answers a request of a running turn, from any process: the answer is kept first, then the turn's worker sends it
    /// within a second. The first answer to a request counts. Returns once OpenCode has it.
    ///
    /// An answer that was kept is sent also where this is not waited for.
    ///
    /// # Errors
    /// See [`AnswerError`]; within [`HostOptions::answer_wait`](crate::HostOptions::answer_wait), however long the
    /// server says nothing.
    pub async fn answer(&self, turn: TurnId, answer: NewAnswer) -> Result<(), AnswerError> {
        let front = &self.front;
        let given = match front.store.answer(turn, &answer).await? {
            AnswerOutcome::Taken(given) => given,
            AnswerOutcome::NotWaiting => return Err(AnswerError::NotWaiting),
            AnswerOutcome::Already(known) => {
                return Err(AnswerError::AlreadyAnswered {
                    by: known.answer.by,
                    at: known.at,
                });
            }
        };
        for worker in front.workers() {
            worker.send_answers(turn);
        }
        let until = Instant::now() + front.options.answer_wait;
        loop {
            // Armed before the look, so that no word is missed.
            let told = front.answered.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let state = match self.state_of(turn, &given).await {
                Ok(state) => state.ok_or(AnswerError::NotWaiting)?,
                // The answer is kept.
                Err(error) if error.is_transient() && Instant::now() < until => given.state.clone(),
                Err(error) => return Err(error.into()),
            };
            match state {
                AnswerState::Arrived => return Ok(()),
                AnswerState::Failed { why, sent: true } => {
                    return Err(AnswerError::Unconfirmed(why));
                }
                AnswerState::Failed { why, sent: false } => return Err(AnswerError::Upstream(why)),
                AnswerState::Sent if Instant::now() >= until => {
                    let why = "the turn's worker has not said so";
                    return Err(AnswerError::Unconfirmed(why.to_owned()));
                }
                AnswerState::Waiting if Instant::now() >= until => return Err(AnswerError::Unsent),
                AnswerState::Waiting | AnswerState::Sent => {}
            }
            tokio::select! {
                () = told => {}
                () = sleep(front.options.poll_interval) => {}
            }
        }
    }

    /// What became of an answer; `None` where the agent does not wait for it any more.
    async fn state_of(
        &self,
        turn: TurnId,
        given: &RequestAnswer,
    ) -> StoreResult<Option<AnswerState>> {
        let store = &self.front.store;
        let answers = store.answers(turn).await?;
        let is_it = |row: &RequestAnswer| row.at == given.at && row.answer == given.answer;
        let Some(row) = answers.into_iter().find(is_it) else {
            return Ok(None);
        };
        if row.state == AnswerState::Waiting {
            // Nobody sends it any more where the turn has ended.
            let turn = store.turn(turn).await?;
            let runs = |turn: &Turn| !matches!(turn.phase(), Phase::Finished { .. });
            return Ok(turn.filter(runs).map(|_| row.state));
        }
        Ok(Some(row.state))
    }
}
