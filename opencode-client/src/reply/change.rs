//! The changes of a reply, as observers hear them and programs read them.
//!
//! Their JSON is an interface: its form is kept by snapshot tests.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::part::{PartKind, PersistedPart};
use crate::error::UpstreamError;
use crate::event::EventBody;
use crate::id::PartId;
use crate::wire::{
    MessageInfo, PermissionReply, PermissionRequest, QuestionRequest, RetryAction, Todo, Tokens,
};

/// One change of a reply. As JSON it is what programs read: a `type` and its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change<'a> {
    /// A part appeared.
    PartAdded {
        /// The part, by which later changes name it.
        part_id: Cow<'a, str>,
        /// The part so far.
        part: PersistedPart,
    },
    /// A text or reasoning part grew.
    PartDelta {
        /// The part.
        part_id: Cow<'a, str>,
        /// Whether it is text or reasoning.
        kind: PartKind,
        /// What was appended.
        delta: Cow<'a, str>,
    },
    /// The server has replaced the text that deltas had made.
    PartReplaced {
        /// The part.
        part_id: Cow<'a, str>,
        /// The part as it is now.
        part: PersistedPart,
    },
    /// A text or reasoning part is done.
    PartFinal {
        /// The part.
        part_id: Cow<'a, str>,
        /// The part, whole.
        part: PersistedPart,
    },
    /// A part was taken back.
    PartRemoved {
        /// The part.
        part_id: Cow<'a, str>,
    },
    /// A tool call went on.
    Tool {
        /// The part.
        part_id: Cow<'a, str>,
        /// The call as it is now.
        part: PersistedPart,
    },
    /// A `task` part's child session went on.
    Subtask {
        /// The `task` part, once known.
        part_id: Option<Cow<'a, str>>,
        /// The child session.
        session_id: Cow<'a, str>,
        /// What changed there.
        change: Box<Change<'static>>,
    },
    /// A model step ended.
    Step {
        /// US dollars.
        cost: f64,
        /// Tokens sent.
        input_tokens: u64,
        /// Tokens written.
        output_tokens: u64,
        /// Tokens served from the provider's cache.
        cache_read_tokens: u64,
        /// Tokens stored in the provider's cache.
        cache_write_tokens: u64,
    },
    /// The provider was busy and is tried again.
    Retry {
        /// Which try comes next.
        attempt: u32,
        /// What the provider said.
        message: Cow<'a, str>,
        /// When, epoch milliseconds by the server's clock.
        next_ms: u64,
        /// What the person can do about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action: Option<RetryAction>,
    },
    /// The server cannot be reached, and is tried again.
    ServerUnreachable {
        /// What a person is told.
        message: Cow<'a, str>,
    },
    /// The server answers again.
    ServerReachable,
    /// The session reported an error.
    SessionError {
        /// What it said.
        error: UpstreamError,
    },
    /// A message of the answer was made or changed.
    Message {
        /// The upstream message.
        message_id: Cow<'a, str>,
        /// Why the model stopped, once it has.
        finish: Option<Cow<'a, str>>,
        /// What went wrong, if something did.
        error: Option<UpstreamError>,
    },
    /// The plan changed.
    Todos {
        /// The plan, whole.
        todos: Vec<Todo>,
    },
    /// The agent asks.
    Question {
        /// What.
        request: QuestionRequest,
    },
    /// A question was answered.
    QuestionReplied {
        /// The question.
        request_id: Cow<'a, str>,
        /// The answers.
        answers: Vec<Vec<String>>,
    },
    /// A question was declined.
    QuestionRejected {
        /// The question.
        request_id: Cow<'a, str>,
    },
    /// The agent asks for permission.
    Permission {
        /// What.
        request: PermissionRequest,
    },
    /// A permission request was answered.
    PermissionReplied {
        /// The request.
        request_id: Cow<'a, str>,
        /// The answer.
        reply: PermissionReply,
    },
    /// The reply as a whole, where single changes cannot tell it: after a gap,
    /// or when the exchange says otherwise than the stream.
    Snapshot {
        /// Every part, in order, with the id that later changes name it by.
        parts: Vec<SnapshotPart>,
    },
}

/// One part of a [`Change::Snapshot`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotPart {
    /// The part, by which later changes name it.
    pub part_id: PartId,
    /// The part so far.
    pub part: PersistedPart,
}

impl Change<'_> {
    pub(super) fn message(info: &MessageInfo) -> Change<'static> {
        Change::Message {
            message_id: info.id.to_string().into(),
            finish: info.finish.clone().map(Into::into),
            error: info.error.clone(),
        }
    }

    pub(super) fn step(cost: f64, tokens: Tokens) -> Change<'static> {
        Change::Step {
            cost,
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cache_read_tokens: tokens.cache.read,
            cache_write_tokens: tokens.cache.write,
        }
    }

    /// What an answer to a request changes, by the event that tells of it.
    pub(super) fn of_answered(event: &EventBody<'_>) -> Option<Change<'static>> {
        Some(match event {
            EventBody::QuestionReplied { question, answers } => Change::QuestionReplied {
                request_id: question.to_string().into(),
                answers: answers.clone(),
            },
            EventBody::QuestionRejected { question } => Change::QuestionRejected {
                request_id: question.to_string().into(),
            },
            EventBody::PermissionReplied { permission, reply } => Change::PermissionReplied {
                request_id: permission.to_string().into(),
                reply: *reply,
            },
            _ => return None,
        })
    }

    /// The same change, free of what it borrowed.
    pub fn into_owned(self) -> Change<'static> {
        fn own(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        match self {
            Self::PartAdded { part_id, part } => Change::PartAdded {
                part_id: own(part_id),
                part,
            },
            Self::PartDelta {
                part_id,
                kind,
                delta,
            } => Change::PartDelta {
                part_id: own(part_id),
                kind,
                delta: own(delta),
            },
            Self::PartReplaced { part_id, part } => Change::PartReplaced {
                part_id: own(part_id),
                part,
            },
            Self::PartFinal { part_id, part } => Change::PartFinal {
                part_id: own(part_id),
                part,
            },
            Self::PartRemoved { part_id } => Change::PartRemoved {
                part_id: own(part_id),
            },
            Self::Tool { part_id, part } => Change::Tool {
                part_id: own(part_id),
                part,
            },
            Self::Subtask {
                part_id,
                session_id,
                change,
            } => Change::Subtask {
                part_id: part_id.map(own),
                session_id: own(session_id),
                change,
            },
            Self::Step {
                cost,
                input_tokens,
                output_tokens,
                cache_read_tokens,
                cache_write_tokens,
            } => Change::Step {
                cost,
                input_tokens,
                output_tokens,
                cache_read_tokens,
                cache_write_tokens,
            },
            Self::Retry {
                attempt,
                message,
                next_ms,
                action,
            } => Change::Retry {
                attempt,
                message: own(message),
                next_ms,
                action,
            },
            Self::ServerUnreachable { message } => Change::ServerUnreachable {
                message: own(message),
            },
            Self::ServerReachable => Change::ServerReachable,
            Self::SessionError { error } => Change::SessionError { error },
            Self::Message {
                message_id,
                finish,
                error,
            } => Change::Message {
                message_id: own(message_id),
                finish: finish.map(own),
                error,
            },
            Self::Todos { todos } => Change::Todos { todos },
            Self::Question { request } => Change::Question { request },
            Self::QuestionReplied {
                request_id,
                answers,
            } => Change::QuestionReplied {
                request_id: own(request_id),
                answers,
            },
            Self::QuestionRejected { request_id } => Change::QuestionRejected {
                request_id: own(request_id),
            },
            Self::Permission { request } => Change::Permission { request },
            Self::PermissionReplied { request_id, reply } => Change::PermissionReplied {
                request_id: own(request_id),
                reply,
            },
            Self::Snapshot { parts } => Change::Snapshot { parts },
        }
    }
}
