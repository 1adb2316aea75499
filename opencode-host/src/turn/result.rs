//! What came of a turn, for who started it.

use std::time::Duration;

use crate::id::{ConversationId, MessageId, TurnId};
use crate::outcome::Answer;
use crate::store::{Attachment, Message, Metadata, Phase, Turn, TurnStatus};

/// What came of a turn.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TurnResult {
    /// The turn.
    pub turn: TurnId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The message it filled.
    pub message: MessageId,
    /// What the application noted at the turn.
    pub metadata: Metadata,
    /// How it ended.
    pub status: TurnStatus,
    /// Why it was cancelled, or by whom, where a cancel said so.
    pub cancel_reason: Option<String>,
    /// What it came to: what its message says.
    pub answer: Answer,
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
        let Phase::Finished { status, .. } = turn.phase() else {
            return None;
        };
        let finished = turn.finished_at()?;
        Some(Self {
            turn: turn.id,
            conversation: turn.conversation,
            message: message.id,
            metadata: turn.metadata.clone(),
            status,
            cancel_reason: turn.cancel_reason.clone(),
            answer: message.answer.clone(),
            duration: finished.since(turn.started_at().unwrap_or(finished)),
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
}
