//! The steps of an answer.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kinds::{
    ApplyPatch, Delivery, Deltas, Edit, Flood, Garbage, McpCall, Permission, ProviderError,
    Question, RawEvent, Retry, Streamed, Todo, Tool, ToolError, WriteFile, default_priority,
};

/// One step of an answer.
///
/// Each model step of a real server is an assistant message of its own. The impostor does the same: after a tool
/// step the next step starts a new assistant message for the same prompt, and an answer that ends with a tool gets a
/// last, empty model step. Several tools in one message: [`Step::Parallel`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A text part, streamed in chunks.
    Text(Streamed),
    /// A reasoning part, streamed in chunks.
    Reasoning(Streamed),
    /// Many small deltas of one text part, as fast as the sockets take them (for benchmarks).
    Deltas(Deltas),
    /// A text part that repeats the prompt.
    Echo,
    /// A model step that says nothing.
    Empty,
    /// A tool call that succeeds: pending, running, completed.
    Tool(Tool),
    /// A tool call that fails: pending, running, error.
    ToolError(ToolError),
    /// A call of a tool that there is not: it begins under its own name, and the server renames it `invalid`.
    UnknownTool(String),
    /// A call of a tool that a client has added with `POST /mcp`: really made, over MCP. Where there is no such tool, as
    /// `UnknownTool`.
    Mcp(McpCall),
    /// Several tool steps in one assistant message.
    Parallel(Vec<Step>),
    /// The `write` tool. The file is really written when the session's directory exists.
    WriteFile(WriteFile),
    /// The `edit` tool; really edits the file when it is there.
    Edit(Edit),
    /// The `apply_patch` tool; really changes the files when the session's directory exists.
    ApplyPatch(ApplyPatch),
    /// The `todowrite` tool, with its `todo.updated` event.
    Todos(Vec<Todo>),
    /// The `question` tool: waits for a reply. A rejection ends the turn, as on the real server.
    Question(Question),
    /// A tool call that asks for permission first, and waits for the reply.
    Permission(Permission),
    /// A sub-agent: a child session, and a `task` tool part in this one.
    Subtask(Subtask),
    /// The model provider failed: the turn ends with this error.
    ProviderError(ProviderError),
    /// The model provider is busy: `session.status` says retry, `attempts` times, then the turn goes on.
    Retry(Retry),
    /// Ends this assistant message with a finish reason: `stop`, `length`, `tool-calls`, …
    Finish(String),
    /// From here on, messages with tool calls finish with this word instead of `tool-calls`, as many providers say
    /// (`stop`, `length`, `eos`), or with none at all. OpenCode goes on all the same.
    ToolsFinish(Option<String>),
    /// The next step starts a new assistant message.
    NewMessage,
    /// Holds the answer here until the test opens the gate of this name.
    Gate(String),
    /// Waits this many milliseconds.
    Sleep(u64),
    /// Sends an event of any type. `sessionID` is added when the properties lack it.
    RawEvent(RawEvent),
    /// Sends bytes as they are into every open event stream.
    RawFrame(String),
    /// Sends a frame that no client can read.
    Garbage(Garbage),
    /// Events of other sessions, as a busy server sends them.
    Flood(Flood),
    /// Cuts every open event stream (of this path, when one is named). Clients may connect again.
    DropStreams(Option<String>),
    /// Deltas of this many bytes without end, until aborted; of 0 bytes: empty ones.
    Endless(usize),
    /// From here on the session's history answers 500, as after a stored NaN (anomalyco/opencode#38703).
    BreakHistory,
    /// Never goes on: the session stays busy while heartbeats arrive.
    Hang,
    /// A looping server: one finished assistant message after the other, until aborted.
    Loop(Streamed),
    /// The server dies here, as by `kill -9`.
    Kill,
}

impl Step {
    /// A text part, in chunks of eight characters without delay. `{{prompt}}`, `{{directory}}` and `{{session}}`
    /// are replaced.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Streamed::new(text))
    }

    /// A text part whose deltas are exactly these.
    pub fn chunks<S: Into<String>>(chunks: impl IntoIterator<Item = S>) -> Self {
        Self::Text(Streamed {
            chunks: Some(chunks.into_iter().map(Into::into).collect()),
            ..Streamed::default()
        })
    }

    /// A reasoning part.
    pub fn reasoning(text: impl Into<String>) -> Self {
        Self::Reasoning(Streamed::new(text))
    }

    /// A completed call of `tool` with this input and output.
    pub fn tool(tool: impl Into<String>, input: Value, output: impl Into<String>) -> Self {
        Self::Tool(Tool {
            tool: tool.into(),
            input,
            output: output.into(),
            ..Tool::default()
        })
    }

    /// A failed call of `tool`.
    pub fn tool_error(tool: impl Into<String>, input: Value, error: impl Into<String>) -> Self {
        Self::ToolError(ToolError {
            tool: tool.into(),
            input,
            error: error.into(),
        })
    }

    /// A call of a tool that a client has added, such as `app_lookup`. In texts of the input `{{prompt}}`, `{{directory}}`
    /// and `{{session}}` are replaced.
    pub fn mcp(tool: impl Into<String>, input: Value) -> Self {
        Self::mcp_delivered(tool, input, Delivery::Once)
    }

    /// The same, with trouble on the way.
    pub fn mcp_delivered(tool: impl Into<String>, input: Value, delivery: Delivery) -> Self {
        Self::Mcp(McpCall {
            tool: tool.into(),
            input,
            delivery,
        })
    }

    /// The `write` tool; a relative path is taken from the session's directory.
    pub fn write_file(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self::WriteFile(WriteFile {
            path: path.into(),
            content: content.into(),
        })
    }

    /// The `edit` tool.
    pub fn edit(path: impl Into<String>, old: impl Into<String>, new: impl Into<String>) -> Self {
        Self::Edit(Edit {
            path: path.into(),
            old: old.into(),
            new: new.into(),
        })
    }

    /// The `todowrite` tool, from pairs of content and status.
    pub fn todos<S: Into<String>>(todos: impl IntoIterator<Item = (S, S)>) -> Self {
        Self::Todos(
            todos
                .into_iter()
                .map(|(content, status)| Todo {
                    content: content.into(),
                    status: status.into(),
                    priority: default_priority(),
                })
                .collect(),
        )
    }

    /// The `question` tool with one question.
    pub fn question<S: Into<String>>(
        question: impl Into<String>,
        options: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::Question(Question {
            question: question.into(),
            options: options.into_iter().map(Into::into).collect(),
            ..Question::default()
        })
    }

    /// A `bash` call that asks first.
    pub fn ask_bash(command: impl Into<String>, output: impl Into<String>) -> Self {
        let command = command.into();
        Self::Permission(Permission {
            permission: "bash".into(),
            patterns: vec![command.clone()],
            tool: Tool {
                tool: "bash".into(),
                input: json!({"command": command, "description": "Run a command"}),
                output: output.into(),
                ..Tool::default()
            },
            ..Permission::default()
        })
    }

    /// A sub-agent that does these steps.
    pub fn subtask(prompt: impl Into<String>, steps: impl IntoIterator<Item = Step>) -> Self {
        Self::Subtask(Subtask {
            prompt: prompt.into(),
            steps: steps.into_iter().collect(),
            ..Subtask::default()
        })
    }

    /// A provider that answers with an HTTP error.
    pub fn provider_error(status: u16, message: impl Into<String>) -> Self {
        Self::ProviderError(ProviderError {
            message: message.into(),
            status_code: Some(status),
            ..ProviderError::default()
        })
    }

    /// Ends the assistant message with this reason.
    pub fn finish(reason: impl Into<String>) -> Self {
        Self::Finish(reason.into())
    }

    /// Waits until the test opens the gate.
    pub fn gate(name: impl Into<String>) -> Self {
        Self::Gate(name.into())
    }

    /// An event of any type.
    pub fn raw_event(kind: impl Into<String>, properties: Value) -> Self {
        Self::RawEvent(RawEvent {
            kind: kind.into(),
            properties,
        })
    }

    /// `count` deltas of `size` bytes each.
    pub fn deltas(count: usize, size: usize) -> Self {
        Self::Deltas(Deltas {
            count,
            size,
            ..Deltas::default()
        })
    }

    /// True for the steps that are tool calls.
    pub(crate) fn is_tool(&self) -> bool {
        matches!(
            self,
            Self::Tool(_)
                | Self::ToolError(_)
                | Self::UnknownTool(_)
                | Self::Mcp(_)
                | Self::Parallel(_)
                | Self::WriteFile(_)
                | Self::Edit(_)
                | Self::ApplyPatch(_)
                | Self::Todos(_)
                | Self::Question(_)
                | Self::Permission(_)
                | Self::Subtask(_)
        )
    }
}

impl From<Streamed> for Step {
    fn from(streamed: Streamed) -> Self {
        Self::Text(streamed)
    }
}

/// A sub-agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Subtask {
    /// A few words on what it does.
    pub description: String,
    /// Its prompt.
    pub prompt: String,
    /// Its agent.
    pub agent: String,
    /// What it does; empty: whatever the script says to its prompt.
    pub steps: Vec<Step>,
}

impl Default for Subtask {
    fn default() -> Self {
        Self {
            description: "sub work".into(),
            prompt: String::new(),
            agent: "general".into(),
            steps: Vec::new(),
        }
    }
}
