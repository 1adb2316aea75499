//! The exchange as the stream told it.
//!
//! A server's history of a session can become unreadable: one stored number that is not one, and every read answers
//! 500 (anomalyco/opencode#38703). What streamed is all there is of the answer then.

use serde::{Deserialize, Serialize};

use super::part::{Content, Slot};
use super::{Reply, Standing};
use crate::error::UpstreamError;
use crate::exchange::Exchange;
use crate::id::{MessageId, PartId};
use crate::wire::{
    CacheTokens, Message, MessageInfo, MessageTime, Part, PartBody, Role, Tokens, ToolCall,
    ToolState,
};

/// What a checkpoint keeps of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HeardMessage {
    pub(super) id: MessageId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<MessageId>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    summary: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finish: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<UpstreamError>,
    cost: f64,
    /// Input, output, reasoning, read from and written to the cache.
    tokens: [u64; 5],
}

impl HeardMessage {
    pub(super) fn of(info: MessageInfo) -> Self {
        let tokens = info.tokens;
        Self {
            id: info.id,
            parent: info.parent_id,
            summary: info.summary,
            finish: info.finish,
            completed: info.time.completed,
            error: info.error,
            // JSON has no other numbers.
            cost: if info.cost.is_finite() {
                info.cost
            } else {
                0.0
            },
            tokens: [
                tokens.input,
                tokens.output,
                tokens.reasoning,
                tokens.cache.read,
                tokens.cache.write,
            ],
        }
    }

    pub(super) fn standing(&self) -> Standing {
        if self.summary {
            Standing::Summary
        } else {
            Standing::Answer
        }
    }

    pub(super) fn info(self) -> MessageInfo {
        let [input, output, reasoning, read, write] = self.tokens;
        MessageInfo {
            id: self.id,
            role: Role::Assistant,
            parent_id: self.parent,
            time: MessageTime {
                created: 0,
                completed: self.completed,
            },
            finish: self.finish,
            cost: self.cost,
            tokens: Tokens {
                input,
                output,
                reasoning,
                cache: CacheTokens { read, write },
            },
            error: self.error,
            summary: self.summary,
        }
    }
}

impl Reply {
    /// The exchange as far as the stream told it, for a server that does not give its own any more: what was missed
    /// is not in it. A message that nothing ended is unfinished there. Details of tool calls that were cut for lack
    /// of room are left out.
    pub fn as_exchange(&self) -> Exchange {
        let mut parts: Vec<Vec<Part>> = self.messages.iter().map(|_| Vec::new()).collect();
        for slot in &self.slots {
            if let Some(at) = slot.message
                && let Some(part) = slot.as_part(&self.messages[at].id)
            {
                parts[at].push(part);
            }
        }
        let heard = self.messages.iter().zip(parts);
        let counted = heard.filter(|(message, _)| message.standing.counts());
        Exchange {
            prompt_seen: self.state.prompt_seen,
            messages: counted
                .map(|(message, parts)| Message {
                    info: message.known(),
                    parts,
                })
                .collect(),
        }
    }
}

impl Slot {
    fn as_part(&self, message: &MessageId) -> Option<Part> {
        let id: PartId = self.id.clone()?;
        let ended = self.finalised;
        let body = match &self.content {
            Content::Undecided(text) | Content::Text(text) => PartBody::Text {
                text: text.clone(),
                ended,
                synthetic: false,
            },
            Content::Reasoning(text) => PartBody::Reasoning {
                text: text.clone(),
                ended,
            },
            Content::Tool(tool) => PartBody::Tool(ToolCall {
                tool: tool.tool.clone(),
                call_id: tool.call_id.clone(),
                by_provider: self.by_provider,
                state: ToolState {
                    status: tool.status.as_wire().to_owned(),
                    input: tool.input.clone().filter(|_| !self.trimmed),
                    output: tool.output.clone(),
                    title: tool.title.clone(),
                    metadata: tool.metadata.clone().filter(|_| !self.trimmed),
                    error: tool.error.clone(),
                    attachments: tool.attachments.clone(),
                },
            }),
        };
        Some(Part {
            id,
            message_id: message.clone(),
            body,
        })
    }
}
