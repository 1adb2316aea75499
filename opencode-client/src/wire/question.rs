//! Questions that the agent asks the person.

use serde::Serialize;
use serde_json::Value;

use crate::id::{MessageId, QuestionId, SessionId};
use crate::tolerant::{Fields, Oddity, Skipped, Wire, deserialize_tolerantly, text};

/// The tool call a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolRef {
    /// The assistant message; empty where the server does not say it.
    #[serde(rename = "messageID")]
    pub message_id: MessageId,
    /// The model's id of the call.
    #[serde(rename = "callID")]
    pub call_id: String,
}

impl Wire for ToolRef {
    const ODD: Oddity = Oddity::Field;

    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        Some(Self {
            message_id: fields.id("messageID").unwrap_or_else(|| "".into()),
            call_id: fields.id("callID")?,
        })
    }
}

/// The agent asks the person, and waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuestionRequest {
    /// The request.
    pub id: QuestionId,
    /// The session that asks; may be a child of the turn's session.
    #[serde(rename = "sessionID")]
    pub session_id: SessionId,
    /// What is asked, in order; every one wants an answer.
    pub questions: Vec<Question>,
    /// The tool call that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolRef>,
}

impl Wire for QuestionRequest {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        Some(Self {
            id: fields.id("id")?,
            session_id: fields.id("sessionID")?,
            questions: fields.first("questions"),
            tool: fields.read("tool"),
        })
    }
}

deserialize_tolerantly!(QuestionRequest);

/// One question.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Question {
    /// The question itself.
    pub question: String,
    /// A very short label.
    pub header: String,
    /// The choices.
    pub options: Vec<QuestionOption>,
    /// Whether several may be chosen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub multiple: bool,
}

impl Wire for Question {
    /// Always something: there must be as many answers as questions.
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let Some(mut fields) = Fields::of(value, skipped) else {
            skipped.note(Oddity::Field);
            return Some(Self::default());
        };
        Some(Self {
            question: fields.shown_words("question").unwrap_or_default(),
            header: fields.words("header").unwrap_or_default(),
            options: fields.first("options"),
            multiple: fields.flag("multiple"),
        })
    }
}

/// A choice.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QuestionOption {
    /// What is answered.
    pub label: String,
    /// What it means.
    pub description: String,
}

impl Wire for QuestionOption {
    const ODD: Oddity = Oddity::Field;

    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        if value.is_string() {
            let label = text(value)?;
            return Some(Self {
                label,
                description: String::new(),
            });
        }
        let mut fields = Fields::of(value, skipped)?;
        Some(Self {
            label: fields.words("label")?,
            description: fields.words("description").unwrap_or_default(),
        })
    }
}
