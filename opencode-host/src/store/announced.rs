//! What is told to the endpoints of a host: which events there are, and a request as it is noted for them.
//!
//! Rows that an earlier process wrote are read by any build: these types are there without the feature `webhooks` too.

use std::fmt;

use opencode_client::reply::PendingRequest;
use serde::{Deserialize, Serialize};

use crate::id::{ConversationId, EffectId, MessageId, TurnId};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WebhookEvent {
    /// A turn has ended and is settled, however it ended: also by a cancel in the queue, and where it was refused.
    #[serde(rename = "turn.finished")]
    TurnFinished,
    /// The agent of a turn waits for a person.
    #[serde(rename = "request.asked")]
    RequestAsked,
    /// A conversation was deleted, by a person or for its age.
    #[serde(rename = "conversation.deleted")]
    ConversationDeleted,
}

impl WebhookEvent {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::TurnFinished,
        Self::RequestAsked,
        Self::ConversationDeleted,
    ];

    /// Its word: `turn.finished`, `request.asked`, `conversation.deleted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TurnFinished => "turn.finished",
            Self::RequestAsked => "request.asked",
            Self::ConversationDeleted => "conversation.deleted",
        }
    }
}

impl fmt::Display for WebhookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request of a turn's agent, as it is noted to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AskedRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// The turn.
    pub turn: TurnId,
    /// The message that the turn fills.
    pub message: MessageId,
    /// The id of the question or permission, as OpenCode has it.
    pub request: String,
    /// What permission is asked for, such as `bash`; `None` for a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}

impl AskedRequest {
    /// What an agent asks in a turn.
    pub fn new(
        conversation: ConversationId,
        turn: TurnId,
        message: MessageId,
        asked: &PendingRequest,
    ) -> Self {
        Self {
            conversation,
            turn,
            message,
            request: asked.id().to_owned(),
            permission: match asked {
                PendingRequest::Permission(asked) => Some(asked.permission.clone()),
                PendingRequest::Question(_) => None,
            },
        }
    }

    /// The effect by which it is told: one for each request of a turn, whoever notes it.
    pub fn effect(&self) -> EffectId {
        EffectId::derived(self.turn, &format!("request {}", self.request))
    }
}
