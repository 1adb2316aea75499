//! Answers to what the agent of a running turn asks: given by anyone, from any process, and sent by the turn's worker.

use opencode_client::wire::PermissionReply;
use opencode_client::{PermissionId, QuestionId};
use serde::{Deserialize, Serialize};

use super::{StoreError, StoreResult};
use crate::clock::Timestamp;

/// The most bytes that an answer may have, its words and who gives it together.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;

/// An answer to a request, as it is given.
///
/// ```
/// # use opencode_host::client::{PermissionId, wire::PermissionReply};
/// # use opencode_host::store::NewAnswer;
/// let request = PermissionId::from("per_1");
/// let answer = NewAnswer::permission(&request, PermissionReply::Reject)
///     .message("Use the staging database.")
///     .by("ada");
/// assert_eq!(answer.request, "per_1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NewAnswer {
    /// The id of the question or permission, as OpenCode has it.
    pub request: String,
    /// Who answers, in the application's words; `None` where it does not say.
    pub by: Option<String>,
    /// What is answered.
    pub given: Given,
}

/// What a person answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Given {
    /// The chosen labels, or own words, for each question in order.
    Answers(Vec<Vec<String>>),
    /// The question is declined. The turn then ends.
    Rejection,
    /// A permission is granted or not.
    Permission {
        /// How.
        reply: PermissionReply,
        /// What the agent is told. With it, it goes on after a rejection; without it the turn ends.
        message: Option<String>,
    },
}

impl NewAnswer {
    /// Answers a question: labels or words for each of its questions.
    pub fn question(question: &QuestionId, answers: impl Into<Vec<Vec<String>>>) -> Self {
        Self::new(question.as_str(), Given::Answers(answers.into()))
    }

    /// Declines a question. The turn then ends.
    pub fn rejection(question: &QuestionId) -> Self {
        Self::new(question.as_str(), Given::Rejection)
    }

    /// Answers a permission request.
    pub fn permission(permission: &PermissionId, reply: PermissionReply) -> Self {
        let message = None;
        Self::new(permission.as_str(), Given::Permission { reply, message })
    }

    /// Answers the request of this id.
    pub fn new(request: impl Into<String>, given: Given) -> Self {
        Self {
            request: request.into(),
            by: None,
            given,
        }
    }

    /// Says who answers. Whoever answers after them is told.
    #[must_use]
    pub fn by(self, who: impl Into<String>) -> Self {
        Self {
            by: Some(who.into()),
            ..self
        }
    }

    /// Tells the agent why, where a permission is refused. No other answer has a message.
    #[must_use]
    pub fn message(mut self, words: impl Into<String>) -> Self {
        if let Given::Permission { message, .. } = &mut self.given {
            *message = Some(words.into());
        }
        self
    }

    /// Refuses an answer that has more than [`MAX_ANSWER_BYTES`].
    ///
    /// # Errors
    /// [`StoreError::TooLong`].
    pub fn check_size(&self) -> StoreResult<()> {
        let given = match &self.given {
            Given::Answers(answers) => answers.iter().flatten().map(String::len).sum(),
            Given::Rejection => 0,
            Given::Permission { message, .. } => message.as_ref().map_or(0, String::len),
        };
        let by = self.by.as_ref().map_or(0, String::len);
        if self.request.len() + by + given > MAX_ANSWER_BYTES {
            return Err(StoreError::TooLong {
                what: "reply to the agent",
                limit: MAX_ANSWER_BYTES,
            });
        }
        Ok(())
    }
}

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RequestAnswer {
    /// What was answered, and by whom.
    pub answer: NewAnswer,
    /// When.
    pub at: Timestamp,
    /// What became of it.
    pub state: AnswerState,
}

impl RequestAnswer {
    /// An answer that nobody has sent yet.
    pub fn new(answer: NewAnswer, at: Timestamp) -> Self {
        Self {
            answer,
            at,
            state: AnswerState::Waiting,
        }
    }
}

/// How far an answer is on its way to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AnswerState {
    /// The turn's worker has not sent it.
    Waiting,
    /// The worker is sending it, and OpenCode has not said that it got it.
    Sent,
    /// OpenCode has it.
    Arrived,
    /// The worker has given up. Another answer to the same request takes this one's place.
    Failed {
        /// What went wrong.
        why: String,
        /// Whether it was sent: it may have arrived.
        sent: bool,
    },
}

impl AnswerState {
    /// Whether the turn's worker has to send it, or to find out what became of it.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Waiting | Self::Sent)
    }
}

/// What became of giving an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerOutcome {
    /// It is kept, and the turn's worker sends it.
    Taken(RequestAnswer),
    /// The request has this answer already.
    Already(Box<RequestAnswer>),
    /// The turn has ended, or nothing was asked of the agent yet: it waits for no answer.
    NotWaiting,
}

impl AnswerOutcome {
    /// What becomes of an answer where the request has this one, if any: the first wins, and one that failed is none.
    pub fn of(known: Option<&RequestAnswer>, new: &NewAnswer, now: Timestamp) -> Self {
        match known {
            Some(known) if !matches!(known.state, AnswerState::Failed { .. }) => {
                Self::Already(Box::new(known.clone()))
            }
            _ => Self::Taken(RequestAnswer::new(new.clone(), now)),
        }
    }
}
