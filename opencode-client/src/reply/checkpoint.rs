//! A reply as it is kept in a store while it is composed, so that another process can go on with it.

use serde::{Deserialize, Serialize};

use super::change::SnapshotPart;
use super::heard::HeardMessage;
use super::messages::{Messages, Standing};
use super::part::PersistedPart;
use super::parts::Parts;
use super::requests::Requests;
use super::slot::{Content, STREAM_ONLY_KEY, Slot};
use super::tracked::Tracked;
use crate::id::{MessageId, PartId};

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
    pub(super) parts: Vec<CheckpointPart>,
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
pub(super) struct CheckpointPart {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<PartId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<MessageId>,
    pub(super) part: PersistedPart,
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

    /// What is kept of a reply.
    pub(super) fn of(
        messages: &Messages,
        parts: &Parts,
        requests: &Requests,
        refused: &[String],
    ) -> Self {
        let kept = CheckpointPart::kept(messages, parts);
        Self {
            parts: kept
                .map(|slot| CheckpointPart::of(slot, messages))
                .collect(),
            ..Self::rest_of(messages, parts, requests, refused)
        }
    }

    /// All of that but the parts.
    pub(super) fn rest_of(
        messages: &Messages,
        parts: &Parts,
        requests: &Requests,
        refused: &[String],
    ) -> Self {
        let answers = messages
            .all()
            .filter(|message| message.standing == Standing::Answer);
        let heard = messages.counted().filter(|message| message.is_heard());
        Self {
            prompt: messages.prompt().cloned(),
            answers: answers.map(|message| message.id.clone()).collect(),
            heard: heard
                .map(|message| HeardMessage::of(message.known()))
                .collect(),
            parts: Vec::new(),
            requests: requests.clone(),
            refused: refused.to_vec(),
            cut: messages.is_cut || parts.room.is_cut,
        }
    }

    /// Puts back what was kept: the messages and parts where they are given, the requests and refused calls as what
    /// is told.
    pub(super) fn restore(
        self,
        messages: &mut Messages,
        parts: &mut Parts,
    ) -> (Requests, Vec<String>) {
        for heard in self.heard {
            let standing = heard.standing();
            messages.restore_heard(heard.info(), standing);
        }
        for id in &self.answers {
            messages.restore(id);
        }
        let mut slots = Vec::with_capacity(self.parts.len());
        for kept in self.parts {
            let message = kept.message.and_then(|id| messages.restore(&id));
            let content = match kept.part {
                PersistedPart::Text { content } => Content::Text(Tracked::new(content)),
                PersistedPart::Reasoning { content } => Content::Reasoning(Tracked::new(content)),
                PersistedPart::Tool(tool) => Content::Tool(Tracked::new(Box::new(tool))),
            };
            let mut slot = Slot::new(kept.id, message, content);
            slot.announced = true;
            slot.trimmed = kept.trimmed;
            slot.by_provider = kept.by_provider;
            parts.room.is_trimmed |= kept.trimmed;
            slots.push(slot);
        }
        parts.room.is_cut = self.cut;
        parts.put(slots);
        let is_known = messages.all().len() > 0;
        messages.prompt_seen = is_known;
        (self.requests, self.refused)
    }
}

impl CheckpointPart {
    /// The parts of a reply that are kept.
    pub(super) fn kept<'r>(
        messages: &'r Messages,
        parts: &'r Parts,
    ) -> impl Iterator<Item = &'r Slot> {
        let kept = |slot: &&Slot| messages.shows(slot.message) && !slot.content.is_empty();
        parts.slots().iter().filter(kept)
    }

    pub(super) fn of(slot: &Slot, messages: &Messages) -> Self {
        Self {
            id: slot.id.clone(),
            message: slot.message.map(|at| messages.at(at).id.clone()),
            part: slot.persisted(),
            trimmed: slot.trimmed,
            by_provider: slot.by_provider,
        }
    }
}
