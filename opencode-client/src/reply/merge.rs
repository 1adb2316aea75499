//! Bringing the parts of the stream and of the exchange together.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::slot::{Content, Slot};
use super::tool_part::ToolPart;
use super::tracked::Tracked;
use crate::exchange::Exchange;
use crate::id::{MessageId, PartId};
use crate::wire::{Message, Part, PartBody};

/// Streamed slots on the way into the exchange's order.
pub(super) struct Merge {
    /// What the stream had, in its order; taken out as the exchange names it.
    streamed: Vec<Option<Slot>>,
    /// The streamed place of each part that the exchange names.
    anchors: HashMap<PartId, usize>,
    ordered: Vec<Slot>,
    /// Events were missed: what the stream does not have may have begun unheard.
    gapped: bool,
}

impl Merge {
    pub(super) fn new(streamed: Vec<Slot>, gapped: bool) -> Self {
        let anchors = streamed
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some((slot.id.clone()?, at)))
            .collect();
        Self {
            streamed: streamed.into_iter().map(Some).collect(),
            anchors,
            ordered: Vec::new(),
            gapped,
        }
    }

    /// Whether a plan from the stream says only what a part of the exchange
    /// says: its tool part was missed, and has come by the exchange.
    fn repeats(&self, slot: &Slot) -> bool {
        let Some(todos) = todos_of(slot).filter(|_| slot.is_stream_only()) else {
            return false;
        };
        self.ordered
            .iter()
            .any(|other| todos_of(other) == Some(todos))
    }

    /// Where the stream has a part of the exchange, under whatever name.
    fn place_of(&self, part: &Part, message: usize) -> Option<usize> {
        let named = self.anchors.get(&part.id).copied();
        let twin =
            |slot: &Slot| slot.may_be_named(&part.id, message) && slot.content.may_be(&part.body);
        named.or_else(|| {
            let mut streamed = self.streamed.iter();
            streamed.position(|slot| slot.as_ref().is_some_and(twin))
        })
    }

    /// Takes a message of the exchange, in its order; `place` is its place among the messages seen.
    pub(super) fn take_message(&mut self, message: &Message, place: usize) {
        for part in &message.parts {
            let at = self.place_of(part, place);
            let streamed = at.and_then(|at| self.streamed[at].take());
            let torn = streamed.as_ref().map_or(self.gapped, |slot| slot.torn);
            let Some(content) = content_of(part, streamed.as_ref(), message.info.is_finished())
            else {
                continue;
            };
            // Watchers know it by the name it came under.
            let id = streamed.and_then(|slot| slot.id);
            let id = id.unwrap_or_else(|| part.id.clone());
            let mut slot = Slot::new(Some(id), Some(place), content);
            slot.finalised = match &slot.content {
                Content::Tool(tool) => tool.status.is_terminal(),
                // Deltas of an ended text that are heard only now are in it.
                _ => message.info.is_finished() || has_ended(part),
            };
            slot.torn = torn && !slot.finalised;
            slot.by_provider = matches!(&part.body, PartBody::Tool(call) if call.by_provider);
            self.ordered.push(slot);
        }
    }

    /// Puts back what the exchange lacks and must not cost: each behind the
    /// part it followed on the stream.
    pub(super) fn finish(mut self, exchange: &Exchange, ids: &[&MessageId]) -> Vec<Slot> {
        let mut order: Vec<(Option<PartId>, Slot)> = Vec::new();
        let named: HashSet<&PartId> = self
            .ordered
            .iter()
            .filter_map(|slot| slot.id.as_ref())
            .collect();
        let mut anchor: Option<PartId> = None;
        let by_place: HashMap<usize, &PartId> = self
            .anchors
            .iter()
            .filter(|(id, _)| named.contains(id))
            .map(|(id, &at)| (at, id))
            .collect();
        for (at, slot) in std::mem::take(&mut self.streamed).into_iter().enumerate() {
            if let Some(id) = by_place.get(&at) {
                anchor = Some(PartId::clone(id));
            }
            if let Some(slot) =
                slot.filter(|slot| outlives(slot, exchange, ids) && !self.repeats(slot))
            {
                order.push((anchor.clone(), slot));
            }
        }
        let mut slots = Vec::with_capacity(self.ordered.len() + order.len());
        let mut waiting = order.into_iter().peekable();
        while let Some((_, slot)) = waiting.next_if(|(anchor, _)| anchor.is_none()) {
            slots.push(slot);
        }
        let mut kept: HashMap<PartId, Vec<Slot>> = HashMap::new();
        for (anchor, slot) in waiting {
            if let Some(anchor) = anchor {
                kept.entry(anchor).or_default().push(slot);
            }
        }
        for slot in self.ordered {
            let followers = slot
                .id
                .as_ref()
                .and_then(|id| kept.remove(id))
                .unwrap_or_default();
            slots.push(slot);
            slots.extend(followers);
        }
        slots
    }
}

fn todos_of(slot: &Slot) -> Option<&Value> {
    match &slot.content {
        Content::Tool(tool) if tool.is_todo() => tool.metadata.as_ref()?.get("todos"),
        _ => None,
    }
}

/// What a part of the exchange holds, given what was streamed of it.
fn content_of(part: &Part, streamed: Option<&Slot>, finished: bool) -> Option<Content> {
    let streamed = streamed.map(|slot| &slot.content);
    let text = |text: &str| {
        let had = match streamed {
            Some(Content::Undecided(had) | Content::Text(had) | Content::Reasoning(had)) => {
                had.clone()
            }
            _ => Tracked::default(),
        };
        let lost = if finished {
            text.is_empty()
        } else {
            had.len() > text.len()
        };
        let mut now = had;
        if !lost {
            now.set(text);
        }
        now
    };
    match &part.body {
        PartBody::Text { text: own, .. } => Some(Content::Text(text(own))),
        PartBody::Reasoning { text: own, .. } => Some(Content::Reasoning(text(own))),
        PartBody::Tool(call) => {
            let mut tool = ToolPart::of(part, call);
            if let Some(Content::Tool(had)) = streamed {
                tool.tool.clone_from(&had.tool);
                tool.request_id.clone_from(&had.request_id);
                if !tool.status.is_terminal() {
                    tool = ToolPart::clone(had);
                    tool.merge(call);
                }
            }
            match streamed {
                Some(Content::Tool(had)) if ***had == tool => Some(Content::Tool(had.clone())),
                _ => Some(Content::Tool(Tracked::new(Box::new(tool)))),
            }
        }
        PartBody::StepFinish { .. } | PartBody::Compaction | PartBody::Other { .. } => None,
    }
}

/// Whether a streamed part that the exchange does not name stays.
fn outlives(slot: &Slot, exchange: &Exchange, ids: &[&MessageId]) -> bool {
    if slot.is_stream_only() {
        return true;
    }
    let message = slot.message.and_then(|at| {
        exchange
            .messages
            .iter()
            .find(|message| message.info.id == *ids[at])
    });
    let lost = match message {
        // The server forgot the whole message.
        None => true,
        Some(message) => !message.info.is_finished() || !message.parts.iter().any(holds_text),
    };
    lost && !slot.content.is_empty()
}

fn has_ended(part: &Part) -> bool {
    matches!(
        part.body,
        PartBody::Text { ended: true, .. } | PartBody::Reasoning { ended: true, .. }
    )
}

fn holds_text(part: &Part) -> bool {
    matches!(&part.body, PartBody::Text { text, .. } if !text.is_empty())
}
