//! A reply as it is kept in a store while it is composed, so that another process can go on with it.

use serde::{Deserialize, Serialize};

use super::heard::HeardMessage;
use super::part::{Content, PersistedPart, STREAM_ONLY_KEY, Slot};
use super::requests::Requests;
use super::{Reply, Scope, SnapshotPart, Standing};
use crate::id::{MessageId, PartId, SessionId};

/// What of a reply outlives its process: enough to go on with it elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The prompt that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<MessageId>,
    /// The messages known to answer the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<MessageId>,
    /// What was heard of messages beside their parts: how they ended, and what they cost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heard: Vec<HeardMessage>,
    parts: Vec<CheckpointPart>,
    /// Requests that wait.
    #[serde(default, skip_serializing_if = "Requests::is_empty")]
    pub requests: Requests,
    /// The tool calls whose request the person refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
    /// Words or parts were left out for lack of room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CheckpointPart {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<PartId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<MessageId>,
    part: PersistedPart,
    /// Details of the tool call were cut: they are not what the tool was given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    trimmed: bool,
    /// The model's provider ran the tool call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_provider: bool,
}

impl Checkpoint {
    /// Whether it is of the answer to this prompt, as far as it says.
    pub fn is_of(&self, prompt: &MessageId) -> bool {
        self.prompt.as_ref().is_none_or(|own| own == prompt)
    }

    /// The parts in the shape that hosts store.
    pub fn parts(&self) -> Vec<PersistedPart> {
        self.parts.iter().map(|kept| kept.part.clone()).collect()
    }

    /// The parts with the ids that changes name them by.
    pub(super) fn keyed_parts(&self) -> impl Iterator<Item = SnapshotPart> {
        self.parts.iter().map(|kept| SnapshotPart {
            part_id: kept.id.clone().unwrap_or_else(|| STREAM_ONLY_KEY.into()),
            part: kept.part.clone(),
        })
    }
}

impl Reply {
    /// What would be lost if the process died now.
    pub fn checkpoint(&self) -> Checkpoint {
        let parts = self
            .visible()
            .filter(|slot| !slot.content.is_empty())
            .map(|slot| CheckpointPart {
                id: slot.id.clone(),
                message: slot.message.map(|at| self.messages[at].id.clone()),
                part: slot.persisted(),
                trimmed: slot.trimmed,
                by_provider: slot.by_provider,
            });
        let answers = self
            .messages
            .iter()
            .filter(|message| message.standing == Standing::Answer);
        let heard = self.messages.iter().filter(|message| {
            message.standing.counts() && (message.info.is_some() || !message.steps.is_empty())
        });
        let prompt = match &self.scope {
            Scope::Prompt(prompt) => Some(prompt.clone()),
            Scope::Session => None,
        };
        Checkpoint {
            prompt,
            answers: answers.map(|message| message.id.clone()).collect(),
            heard: heard
                .map(|message| HeardMessage::of(message.known()))
                .collect(),
            parts: parts.collect(),
            requests: self.requests.clone(),
            refused: self.state.refused.clone(),
            cut: self.state.cut,
        }
    }

    /// Goes on from a checkpoint: a reply that holds what it held. The exchange
    /// and the live stream bring the rest.
    pub fn restore(session: SessionId, prompt: MessageId, checkpoint: Checkpoint) -> Self {
        let mut reply = Self::new(session, prompt);
        let answer = |reply: &mut Self, id: &MessageId| {
            let at = reply.track(id)?;
            if !reply.messages[at].standing.counts() {
                reply.messages[at].standing = Standing::Answer;
            }
            Some(at)
        };
        for heard in checkpoint.heard {
            if let Some(at) = answer(&mut reply, &heard.id) {
                reply.messages[at].standing = heard.standing();
                let info = heard.info();
                if let Some(parent) = &info.parent_id {
                    reply.continue_with(parent);
                }
                reply.messages[at].info = Some(info);
            }
        }
        for id in &checkpoint.answers {
            answer(&mut reply, id);
        }
        for kept in checkpoint.parts {
            let message = kept.message.and_then(|id| answer(&mut reply, &id));
            let content = match kept.part {
                PersistedPart::Text { content } => Content::Text(content),
                PersistedPart::Reasoning { content } => Content::Reasoning(content),
                PersistedPart::Tool(tool) => Content::Tool(Box::new(tool)),
            };
            let mut slot = Slot::new(kept.id, message, content);
            slot.announced = true;
            slot.trimmed = kept.trimmed;
            slot.by_provider = kept.by_provider;
            reply.state.trimmed |= kept.trimmed;
            reply.slots.push(slot);
        }
        reply.state.refused = checkpoint.refused;
        reply.state.cut = checkpoint.cut;
        reply.state.prompt_seen = !reply.messages.is_empty();
        reply.state.first_text = !reply.slots.is_empty();
        reply.requests = checkpoint.requests;
        reply.fit();
        reply.reindex();
        for at in 0..reply.slots.len() {
            reply.adopt_child_of(at);
        }
        reply
    }
}
