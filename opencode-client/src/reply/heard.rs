//! The exchange as the stream told it.
//!
//! A server's history of a session can become unreadable: one stored number that is not one, and every read answers
//! 500 (anomalyco/opencode#38703). What streamed is all there is of the answer then.

use serde::{Deserialize, Serialize};

use super::messages::{Messages, Standing};
use super::parts::Parts;
use crate::error::UpstreamError;
use crate::exchange::Exchange;
use crate::id::MessageId;
use crate::wire::{CacheTokens, Message, MessageInfo, MessageTime, Part, Role, Tokens};

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

/// The exchange as far as the stream told it; see [`Reply::as_exchange`](super::fold::Reply::as_exchange).
pub(super) fn as_exchange(messages: &Messages, parts: &Parts) -> Exchange {
    let mut of_each: Vec<Vec<Part>> = messages.all().map(|_| Vec::new()).collect();
    for slot in parts.slots() {
        if let Some(at) = slot.message
            && let Some(part) = slot.as_part(&messages.at(at).id)
        {
            of_each[at].push(part);
        }
    }
    let counted = messages.all().zip(of_each);
    let counted = counted.filter(|(message, _)| message.standing.counts());
    Exchange {
        prompt_seen: messages.prompt_seen,
        messages: counted
            .map(|(message, parts)| Message {
                info: message.known(),
                parts,
            })
            .collect(),
    }
}
