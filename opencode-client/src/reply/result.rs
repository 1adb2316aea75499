//! What a reply came to: its parts, and its text put together.

use serde::{Deserialize, Serialize};

use super::part::PersistedPart;
use super::tool_part::ToolPart;

/// What a reply came to, the same whether folded live or rebuilt from the exchange.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplyResult {
    /// Every part, in order.
    pub parts: Vec<PersistedPart>,
    /// The text parts, joined by a blank line.
    pub full_text: String,
    /// The reasoning parts, joined by a blank line.
    pub reasoning_text: String,
    /// The tool calls that have ended.
    pub tool_parts: Vec<ToolPart>,
}

impl ReplyResult {
    /// Whether nothing was said and no tool was called.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The result of parts in order.
    pub fn of(parts: Vec<PersistedPart>) -> Self {
        let mut result = Self::default();
        for part in &parts {
            match part {
                PersistedPart::Text { content } => join(&mut result.full_text, content),
                PersistedPart::Reasoning { content } => join(&mut result.reasoning_text, content),
                PersistedPart::Tool(tool) if tool.status.is_terminal() => {
                    result.tool_parts.push(tool.clone())
                }
                PersistedPart::Tool(_) => {}
            }
        }
        result.parts = parts;
        result
    }
}

/// Whether a text says nothing: white space, and characters without width.
pub fn is_blank(text: &str) -> bool {
    let nothing = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}')
    };
    text.chars().all(nothing)
}

fn join(all: &mut String, text: &str) {
    if !all.is_empty() {
        all.push_str("\n\n");
    }
    all.push_str(text);
}
