use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::Tokens;
use crate::id::{MessageId, PartId};

/// One piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The part.
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
}

#[derive(Deserialize)]
struct RawPart {
    #[serde(default)]
    id: Option<PartId>,
    #[serde(rename = "messageID", default)]
    message_id: Option<MessageId>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Value,
    #[serde(default, deserialize_with = "super::lenient")]
    synthetic: bool,
    #[serde(default)]
    time: Value,
    #[serde(default)]
    tool: Value,
    #[serde(rename = "callID", default)]
    call_id: Value,
    #[serde(default)]
    state: Value,
    #[serde(default, deserialize_with = "super::lenient")]
    cost: f64,
    #[serde(default, deserialize_with = "super::lenient")]
    tokens: Tokens,
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawPart::deserialize(deserializer)?;
        let ended = raw.time["end"].is_number();
        let body = match raw.kind.as_str() {
            "compaction" => PartBody::Compaction,
            "text" => PartBody::Text {
                text: string(raw.text).unwrap_or_default(),
                ended,
                synthetic: raw.synthetic,
            },
            "reasoning" => PartBody::Reasoning {
                text: string(raw.text).unwrap_or_default(),
                ended,
            },
            "tool" => PartBody::Tool(ToolCall {
                tool: string(raw.tool).unwrap_or_else(|| "unknown".to_owned()),
                call_id: string(raw.call_id),
                state: ToolState::from_json(raw.state),
            }),
            "step-finish" => PartBody::StepFinish {
                cost: raw.cost,
                tokens: raw.tokens,
            },
            _ => PartBody::Other { kind: raw.kind },
        };
        let missing = |field| serde::de::Error::missing_field(field);
        Ok(Self {
            id: raw.id.ok_or_else(|| missing("id"))?,
            message_id: raw.message_id.ok_or_else(|| missing("messageID"))?,
            body,
        })
    }
}

impl ToolState {
    fn from_json(state: Value) -> Self {
        let Value::Object(mut state) = state else {
            return Self::default();
        };
        let mut take = |key: &str| state.remove(key).filter(|value| !value.is_null());
        Self {
            status: take("status")
                .and_then(string)
                .unwrap_or_else(|| "pending".to_owned()),
            input: take("input"),
            output: take("output")
                .map(|output| string(output.clone()).unwrap_or_else(|| output.to_string())),
            title: take("title").and_then(string),
            metadata: take("metadata").and_then(|value| match value {
                Value::Object(map) => Some(map),
                _ => None,
            }),
            error: take("error")
                .map(|error| string(error.clone()).unwrap_or_else(|| error.to_string())),
        }
    }
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}
