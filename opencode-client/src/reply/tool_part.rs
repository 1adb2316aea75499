//! A tool call of a reply, in the shape that hosts store.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::room::MAX_DETAIL_BYTES;
use crate::tolerant::shorten::{self, VALUE, cut};
use crate::wire::{Part, ToolAttachment, ToolCall};

/// The longest error of a tool that is kept, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// The name the server gives a call that it could not run.
const INVALID: &str = "invalid";

/// The longest title of a tool call, in bytes.
const MAX_TITLE: usize = 2000;

/// How far a tool call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolStatus {
    /// The model is still writing the call.
    #[default]
    Pending,
    /// It runs, or waits for a person.
    Running,
    /// It ended well.
    Completed,
    /// It failed, or was refused.
    Error,
}

impl ToolStatus {
    /// A status this client does not know counts as running.
    fn from_wire(word: &str) -> Self {
        match word {
            "pending" => Self::Pending,
            "completed" => Self::Completed,
            "error" => Self::Error,
            _ => Self::Running,
        }
    }

    /// The server's word for it.
    pub(super) fn as_wire(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Error => "error",
        }
    }

    /// Whether nothing more comes of the call.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Error)
    }
}

/// Where a part that is no part of an upstream message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provenance {
    /// The server's bus event of the same name. It is never kept upstream.
    #[serde(rename = "todo.updated")]
    TodoUpdated,
}

/// A tool call of the reply, in the shape that hosts store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolPart {
    /// The tool, by the name the model called.
    pub tool: String,
    /// How far it is.
    pub status: ToolStatus,
    /// The server's own short description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Details, different for every tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// What came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it failed, at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The model's id of the call.
    #[serde(rename = "callID", default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The upstream message the call stands in.
    #[serde(rename = "messageID", default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Files that came beside the output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<ToolAttachment>,
    /// The question that this call asks or asked. Known to who heard it asked: the server's messages do not say it.
    #[serde(rename = "requestID", default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Set for a part that is no part of an upstream message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

impl ToolPart {
    /// A call as the server's message holds it.
    pub(super) fn of(part: &Part, call: &ToolCall) -> Self {
        let mut tool = Self {
            message_id: Some(part.message_id.to_string()),
            ..Self::default()
        };
        tool.merge(call);
        tool
    }

    /// Takes a newer state of the call. What it leaves out stays, and a state
    /// from before the end does not undo the end.
    pub(super) fn merge(&mut self, call: &ToolCall) {
        let status = ToolStatus::from_wire(&call.state.status);
        self.name(call);
        if self.call_id.is_none() {
            self.call_id.clone_from(&call.call_id);
        }
        if self.status.is_terminal() && !status.is_terminal() {
            return;
        }
        self.status = if status.is_terminal() {
            status
        } else {
            self.status.max(status)
        };
        let input = call
            .state
            .input
            .as_ref()
            .filter(|input| !is_empty_object(input));
        take(&mut self.input, input);
        take(&mut self.title, call.state.title.as_ref());
        take(&mut self.metadata, call.state.metadata.as_ref());
        take(&mut self.output, call.state.output.as_ref());
        if !call.state.attachments.is_empty() {
            self.attachments.clone_from(&call.state.attachments);
        }
        if let Some(error) = &call.state.error {
            self.error = Some(error.chars().take(MAX_ERROR_CHARS).collect());
        }
    }

    /// Keeps the first real name: a call the server cannot run is renamed
    /// `invalid`, with the real name in its input (1.18.33).
    fn name(&mut self, call: &ToolCall) {
        if !self.tool.is_empty() && self.tool != INVALID {
            return;
        }
        let meant = call
            .state
            .input
            .as_ref()
            .and_then(|input| input["tool"].as_str());
        self.tool = match meant {
            Some(meant) if call.tool == INVALID => meant.to_owned(),
            _ => call.tool.clone(),
        };
    }

    /// Whether this is the agent's plan.
    pub(super) fn is_todo(&self) -> bool {
        matches!(self.tool.as_str(), "todowrite" | "todoread")
    }

    /// The child session a `task` call works in.
    pub(super) fn child_session(&self) -> Option<&str> {
        let metadata = self.metadata.as_ref().filter(|_| self.tool == "task")?;
        metadata
            .get("sessionId")
            .or_else(|| metadata.get("sessionID"))?
            .as_str()
    }

    /// The bytes that it holds.
    pub(super) fn size(&self) -> usize {
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
    pub(super) fn trim(&mut self, mut room: usize) -> bool {
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

fn take<T: Clone>(own: &mut Option<T>, newer: Option<&T>) {
    if newer.is_some() {
        *own = newer.cloned();
    }
}

fn is_empty_object(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

fn attachment_size(attachment: &ToolAttachment) -> usize {
    let name = attachment.filename.as_ref().map_or(0, String::len);
    3 * VALUE + attachment.mime.len() + name + attachment.url.len()
}
