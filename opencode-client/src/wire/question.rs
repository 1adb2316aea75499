use serde::{Deserialize, Serialize};

use super::lenient;
use crate::id::{MessageId, QuestionId, SessionId};

/// The tool call a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolRef {
    /// The assistant message.
    #[serde(rename = "messageID")]
    pub message_id: MessageId,
    /// The model's id of the call.
    #[serde(rename = "callID")]
    pub call_id: String,
}

/// The agent asks the person, and waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuestionRequest {
    /// The request.
    pub id: QuestionId,
    /// The session that asks; may be a child of the turn's session.
    #[serde(rename = "sessionID")]
    pub session_id: SessionId,
    /// What is asked, in order; every one wants an answer.
    #[serde(default, deserialize_with = "lenient")]
    pub questions: Vec<Question>,
    /// The tool call that waits.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub tool: Option<ToolRef>,
}

/// One question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The question itself.
    #[serde(default)]
    pub question: String,
    /// A very short label.
    #[serde(default)]
    pub header: String,
    /// The choices.
    #[serde(default)]
    pub options: Vec<QuestionOption>,
    /// Whether several may be chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multiple: bool,
}

/// A choice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuestionOption {
    /// What is answered.
    #[serde(default)]
    pub label: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
}
