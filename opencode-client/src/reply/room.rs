//! How much of an answer is kept.
//!
//! A model, a tool or a broken server can send without end. What a reply holds is bounded as a whole, because it is
//! held several times over: here, for watchers, in the row. What is over the bound is not kept, and that is told:
//! [`Reply::is_cut`] when words or parts are missing, a mark in place for a tool's details.

use super::Reply;
use super::part::{Content, Slot};
use super::tool_part::ToolPart;
use crate::tolerant::shorten::{self, VALUE, cut};
use crate::wire::ToolAttachment;

/// The most bytes that the parts of a reply take together, each counted with 512 beside what it holds. 16 MiB: a
/// thousand times a long answer.
pub const MAX_REPLY_BYTES: usize = 16 << 20;
/// The most parts of a reply.
pub const MAX_PARTS: usize = 4096;
/// The most bytes of one detail of a tool call: its arguments, its output, its metadata, its attachments. Less where
/// little of [`MAX_REPLY_BYTES`] is left; a quarter of that is for words alone.
pub const MAX_DETAIL_BYTES: usize = 4 << 20;
/// The same for what a sub-agent has said so far: nobody is shown more than its last steps.
pub(super) const MAX_CHILD_BYTES: usize = 256 << 10;
/// The most upstream messages that are told apart.
pub(super) const MAX_MESSAGES: usize = 4096;

/// What a part takes beside what it holds.
const PART: usize = 512;
/// The longest title of a tool call, in bytes.
const MAX_TITLE: usize = 2000;

/// `text` up to so many bytes, at the end of a character.
pub(super) fn fitting(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

impl ToolPart {
    fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let attachments = self.attachments.iter();
        self.tool.len()
            + text(&self.title)
            + text(&self.output)
            + text(&self.error)
            + self.input.as_ref().map_or(0, shorten::size)
            + self.metadata.as_ref().map_or(0, shorten::map_size)
            + attachments.map(attachment_size).sum::<usize>()
    }

    /// Cuts the details to so many bytes. False when they fit.
    fn trim(&mut self, mut room: usize) -> bool {
        let short = room.clamp(MAX_TITLE / 10, MAX_TITLE);
        let mut over = cut(&mut self.tool, short);
        if let Some(title) = &mut self.title {
            over |= cut(title, short);
        }
        // No detail takes all that the others, and later calls, may need.
        let most = |room: usize| MAX_DETAIL_BYTES.min(room / 2);
        if let Some(output) = &mut self.output {
            over |= cut(output, most(room));
            room = room.saturating_sub(output.len());
        }
        if let Some(input) = &mut self.input {
            over |= shorten::value(input, most(room));
            room = room.saturating_sub(shorten::size(input));
        }
        if let Some(metadata) = &mut self.metadata {
            over |= shorten::map(metadata, most(room));
            room = room.saturating_sub(shorten::map_size(metadata));
        }
        let mut left = most(room);
        self.attachments.retain_mut(|attachment| {
            if attachment_size(attachment) > left {
                // Its name still tells that it was there.
                attachment.url = String::new();
                over = true;
            }
            let fits = attachment_size(attachment) <= left;
            left = left.saturating_sub(attachment_size(attachment));
            fits
        });
        over
    }
}

fn attachment_size(attachment: &ToolAttachment) -> usize {
    let name = attachment.filename.as_ref().map_or(0, String::len);
    3 * VALUE + attachment.mime.len() + name + attachment.url.len()
}

impl Slot {
    /// What the part counts.
    pub(super) fn size(&self) -> usize {
        let id = self.id.as_ref().map_or(0, |id| id.as_str().len());
        PART + id
            + match &self.content {
                Content::Tool(tool) => tool.size(),
                content => content.text().map_or(0, str::len),
            }
    }
}

impl Reply {
    /// How many more bytes the reply may take.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Whether there is room for one more part; its absence is noted where there is not.
    pub(super) fn has_room_for_part(&mut self) -> bool {
        let has = self.slots.len() < MAX_PARTS && self.room() >= PART;
        self.state.cut |= !has;
        has
    }

    /// As much of a text as there is room for.
    pub(super) fn fit_text<'a>(&mut self, text: &'a str, room: usize) -> &'a str {
        let fitting = fitting(text, room);
        self.state.cut |= fitting.len() < text.len();
        fitting
    }

    /// Cuts a tool's details to what there is room for, beside what the part takes already.
    pub(super) fn fit_tool(&mut self, at: usize) {
        let room = self.room() + self.slots[at].charged;
        // A quarter is for words alone.
        let room = room.saturating_sub(self.limit / 4);
        if let Content::Tool(tool) = &mut self.slots[at].content {
            let trimmed = tool.trim(room);
            self.slots[at].trimmed |= trimmed;
            self.state.trimmed |= trimmed;
        }
        self.charge(at);
    }

    /// Counts what a part takes now.
    pub(super) fn charge(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let size = slot.size();
        self.used = self.used.saturating_sub(slot.charged) + size;
        slot.charged = size;
    }

    /// Cuts all parts, in order, to what there is room for.
    pub(super) fn fit(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        self.used = 0;
        for slot in slots {
            if !self.has_room_for_part() {
                return;
            }
            self.slots.push(slot);
            let at = self.slots.len() - 1;
            self.slots[at].charged = 0;
            let beside = self.slots[at].size();
            let room = self.room();
            match self.slots[at].content.text_mut() {
                Some(text) => {
                    let room = room.saturating_sub(beside - text.len());
                    let over = text.len() > room;
                    text.truncate(fitting(text, room).len());
                    self.state.cut |= over;
                    self.charge(at);
                }
                None => self.fit_tool(at),
            }
        }
    }
}
