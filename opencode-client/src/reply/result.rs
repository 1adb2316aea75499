//! What a reply came to: its parts, and its text put together.

use serde::{Deserialize, Serialize};

use super::part::{Content, PersistedPart};
use super::tool_part::ToolPart;
use super::{Reply, SnapshotPart};

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

impl Reply {
    /// The parts so far, in order, without those that hold nothing yet.
    pub fn parts(&self) -> Vec<PersistedPart> {
        self.visible()
            .filter(|slot| !slot.content.is_empty())
            .map(super::part::Slot::persisted)
            .collect()
    }

    /// What the reply comes to so far.
    pub fn result(&self) -> ReplyResult {
        ReplyResult::of(self.parts())
    }

    /// The text so far without copying the rest: bytes over all text parts.
    pub fn text_len(&self) -> usize {
        let text = |content: &Content| match content {
            Content::Text(text) | Content::Undecided(text) => text.len(),
            _ => 0,
        };
        self.visible().map(|slot| text(&slot.content)).sum()
    }

    /// Whether some text part says more than nothing; see [`is_blank`].
    pub fn has_words(&self) -> bool {
        self.visible().any(|slot| match &slot.content {
            Content::Text(text) | Content::Undecided(text) => !is_blank(text),
            _ => false,
        })
    }

    /// The parts so far with the ids that changes name them by.
    pub fn snapshot(&self) -> Vec<SnapshotPart> {
        let shown = self.visible().filter(|slot| slot.announced);
        shown
            .map(|slot| SnapshotPart {
                part_id: slot.key().into(),
                part: slot.persisted(),
            })
            .collect()
    }
}
