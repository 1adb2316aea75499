//! A part as a reply holds it while it is composed.

use std::borrow::Cow;

use super::part::{PartKind, PersistedPart};
use super::room::PART;
use super::tool_part::ToolPart;
use super::tracked::Tracked;
use crate::id::{MessageId, PartId};
use crate::wire::{Part, PartBody, ToolCall, ToolState};

/// Stands where text was streamed while nobody listened.
pub(super) const TORN: &str = "[…]";

/// What observers know a part by that exists on the stream only.
pub(super) const STREAM_ONLY_KEY: &str = "todo.updated";

/// One place in the reply.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// `None` for a part that exists on the stream only.
    pub(super) id: Option<PartId>,
    /// Its message's place among the messages seen.
    pub(super) message: Option<usize>,
    pub(super) content: Content,
    /// Observers know of it.
    pub(super) announced: bool,
    /// The server is done with it: deltas that come now are late.
    pub(super) finalised: bool,
    /// Some of its text may have been missed, and nothing came since.
    pub(super) torn: bool,
    /// What it counts of the reply's room.
    pub(super) charged: usize,
    /// Details of the tool call were cut.
    pub(super) trimmed: bool,
    /// The model's provider ran the tool call.
    pub(super) by_provider: bool,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// Deltas came before the part itself: text, or reasoning.
    Undecided(Tracked<String>),
    Text(Tracked<String>),
    Reasoning(Tracked<String>),
    Tool(Tracked<Box<ToolPart>>),
}

/// What an authoritative text did to a slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TextUpdate {
    Same,
    /// It goes on where the slot's text ended, at this byte.
    Grew {
        from: usize,
    },
    Replaced,
}

impl Content {
    /// What kind of words it holds; `None` for a tool call.
    pub(super) fn kind(&self) -> Option<PartKind> {
        match self {
            Self::Undecided(_) | Self::Text(_) => Some(PartKind::Text),
            Self::Reasoning(_) => Some(PartKind::Reasoning),
            Self::Tool(_) => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Undecided(text) | Self::Text(text) | Self::Reasoning(text) => Some(text),
            Self::Tool(_) => None,
        }
    }

    pub(super) fn text_mut(&mut self) -> Option<&mut Tracked<String>> {
        match self {
            Self::Undecided(text) | Self::Text(text) | Self::Reasoning(text) => Some(text),
            Self::Tool(_) => None,
        }
    }

    /// Whether it may be what `body` is a later state of.
    pub(super) fn may_be(&self, body: &PartBody) -> bool {
        match (self, body) {
            (Self::Undecided(_) | Self::Text(_), PartBody::Text { .. })
            | (Self::Undecided(_) | Self::Reasoning(_), PartBody::Reasoning { .. }) => true,
            (Self::Tool(tool), PartBody::Tool(call)) => tool.call_id == call.call_id,
            _ => false,
        }
    }

    /// Whether there is nothing to show yet.
    pub(super) fn is_empty(&self) -> bool {
        self.text().is_some_and(str::is_empty)
    }
}

impl Slot {
    pub(super) fn new(id: Option<PartId>, message: Option<usize>, content: Content) -> Self {
        Self {
            id,
            message,
            content,
            announced: false,
            finalised: false,
            torn: false,
            charged: 0,
            trimmed: false,
            by_provider: false,
        }
    }

    /// Whether it may be the part of this id and message under another name: a server may give a part its id at times
    /// only.
    pub(super) fn may_be_named(&self, id: &PartId, message: usize) -> bool {
        let is_other = |own: &PartId| own.is_stand_in() != id.is_stand_in();
        self.message == Some(message) && self.id.as_ref().is_some_and(is_other)
    }

    /// Whether the part exists on the stream only.
    pub(super) fn is_stream_only(&self) -> bool {
        matches!(&self.content, Content::Tool(tool) if tool.provenance.is_some())
    }

    /// What observers know the part by.
    pub(super) fn key(&self) -> &str {
        self.id.as_ref().map_or(STREAM_ONLY_KEY, PartId::as_str)
    }

    /// What is to be appended for a delta: where some text may be missing
    /// before it, that is said.
    pub(super) fn joined<'a>(&mut self, delta: &'a str) -> Cow<'a, str> {
        if !self.torn || delta.is_empty() {
            return delta.into();
        }
        self.torn = false;
        let space = if self.content.is_empty() { "" } else { " " };
        format!("{space}{TORN} {delta}").into()
    }

    /// Appends streamed text. False when it came too late, or the part is a tool.
    pub(super) fn grow(&mut self, delta: &str) -> bool {
        if self.finalised {
            return false;
        }
        match self.content.text_mut() {
            Some(text) => {
                text.push_str(delta);
                !delta.is_empty()
            }
            None => false,
        }
    }

    /// The part itself came: what deltas made is text, or reasoning.
    pub(super) fn decide(&mut self, kind: &Content) {
        if let Content::Undecided(text) = &mut self.content {
            let text = std::mem::take(text);
            self.content = match kind {
                Content::Reasoning(_) => Content::Reasoning(text),
                _ => Content::Text(text),
            };
        }
    }

    /// Takes the server's whole text of the part.
    pub(super) fn take_text(&mut self, text: &str, ended: bool) -> TextUpdate {
        let finalised = self.finalised;
        let Some(own) = self.content.text_mut() else {
            return TextUpdate::Same;
        };
        if own.as_str() == text {
            return TextUpdate::Same;
        }
        // An unfinished text that is the start of what is here already is old news.
        if !ended && (finalised || own.starts_with(text)) {
            return TextUpdate::Same;
        }
        self.torn = false;
        if text.starts_with(own.as_str()) {
            let from = own.len();
            own.push_str(&text[from..]);
            return TextUpdate::Grew { from };
        }
        own.set(text);
        TextUpdate::Replaced
    }

    /// Marks the part as done; false when it was already.
    pub(super) fn finalise(&mut self) -> bool {
        !std::mem::replace(&mut self.finalised, true)
    }

    pub(super) fn persisted(&self) -> PersistedPart {
        match &self.content {
            Content::Undecided(text) | Content::Text(text) => PersistedPart::Text {
                content: text.to_string(),
            },
            Content::Reasoning(text) => PersistedPart::Reasoning {
                content: text.to_string(),
            },
            Content::Tool(tool) => PersistedPart::Tool(ToolPart::clone(tool)),
        }
    }

    /// The part as a server sends it; `None` for one that no message has.
    pub(super) fn as_part(&self, message: &MessageId) -> Option<Part> {
        let id: PartId = self.id.clone()?;
        let ended = self.finalised;
        let body = match &self.content {
            Content::Undecided(text) | Content::Text(text) => PartBody::Text {
                text: text.to_string(),
                ended,
                synthetic: false,
            },
            Content::Reasoning(text) => PartBody::Reasoning {
                text: text.to_string(),
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

    /// What the part counts of the reply's room.
    pub(super) fn size(&self) -> usize {
        let id = self.id.as_ref().map_or(0, |id| id.as_str().len());
        PART + id
            + match &self.content {
                Content::Tool(tool) => tool.size(),
                content => content.text().map_or(0, str::len),
            }
    }
}
