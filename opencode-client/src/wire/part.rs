//! Parts of a message, as a server sends them: text, reasoning, tool calls, files.

use serde_json::{Map, Value};

use super::attachment::ToolAttachment;
use super::tokens::{Counts, Tokens};
use crate::id::{MessageId, PartId};
use crate::tolerant::{Fields, Oddity, Skipped, Wire};

/// One piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The part. One that the server gave no id is named after its message and its kind or call.
    pub id: PartId,
    /// Its message.
    pub message_id: MessageId,
    /// What it holds.
    pub body: PartBody,
}

/// What a part holds.
#[derive(Clone, Debug, PartialEq)]
pub enum PartBody {
    /// Words of the answer (or of the prompt, in a user message).
    Text {
        /// All of it so far.
        text: String,
        /// The server is done with it.
        ended: bool,
        /// The server wrote it, not a person or a model.
        synthetic: bool,
    },
    /// The model's thinking.
    Reasoning {
        /// All of it so far.
        text: String,
        /// The server is done with it.
        ended: bool,
    },
    /// A tool call.
    Tool(ToolCall),
    /// A model step ended.
    StepFinish {
        /// Cost of the step, US dollars.
        cost: f64,
        /// Tokens of the step.
        tokens: Tokens,
        /// Why the model stopped, in the words of [`MessageInfo::finish`](super::MessageInfo::finish).
        reason: Option<String>,
    },
    /// The server asks itself for a summary of the session (seen on 1.18.33).
    Compaction,
    /// Anything else: `step-start`, `file`, `snapshot`, `patch`, kinds still unknown.
    Other {
        /// The part's `type`.
        kind: String,
    },
}

/// A call of a tool, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The tool's name; `invalid` where the server renamed a call it could not run.
    pub tool: String,
    /// The model's id of the call.
    pub call_id: Option<String>,
    /// The model's provider ran it: its result needs no further message.
    pub by_provider: bool,
    /// How far it is.
    pub state: ToolState,
}

/// How far a tool call is. A field the server left out is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolState {
    /// `pending`, `running`, `completed`, `error`, or something newer.
    pub status: String,
    /// The arguments.
    pub input: Option<Value>,
    /// What came out.
    pub output: Option<String>,
    /// The server's own short description.
    pub title: Option<String>,
    /// Details, different for every tool.
    pub metadata: Option<Map<String, Value>>,
    /// Why it failed.
    pub error: Option<String>,
    /// Files that came beside the output.
    pub attachments: Vec<ToolAttachment>,
}

impl Wire for Part {
    const ODD: Oddity = Oddity::Part;

    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        Self::read_in(value, None, skipped)
    }
}

impl Part {
    /// Reads a part of `message`, where that is known.
    pub(super) fn read_in(
        value: Value,
        message: Option<&MessageId>,
        skipped: &mut Skipped,
    ) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        let id = fields.id("id");
        let message_id = fields.id("messageID").or_else(|| message.cloned())?;
        let kind = match fields.words("type") {
            Some(kind) => kind,
            // Nothing else names a tool: a call that is not seen would end the answer too early.
            None if fields.has_text("tool") => "tool".to_owned(),
            None => return None,
        };
        let body = PartBody::take(&kind, &mut fields);
        let id = id.unwrap_or_else(|| {
            fields.skipped.note(Oddity::Field);
            body.stand_in_id(&message_id, &kind)
        });
        Some(Self {
            id,
            message_id,
            body,
        })
    }
}

impl PartBody {
    fn take(kind: &str, fields: &mut Fields<'_>) -> Self {
        let mut ended = || fields.inside("time").is_some_and(|time| time.has("end"));
        match kind {
            "compaction" => Self::Compaction,
            "text" => Self::Text {
                ended: ended(),
                text: fields.text("text").unwrap_or_default(),
                synthetic: fields.flag("synthetic"),
            },
            "reasoning" => Self::Reasoning {
                ended: ended(),
                text: fields.text("text").unwrap_or_default(),
            },
            "tool" => Self::Tool(ToolCall {
                tool: fields.text("tool").unwrap_or_else(|| "unknown".to_owned()),
                call_id: fields.id("callID"),
                by_provider: fields
                    .inside("metadata")
                    .is_some_and(|mut metadata| metadata.flag("providerExecuted")),
                state: fields
                    .inside("state")
                    .map(ToolState::take)
                    .unwrap_or_default(),
            }),
            "step-finish" => Self::StepFinish {
                cost: fields.amount("cost").unwrap_or_default(),
                tokens: Counts::take(fields).or(Tokens::default()),
                reason: fields.words("reason"),
            },
            _ => Self::Other {
                kind: kind.to_owned(),
            },
        }
    }

    /// A name for a part without an id, the same whenever the part comes.
    fn stand_in_id(&self, message: &MessageId, kind: &str) -> PartId {
        let call = match self {
            Self::Tool(call) => call.call_id.as_deref(),
            _ => None,
        };
        PartId::stand_in(message.as_str(), call.unwrap_or(kind))
    }
}

impl ToolState {
    fn take(mut state: Fields<'_>) -> Self {
        Self {
            status: state.text("status").unwrap_or_else(|| "pending".to_owned()),
            input: state.json("input"),
            output: state.shown("output"),
            title: state.text("title"),
            metadata: state.details("metadata"),
            error: state.shown("error"),
            attachments: state.list("attachments").unwrap_or_default(),
        }
    }
}
