//! The chunks of an AI SDK UI message stream, as its schema in npm `ai` 7 has them.
//!
//! The schema refuses `null` where a field may be absent: what is absent is left out.

use serde::Serialize;
use serde_json::Value;

/// The header, and its value, by which the AI SDK knows the stream.
pub const UI_MESSAGE_STREAM: (&str, &str) = ("x-vercel-ai-ui-message-stream", "v1");

/// The last line of a stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// One chunk of a UI message stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum Chunk {
    /// A message begins.
    Start {
        /// The message that the chunks make.
        message_id: String,
        /// What the front end keeps with it.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_metadata: Option<Value>,
    },
    /// A step begins. All parts of a reply are in one.
    StartStep,
    /// The parts since the step began are dropped.
    ResetStep,
    /// A text begins.
    TextStart {
        /// The block.
        id: String,
    },
    /// A text goes on.
    TextDelta {
        /// The block.
        id: String,
        /// What is appended.
        delta: String,
    },
    /// A text is done.
    TextEnd {
        /// The block.
        id: String,
    },
    /// The model's thinking begins.
    ReasoningStart {
        /// The block.
        id: String,
    },
    /// The model's thinking goes on.
    ReasoningDelta {
        /// The block.
        id: String,
        /// What is appended.
        delta: String,
    },
    /// The model's thinking is done.
    ReasoningEnd {
        /// The block.
        id: String,
    },
    /// The model writes a tool call.
    ToolInputStart {
        /// The call.
        tool_call_id: String,
        /// The tool.
        tool_name: String,
        /// Always true: the front end need not know the tool.
        dynamic: bool,
        /// Always true: the front end does not run it.
        provider_executed: bool,
    },
    /// The call is written, and runs.
    ToolInputAvailable {
        /// The call.
        tool_call_id: String,
        /// The tool.
        tool_name: String,
        /// The arguments.
        input: Value,
        /// The server's own short description.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Always true.
        dynamic: bool,
        /// Always true.
        provider_executed: bool,
    },
    /// The call waits until a person approves of it.
    ToolApprovalRequest {
        /// The request, by which it is answered.
        approval_id: String,
        /// The call.
        tool_call_id: String,
    },
    /// The call ended well.
    ToolOutputAvailable {
        /// The call.
        tool_call_id: String,
        /// What came out.
        output: String,
        /// Always true.
        dynamic: bool,
        /// Always true.
        provider_executed: bool,
    },
    /// The call failed.
    ToolOutputError {
        /// The call.
        tool_call_id: String,
        /// Why.
        error_text: String,
        /// Always true.
        dynamic: bool,
        /// Always true.
        provider_executed: bool,
    },
    /// A file of the reply.
    File {
        /// Where it is.
        url: String,
        /// Its media type.
        media_type: String,
    },
    /// A question or permission that the agent asks. One with the same id takes its place.
    DataRequest {
        /// The request.
        id: String,
        /// `{"state": "pending", "request": …}`, and `{"state": "closed"}` once it waits no more.
        data: Value,
    },
    /// Why nothing comes for the moment: `{"type": "retry", …}`, `{"type": "server_unreachable", …}`, or
    /// `{"type": "none"}` once the answer goes on.
    DataNotice {
        /// The notice.
        data: Value,
        /// Always true: it is no part of the message.
        transient: bool,
    },
    /// The step is over.
    FinishStep,
    /// The turn was cancelled. The last chunk.
    Abort,
    /// The turn failed. The last chunk.
    Error {
        /// What the person is told.
        error_text: String,
    },
    /// The turn ended with an answer, or waits for approvals. The last chunk.
    Finish {
        /// Why the model stopped.
        finish_reason: FinishReason,
    },
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// The text is cut.
    Length,
    /// It waits for what a person decides about its tool calls.
    ToolCalls,
}

impl Chunk {
    /// The chunk as an event of a `text/event-stream`, blank line included.
    pub fn to_line(&self) -> String {
        // Strings, numbers and trees of them: nothing that JSON cannot say.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("data: {json}\n\n")
    }
}
