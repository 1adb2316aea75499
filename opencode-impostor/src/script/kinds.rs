//! What the steps are made of.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A text that arrives in pieces. In JSON a bare string is enough.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StreamedForm")]
pub struct Streamed {
    /// The whole text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The deltas, when they matter; then `text` is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Vec<String>>,
    /// Characters in a delta; eight when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_chars: Option<usize>,
    /// Wait before each delta, in milliseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
    /// A gate to wait at while the part is still open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// After how many deltas to wait there; absent: after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_after: Option<usize>,
}

impl Streamed {
    /// This text, in chunks of eight characters, without delay.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Deltas of this many characters.
    pub fn chunk_chars(mut self, chars: usize) -> Self {
        self.chunk_chars = Some(chars);
        self
    }

    /// Waits this many milliseconds before each delta.
    pub fn delay_ms(mut self, delay_ms: u64) -> Self {
        self.delay_ms = delay_ms;
        self
    }

    /// Waits at a gate after the last delta, before the part is whole.
    pub fn gate(mut self, gate: impl Into<String>) -> Self {
        self.gate = Some(gate.into());
        self
    }

    /// Waits at the gate after this many deltas instead.
    pub fn gate_after(mut self, deltas: usize) -> Self {
        self.gate_after = Some(deltas);
        self
    }

    /// The deltas, after `fill` has replaced the placeholders.
    pub(crate) fn pieces(&self, fill: impl Fn(&str) -> String) -> Vec<String> {
        if let Some(chunks) = &self.chunks {
            return chunks.iter().map(|chunk| fill(chunk)).collect();
        }
        let filled: Vec<char> = fill(&self.text).chars().collect();
        filled
            .chunks(self.chunk_chars.unwrap_or(8).max(1))
            .map(|piece| piece.iter().collect())
            .collect()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StreamedForm {
    Text(String),
    Full {
        #[serde(default)]
        text: String,
        chunks: Option<Vec<String>>,
        chunk_chars: Option<usize>,
        #[serde(default)]
        delay_ms: u64,
        gate: Option<String>,
        gate_after: Option<usize>,
    },
}

impl From<StreamedForm> for Streamed {
    fn from(form: StreamedForm) -> Self {
        match form {
            StreamedForm::Text(text) => Self::new(text),
            StreamedForm::Full {
                text,
                chunks,
                chunk_chars,
                delay_ms,
                gate,
                gate_after,
            } => Self {
                text,
                chunks,
                chunk_chars,
                delay_ms,
                gate,
                gate_after,
            },
        }
    }
}

/// Many equal deltas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deltas {
    /// How many.
    pub count: usize,
    /// Bytes of text in each.
    pub size: usize,
    /// Wait between two of them, in milliseconds; 0: as fast as the sockets take them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub every_ms: u64,
    /// Each begins with the time it is sent at: microseconds since 1970 in 16 digits, as far as its size goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stamped: bool,
}

/// A tool call that succeeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tool {
    /// The tool's name.
    pub tool: String,
    /// Its input.
    pub input: Value,
    /// Its output.
    pub output: String,
    /// The title shown with it; the tool's name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Metadata of the completed state.
    pub metadata: Map<String, Value>,
    /// Files of the completed state, as [`attachment`] makes them; `read` of a picture has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Value>,
}

/// A file part as a tool attaches it: `data` in base64.
pub fn attachment(mime: &str, filename: &str, data: &str) -> Value {
    json!({"type": "file", "mime": mime, "filename": filename, "url": format!("data:{mime};base64,{data}")})
}

/// A tool call that fails.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolError {
    /// The tool's name.
    pub tool: String,
    /// Its input.
    pub input: Value,
    /// What went wrong.
    pub error: String,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteFile {
    /// Absolute, or relative to the session's directory.
    pub path: String,
    /// The file's whole content.
    pub content: String,
}

/// A replacement in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Absolute, or relative to the session's directory.
    pub path: String,
    /// The text to replace. When the file is absent, this is taken for its whole content.
    pub old: String,
    /// What to put there.
    pub new: String,
}

/// Files changed by one `apply_patch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApplyPatch {
    /// The files.
    pub files: Vec<PatchedFile>,
}

/// One file of an `apply_patch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchedFile {
    /// Absolute, or relative to the session's directory.
    pub path: String,
    /// `add`, `update` or `delete`.
    #[serde(rename = "type")]
    pub kind: PatchKind,
    /// The content afterwards; not looked at for `delete`.
    #[serde(default)]
    pub content: String,
}

/// What an `apply_patch` does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchKind {
    /// A new file.
    Add,
    /// Another content for a file.
    Update,
    /// The file goes away.
    Delete,
}

/// One entry of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Todo {
    /// What is to be done.
    pub content: String,
    /// `pending`, `in_progress`, `completed` or `cancelled`.
    pub status: String,
    /// `high`, `medium` or `low`.
    #[serde(default = "default_priority")]
    pub priority: String,
}

pub(super) fn default_priority() -> String {
    "medium".into()
}

/// A question to the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// The question.
    pub question: String,
    /// A short heading.
    pub header: String,
    /// The labels to choose from.
    pub options: Vec<String>,
    /// Whether several may be chosen.
    pub multiple: bool,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            question: "Continue?".into(),
            header: "Choice".into(),
            options: vec!["Yes".into(), "No".into()],
            multiple: false,
        }
    }
}

/// A tool call behind a permission.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Permission {
    /// The permission's name: `bash`, `edit`, `external_directory`, …
    pub permission: String,
    /// What it is asked for.
    pub patterns: Vec<String>,
    /// What an `always` would allow; the patterns when empty.
    pub always: Vec<String>,
    /// Metadata of the request.
    pub metadata: Map<String, Value>,
    /// The call that runs once it is allowed.
    pub tool: Tool,
    /// Look at the session's rules first: `allow` runs at once, `deny` fails the call, and no rule allows. When
    /// false the question is always asked.
    pub by_rules: bool,
}

/// An error of the model provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderError {
    /// The error's name: `APIError`, `ProviderAuthError`, `UnknownError`, …
    pub name: String,
    /// Its message.
    pub message: String,
    /// The provider's HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// The provider's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Default for ProviderError {
    fn default() -> Self {
        Self {
            name: "APIError".into(),
            message: "upstream says no".into(),
            status_code: None,
            url: Some("http://127.0.0.1:9999/v1/chat/completions".into()),
        }
    }
}

/// A busy model provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// How many times it says no.
    pub attempts: u32,
    /// What it says.
    pub message: String,
    /// The wait between two attempts, in milliseconds.
    pub next_ms: u64,
    /// What a person can do about it: `{title, message, label, link}` (sent from 1.18.3 on).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Value>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            message: "upstream says no".into(),
            next_ms: 20,
            action: None,
        }
    }
}

/// An event as the test wants it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawEvent {
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its properties (an object).
    pub properties: Value,
}

/// A frame that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Garbage {
    /// `data:` with broken JSON.
    MalformedJson,
    /// `data:` with bytes that are not UTF-8.
    InvalidUtf8,
    /// `data:` with JSON that is not an object.
    NotAnObject,
    /// A well-formed frame of this many bytes, of a session nobody knows.
    Huge(usize),
}

/// Events of other sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// How many.
    pub events: usize,
    /// Bytes of text in each.
    pub size: usize,
}

/// A call over MCP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpCall {
    /// The tool, as a model is told it: the server's name, `_`, the tool's.
    pub tool: String,
    /// Its arguments.
    pub input: Value,
    /// What becomes of it on the way.
    pub delivery: Delivery,
}

/// What becomes of a call on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It arrives, and so does its answer.
    #[default]
    Once,
    /// Its answer is lost, so it is sent again.
    AnswerLost,
    /// It is sent twice at once.
    Twice,
    /// It is given up when this gate opens, unless the answer is there before.
    GivenUp(String),
}
