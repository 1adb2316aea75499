//! What came of a turn, for who started it.

use std::time::Duration;

use opencode_client::reply::{PersistedPart, ReplyResult, ToolPart};

use crate::id::{ConversationId, MessageId, TurnId};
use crate::outcome::{Reason, TurnError};
use crate::store::{Attachment, Message, Turn, TurnState, TurnStatus, Usage};

/// What came of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnResult {
    /// The turn.
    pub turn: TurnId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The message it filled.
    pub message: MessageId,
    /// How it ended.
    pub status: TurnStatus,
    /// Why, where that needs a word.
    pub reason: Option<Reason>,
    /// The message's text.
    pub content: String,
    /// The parts, in order.
    pub parts: Vec<PersistedPart>,
    /// The model's thinking.
    pub reasoning: String,
    /// Cost and tokens.
    pub usage: Usage,
    /// The text is cut.
    pub truncated: bool,
    /// What went wrong.
    pub error: Option<TurnError>,
    /// From the first claim to the end.
    pub duration: Duration,
    /// The upstream session, if it came so far.
    pub session: Option<opencode_client::SessionId>,
    /// The prompt's upstream message, if it came so far.
    pub prompt: Option<opencode_client::MessageId>,
    /// The message's files, in the order they were attached. All of them once
    /// the turn is settled.
    pub artifacts: Vec<Attachment>,
}

impl TurnResult {
    /// What the rows of a turn, its message and that message's files say; `None` while it runs.
    pub fn of(turn: &Turn, message: &Message, artifacts: Vec<Attachment>) -> Option<Self> {
        let TurnState::Finished { status, .. } = turn.state else {
            return None;
        };
        let finished = turn.finished_at.unwrap_or(turn.created_at);
        Some(Self {
            turn: turn.id,
            conversation: turn.conversation,
            message: message.id,
            status,
            reason: message.reason,
            content: message.content.clone(),
            parts: message.parts.clone(),
            reasoning: message.reasoning.clone(),
            usage: message.usage,
            truncated: message.truncated,
            error: message.error.clone(),
            duration: finished.since(turn.started_at.unwrap_or(finished)),
            session: turn
                .prompted
                .as_ref()
                .map(|prompted| prompted.session.clone()),
            prompt: turn
                .prompted
                .as_ref()
                .map(|prompted| prompted.ids.message.clone()),
            artifacts,
        })
    }

    /// The tool calls that ended.
    pub fn tool_calls(&self) -> Vec<ToolPart> {
        ReplyResult::of(self.parts.clone()).tool_parts
    }
}
