//! The parts of a reply while it is composed: where each is, and how much they take.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, json};

use super::messages::Messages;
use super::requests::Requests;
use super::room::Room;
use super::slot::{Content, Slot, TextUpdate};
use super::tool_part::{Provenance, ToolPart, ToolStatus};
use super::tracked::Tracked;
use crate::event::PartDelta;
use crate::id::PartId;
use crate::wire::{Part, Todo, ToolCall};

/// The most lines of a plan that are kept.
pub(super) const MAX_TODOS: usize = 1000;

/// The parts of a reply, in order, of whatever message they are.
#[derive(Debug)]
pub(super) struct Parts {
    slots: Vec<Slot>,
    index: HashMap<PartId, usize>,
    /// The slot that grew last: the next delta is nearly always for it.
    last_grown: usize,
    /// A part came without an id, so that another name may be the same part's.
    has_nameless: bool,
    /// Events were missed at some time: a text whose beginning was not heard may lack it.
    pub(super) is_gapped: bool,
    pub(super) room: Room,
}

impl Parts {
    /// No parts yet, which may take so many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            index: HashMap::new(),
            last_grown: 0,
            has_nameless: false,
            is_gapped: false,
            room: Room::new(limit),
        }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn at(&self, at: usize) -> &Slot {
        &self.slots[at]
    }

    pub(super) fn at_mut(&mut self, at: usize) -> &mut Slot {
        &mut self.slots[at]
    }

    pub(super) fn place_of(&self, id: &PartId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// The place of the part that a delta is of, if it is here.
    pub(super) fn place_of_delta(&self, delta: &PartDelta<'_>) -> Option<usize> {
        match self.slots.get(self.last_grown) {
            Some(slot) if slot.id.as_ref().is_some_and(|id| id.as_str() == delta.part) => {
                Some(self.last_grown)
            }
            _ => self.index.get(&*delta.part).copied(),
        }
    }

    /// Has a part that is here under another name be known by this one too.
    pub(super) fn recognise(&mut self, id: &PartId, message: usize, fits: impl Fn(&Slot) -> bool) {
        if self.index.contains_key(id) || !(self.has_nameless || id.is_stand_in()) {
            return;
        }
        let twin = |slot: &Slot| slot.may_be_named(id, message) && fits(slot);
        if let Some(at) = self.slots.iter().rposition(twin) {
            self.index.insert(id.clone(), at);
        }
    }

    /// A place for a new part; `None` where there is no room.
    pub(super) fn insert(&mut self, id: PartId, message: usize, content: Content) -> Option<usize> {
        if !self.room.has_place(self.slots.len()) {
            return None;
        }
        let at = self.slots.len();
        self.has_nameless |= id.is_stand_in();
        self.index.insert(id.clone(), at);
        self.slots.push(Slot::new(Some(id), Some(message), content));
        self.charge(at);
        Some(at)
    }

    /// A place for a part whose first delta came before the part itself.
    pub(super) fn insert_undecided(&mut self, id: PartId, message: usize) -> Option<usize> {
        self.recognise(&id, message, |slot| {
            !slot.finalised && slot.content.text().is_some()
        });
        if let Some(at) = self.place_of(&id) {
            return Some(at);
        }
        let at = self.insert(id, message, Content::Undecided(Tracked::default()))?;
        self.slots[at].torn = self.is_gapped;
        Some(at)
    }

    /// Appends streamed text. What was appended; `None` for nothing.
    pub(super) fn grow<'a>(&mut self, at: usize, delta: &'a str) -> Option<Cow<'a, str>> {
        self.last_grown = at;
        let slot = &mut self.slots[at];
        let left = self.room.left();
        let text = match slot.joined(delta) {
            Cow::Borrowed(text) => Cow::Borrowed(self.room.fitting(text, left)),
            Cow::Owned(text) => Cow::Owned(self.room.fitting(&text, left).to_owned()),
        };
        if !slot.grow(&text) {
            return None;
        }
        self.room.used += text.len();
        slot.charged += text.len();
        Some(text)
    }

    /// Takes the server's whole text of a part, as much as there is room for.
    pub(super) fn take_text(&mut self, at: usize, text: &str, ended: bool) -> TextUpdate {
        let own = self.slots[at].content.text().map_or(0, str::len);
        let text = self.room.fitting(text, self.room.left() + own);
        let update = self.slots[at].take_text(text, ended);
        self.charge(at);
        update
    }

    /// Takes a newer state of a tool call, and a question that waits for it. Its place, and whether observers have yet
    /// to hear of what it is now; `None` where there is no room.
    pub(super) fn take_call(
        &mut self,
        part: &Part,
        message: usize,
        call: &ToolCall,
        waiting: &Requests,
    ) -> Option<(usize, bool)> {
        let at = match self.place_of(&part.id) {
            Some(at) => at,
            None => self.insert(part.id.clone(), message, Content::Tool(Tracked::default()))?,
        };
        if !matches!(self.slots[at].content, Content::Tool(_)) {
            // Deltas of a part that turns out to be a tool were not text.
            let content = Content::Tool(Tracked::default());
            self.slots[at] = Slot::new(Some(part.id.clone()), Some(message), content);
            self.reindex();
        }
        let slot = &mut self.slots[at];
        let Content::Tool(tool) = &mut slot.content else {
            return None;
        };
        let before = slot.announced.then(|| tool.clone());
        if tool.message_id.is_none() {
            ***tool = ToolPart::of(part, call);
        } else {
            tool.merge(call);
        }
        slot.by_provider |= call.by_provider;
        let changed = before.as_ref() != Some(tool);
        self.fit_tool(at);
        self.merge_request(at, waiting);
        Some((at, changed))
    }

    /// A question can come before its tool part says what is asked, or after: either way the part shows it, and
    /// keeps the id of the request. False when it says nothing new.
    pub(super) fn merge_request(&mut self, at: usize, waiting: &Requests) -> bool {
        let Content::Tool(tool) = &mut self.slots[at].content else {
            return false;
        };
        if tool.request_id.is_some() {
            return false;
        }
        let Some(question) = waiting.question_of(tool.call_id.as_deref()) else {
            return false;
        };
        tool.request_id = Some(question.id.to_string());
        tool.input
            .get_or_insert_with(|| json!({ "questions": question.questions }));
        self.fit_tool(at);
        true
    }

    /// Refreshes the newest plan that is shown, or makes one that exists on the stream only: `todo.updated` is a bus
    /// event, never a part of a message. Its place; `None` where there is no room.
    pub(super) fn take_plan(&mut self, messages: &Messages, todos: &[Todo]) -> Option<usize> {
        let at = if let Some(at) = self.newest_tool(messages, ToolPart::is_todo) {
            if let Content::Tool(tool) = &mut self.slots[at].content {
                tool.metadata
                    .get_or_insert_default()
                    .insert("todos".to_owned(), json!(todos));
            }
            at
        } else if self.room.has_place(self.slots.len()) {
            let tool = ToolPart {
                tool: "todowrite".to_owned(),
                status: ToolStatus::Completed,
                metadata: Some(Map::from_iter([("todos".to_owned(), json!(todos))])),
                provenance: Some(Provenance::TodoUpdated),
                ..ToolPart::default()
            };
            let content = Content::Tool(Tracked::new(Box::new(tool)));
            self.slots.push(Slot::new(None, None, content));
            self.slots.len() - 1
        } else {
            return None;
        };
        self.fit_tool(at);
        Some(at)
    }

    /// The newest tool call that is shown and that `wanted` holds for.
    pub(super) fn newest_tool(
        &self,
        messages: &Messages,
        wanted: impl Fn(&ToolPart) -> bool,
    ) -> Option<usize> {
        self.slots.iter().rposition(|slot| {
            messages.shows(slot.message)
                && matches!(&slot.content, Content::Tool(tool) if wanted(tool))
        })
    }

    /// Whether a message called tools: then it was not the last, whatever word it ended with.
    pub(super) fn calls_tools(&self, message: usize) -> bool {
        let mut slots = self.slots.iter();
        slots.any(|slot| slot.message == Some(message) && matches!(slot.content, Content::Tool(_)))
    }

    /// Events may have been missed: texts that are not done may lack what comes next.
    pub(super) fn tear(&mut self) {
        self.is_gapped = true;
        for slot in &mut self.slots {
            slot.torn = !slot.finalised && slot.content.text().is_some();
        }
    }

    pub(super) fn remove(&mut self, gone: impl Fn(&Slot) -> bool) {
        self.slots.retain(|slot| !gone(slot));
        self.reindex();
    }

    /// Takes all parts out, to be put back by [`Self::put`].
    pub(super) fn take(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.slots)
    }

    /// Puts these parts in place of all, cut in order to what there is room for.
    pub(super) fn put(&mut self, slots: Vec<Slot>) {
        self.slots.clear();
        self.room.used = 0;
        for slot in slots {
            if !self.room.has_place(self.slots.len()) {
                break;
            }
            self.slots.push(slot);
            let at = self.slots.len() - 1;
            self.slots[at].charged = 0;
            let beside = self.slots[at].size();
            match self.slots[at].content.text_mut() {
                Some(text) => {
                    let most = self.room.left().saturating_sub(beside - text.len());
                    let fitting = self.room.fitting(text, most).len();
                    text.truncate(fitting);
                    self.charge(at);
                }
                None => self.fit_tool(at),
            }
        }
        self.reindex();
    }

    fn reindex(&mut self) {
        self.last_grown = 0;
        self.room.used = 0;
        self.has_nameless = false;
        self.index.clear();
        for (at, slot) in self.slots.iter().enumerate() {
            self.room.used += slot.charged;
            if let Some(id) = &slot.id {
                self.has_nameless |= id.is_stand_in();
                self.index.insert(id.clone(), at);
            }
        }
    }

    /// Cuts a tool's details to what there is room for, beside what the part takes already.
    fn fit_tool(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let room = self.room.left_for_details(slot.charged);
        if let Content::Tool(tool) = &mut slot.content {
            let trimmed = tool.change_if(|tool| tool.trim(room));
            slot.trimmed |= trimmed;
            self.room.is_trimmed |= trimmed;
        }
        self.charge(at);
    }

    /// Counts what a part takes now.
    fn charge(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let size = slot.size();
        self.room.charge(slot.charged, size);
        slot.charged = size;
    }
}
