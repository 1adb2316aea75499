//! A part of a reply in the shape that hosts store.

use serde::{Deserialize, Serialize};

use super::tool_part::ToolPart;

/// A part in the shape that hosts store: `{type, content}` for text and
/// reasoning, `{type: "tool", tool, status, …}` for tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum PersistedPart {
    /// Words of the answer.
    Text {
        /// The words.
        content: String,
    },
    /// The model's thinking.
    Reasoning {
        /// The words.
        content: String,
    },
    /// A tool call.
    Tool(ToolPart),
}

/// What kind of words a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    /// Words of the answer.
    Text,
    /// The model's thinking.
    Reasoning,
}
