//! The answer to a prompt, as it is kept.

use opencode_client::reply::{PersistedPart, ToolPart};
use opencode_client::wire::Tokens;
use serde::{Deserialize, Serialize};

use super::{Reason, TurnError};

/// What a turn came to, or what a message says: its text and parts, what it cost, and why it ended as it did.
///
/// The end that a worker writes holds one; a store writes it to the turn's message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// The text, or a fixed sentence where there is none.
    pub content: String,
    /// The parts, in order.
    pub parts: Vec<PersistedPart>,
    /// The model's thinking.
    pub reasoning: String,
    /// Cost and tokens.
    pub usage: Usage,
    /// The text is cut: the model ran out of output tokens, or the answer is larger than is kept.
    pub truncated: bool,
    /// Why it ended as it did, where that needs a word.
    pub reason: Option<Reason>,
    /// What went wrong, when something did.
    pub error: Option<TurnError>,
}

impl Answer {
    /// An answer of this text. What else it has is set by its fields.
    pub fn text(content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            ..Self::default()
        }
    }

    /// The tool calls that have ended, in order.
    pub fn tool_calls(&self) -> Vec<&ToolPart> {
        let ended = self.parts.iter().filter_map(|part| match part {
            PersistedPart::Tool(tool) if tool.status.is_terminal() => Some(tool),
            _ => None,
        });
        ended.collect()
    }
}

/// Cost in US dollars and tokens, over all messages of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// US dollars.
    pub cost: f64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Tokens served from the provider's cache.
    pub cache_read_tokens: u64,
    /// Tokens stored in the provider's cache.
    pub cache_write_tokens: u64,
}

impl Usage {
    /// The usage of a cost and token counts.
    pub fn new(cost: f64, tokens: Tokens) -> Self {
        Self {
            cost,
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cache_read_tokens: tokens.cache.read,
            cache_write_tokens: tokens.cache.write,
        }
    }
}
