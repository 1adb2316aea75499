//! Turns, what came of them, and what is done to them.

use opencode_client::wire::{PermissionReply, System};
use opencode_host::store::{self, Given, Metadata, NewAnswer, OnBusy, Phase, TurnStatus};
use opencode_host::turn::TurnResult;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::messages::{Answer, File};
use crate::request::{Text, whole};

/// What is asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTurn {
    /// The person's words.
    #[schema(value_type = String, pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$")]
    pub(crate) prompt: Text,
    /// What to do while the conversation has unfinished turns.
    #[serde(default)]
    #[schema(value_type = WhileBusy, default = "enqueue")]
    pub(crate) on_busy: OnBusy,
    /// What the application notes at the turn. Where the application keeps it to itself, it is refused.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) metadata: Option<Metadata>,
    /// Which agent answers. Without one the application says. It, the model and the system instructions are refused where
    /// the application keeps them to itself.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200, pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$")]
    pub(crate) agent: Option<Text>,
    /// Which model answers: `provider/model`.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 3, max_length = 200, pattern = r"^[^\x00/]+/[^\x00]+$")]
    pub(crate) model: Option<Text>,
    /// System instructions of this prompt.
    #[serde(default)]
    pub(crate) system: Option<NewSystem>,
    /// Of the queued turns that may begin, one of the highest priority is next, and of those the oldest. This and `not_before`
    /// are refused where the application keeps them to itself.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = -128, maximum = 127)]
    pub(crate) priority: Option<i8>,
    /// The turn does not begin before this time; those behind it in the conversation wait with it. It can be cancelled
    /// meanwhile.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 253_402_300_799_999_i64)]
    pub(crate) not_before: Option<i64>,
}

/// System instructions of a prompt.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSystem {
    text: Text,
    /// Whether they are said in the place of what the application says with every prompt, and not behind it.
    #[serde(default)]
    replace: bool,
}

impl From<NewSystem> for System {
    fn from(said: NewSystem) -> Self {
        if said.replace {
            Self::Replace(said.text.0)
        } else {
            Self::Append(said.text.0)
        }
    }
}

/// What is asked in the place of a turn.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// The person's words.
    #[schema(value_type = String, pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$")]
    pub(crate) prompt: Text,
}

/// The versions of a turn, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionList {
    pub(crate) versions: Vec<Version>,
}

/// One of the turns that go on from the same place of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TurnVersion)]
pub(crate) struct Version {
    turn: Uuid,
    /// The message that it answers.
    user_message: Uuid,
    /// The message that it fills.
    message: Uuid,
    /// Whether it is the one that is shown.
    shown: bool,
    /// When it was submitted.
    created_at: i64,
}

impl From<store::TurnVersion> for Version {
    fn from(row: store::TurnVersion) -> Self {
        Self {
            turn: row.turn.as_uuid(),
            user_message: row.user_message.as_uuid(),
            message: row.message.as_uuid(),
            shown: row.shown,
            created_at: row.created_at.0,
        }
    }
}

/// What to do while the conversation has unfinished turns: wait behind them, be refused, or cancel them.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the schema of a type of the library's")]
enum WhileBusy {
    Enqueue,
    Reject,
    Interrupt,
}

/// A turn: one prompt and everything that answers it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Turn {
    pub(crate) id: Uuid,
    conversation: Uuid,
    /// The message that it answers.
    user_message: Uuid,
    /// The message that it fills.
    message: Uuid,
    /// The turn that it goes on from; none where it begins the conversation.
    parent: Option<Uuid>,
    state: TurnPhase,
    /// How it ended, once it has.
    status: Option<Status>,
    /// What the application has noted at it.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// Why it was cancelled, or by whom, as the first cancel said.
    cancel_reason: Option<String>,
    /// How it stands among the tenant's queued turns.
    priority: i8,
    /// When it may begin, where that was said.
    not_before: Option<i64>,
    /// When it was submitted.
    created_at: i64,
    /// When work on it began.
    started_at: Option<i64>,
    /// When it ended.
    finished_at: Option<i64>,
}

/// How far a turn is. One that is settled has its files too.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TurnPhase {
    Queued,
    Running,
    Finished,
    Settled,
}

/// How a turn ended: with an answer, by a cancel, with an error of the provider's or the server's, or otherwise.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TurnStatus)]
pub(crate) enum Status {
    Completed,
    Cancelled,
    Error,
    Failed,
}

/// The turns of a conversation that are queued or run, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TurnPage {
    pub(crate) turns: Vec<Turn>,
}

/// What came of a turn.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TurnResult)]
pub(crate) struct Result {
    turn: Uuid,
    conversation: Uuid,
    /// The message that it filled.
    message: Uuid,
    status: Status,
    /// Why it was cancelled, or by whom.
    cancel_reason: Option<String>,
    /// What the application has noted at it.
    #[schema(value_type = Object)]
    metadata: Metadata,
    answer: Answer,
    /// The message's files; all of them once the turn is settled.
    files: Vec<File>,
    /// From the beginning of work on it to its end.
    duration_ms: u64,
}

/// A cancel.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancel {
    /// Why, or by whom: it is kept with the turn. The first cancel's stays.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 1000, pattern = r"^[^\x00]*$")]
    pub(crate) reason: Option<Text>,
}

/// What became of a cancel.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cancelled {
    outcome: CancelOutcome,
    /// How the turn had ended, where it had.
    status: Option<Status>,
}

/// `cancelled`: the turn was queued, and is cancelled. `requested`: it runs, and its worker stops it. `already`: it had
/// ended before.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum CancelOutcome {
    Cancelled,
    Requested,
    Already,
}

/// An answer to what the agent asks: to its question, for each part of it the chosen labels or own words; a
/// refusal to answer, which ends the turn; or to its request for permission.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum RequestAnswer {
    Answers {
        answers: Vec<Vec<Text>>,
    },
    Rejection {},
    Permission {
        #[schema(value_type = Reply)]
        reply: PermissionReply,
        /// What the agent is told. With it, it goes on after a rejection; without it the turn ends.
        #[serde(default)]
        message: Option<Text>,
    },
}

/// An answer to a request for permission.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase", as = PermissionReply)]
#[expect(dead_code, reason = "the schema of a type of the library's")]
pub(super) enum Reply {
    Once,
    Always,
    Reject,
}

/// Where an answer is: OpenCode has it, or it is kept and sent once a worker takes it up.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Answered {
    Arrived,
    Kept,
}

impl RequestAnswer {
    /// The answer as the library has it.
    pub(crate) fn to(self, request: String, by: Option<&str>) -> NewAnswer {
        let given = match self {
            Self::Answers { answers } => {
                let words = |texts: Vec<Text>| texts.into_iter().map(|text| text.0).collect();
                Given::Answers(answers.into_iter().map(words).collect())
            }
            Self::Rejection {} => Given::Rejection,
            Self::Permission { reply, message } => Given::Permission {
                reply,
                message: message.map(|message| message.0),
            },
        };
        let answer = NewAnswer::new(request, given);
        match by {
            Some(name) => answer.by(name),
            None => answer,
        }
    }
}

impl From<TurnStatus> for Status {
    fn from(status: TurnStatus) -> Self {
        match status {
            TurnStatus::Completed => Self::Completed,
            TurnStatus::Cancelled => Self::Cancelled,
            TurnStatus::Error => Self::Error,
            TurnStatus::Failed => Self::Failed,
        }
    }
}

impl From<store::Turn> for Turn {
    fn from(row: store::Turn) -> Self {
        let (state, status) = match row.phase() {
            Phase::Queued => (TurnPhase::Queued, None),
            Phase::Running => (TurnPhase::Running, None),
            Phase::Finished { status, settled } => {
                let state = if settled {
                    TurnPhase::Settled
                } else {
                    TurnPhase::Finished
                };
                (state, Some(status.into()))
            }
        };
        Self {
            id: row.id.as_uuid(),
            conversation: row.conversation.as_uuid(),
            user_message: row.user_message.as_uuid(),
            message: row.message.as_uuid(),
            parent: row.parent.map(|parent| parent.as_uuid()),
            state,
            status,
            started_at: row.started_at().map(|at| at.0),
            finished_at: row.finished_at().map(|at| at.0),
            metadata: row.metadata,
            cancel_reason: row.cancel_reason,
            priority: row.priority,
            not_before: row.not_before.map(|at| at.0),
            created_at: row.created_at.0,
        }
    }
}

impl From<TurnResult> for Result {
    fn from(result: TurnResult) -> Self {
        Self {
            turn: result.turn.as_uuid(),
            conversation: result.conversation.as_uuid(),
            message: result.message.as_uuid(),
            status: result.status.into(),
            cancel_reason: result.cancel_reason,
            metadata: result.metadata,
            answer: result.answer.into(),
            files: result.artifacts.into_iter().map(Into::into).collect(),
            duration_ms: u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<store::CancelOutcome> for Cancelled {
    fn from(outcome: store::CancelOutcome) -> Self {
        let (outcome, status) = match outcome {
            store::CancelOutcome::Cancelled => (CancelOutcome::Cancelled, None),
            store::CancelOutcome::Requested => (CancelOutcome::Requested, None),
            store::CancelOutcome::Already(status) => (CancelOutcome::Already, Some(status.into())),
        };
        Self { outcome, status }
    }
}
