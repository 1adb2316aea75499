//! Messages of a session, as a server sends them.

use std::collections::HashMap;

use serde_json::Value;

use super::part::{Part, PartBody};
use super::tokens::{Counts, Tokens};
use crate::error::UpstreamError;
use crate::id::{MessageId, PartId};
use crate::tolerant::{Fields, Oddity, Skipped, Wire, deserialize_tolerantly};

/// The most parts of one message that are read.
const MAX_PARTS: usize = 10_000;

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person, or the host in their name.
    User,
    /// The agent.
    Assistant,
    /// A role this client does not know.
    Other,
}

/// What the server says about a message, without its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageInfo {
    /// The message.
    pub id: MessageId,
    /// Who wrote it.
    pub role: Role,
    /// For an assistant message: the user message it answers.
    pub parent_id: Option<MessageId>,
    /// When it was made and finished.
    pub time: MessageTime,
    /// Why the model stopped: `stop`, `tool-calls`, `length`, a word of the provider's own; absent while it runs,
    /// and with some providers for ever.
    pub finish: Option<String>,
    /// Cost in the provider's currency (US dollars).
    pub cost: f64,
    /// Token counts.
    pub tokens: Tokens,
    /// What went wrong, when something did.
    pub error: Option<UpstreamError>,
    /// An assistant message that is no answer but the server's own summary of the session, to go
    /// on in less space. (User messages carry an object of that name.)
    pub summary: bool,
}

/// Epoch milliseconds by the server's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageTime {
    /// When the message was made.
    pub created: u64,
    /// When it was finished; absent while it runs, and for ever when the server died.
    pub completed: Option<u64>,
}

impl MessageInfo {
    /// Whether the server is done with this message.
    pub fn is_finished(&self) -> bool {
        self.time.completed.is_some() || self.finish.is_some() || self.error.is_some()
    }

    /// Whether the message itself says that another follows: the model stopped to have tools run, or this is a
    /// summary. Providers say other words with their tool calls: [`Message::wants_more`] knows better.
    pub(crate) fn wants_more(&self) -> bool {
        self.summary || self.finish.as_deref() == Some("tool-calls")
    }

    /// The message, with cost and tokens as far as they were said.
    fn take(value: Value, skipped: &mut Skipped) -> Option<(Self, Option<f64>, Counts)> {
        let mut fields = Fields::of(value, skipped)?;
        let id = fields.id("id")?;
        let parent_id = fields.id("parentID");
        let role = match fields.text("role").as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            // Only answers have a parent.
            None if parent_id.is_some() => Role::Assistant,
            _ => Role::Other,
        };
        let time = fields.inside("time").map(MessageTime::take);
        let finish = fields.words("finish");
        let error = fields.take("error");
        // An object in user messages.
        let summary = fields.take("summary") == Some(Value::Bool(true));
        let (cost, tokens) = (fields.amount("cost"), Counts::take(&mut fields));
        let info = Self {
            id,
            role,
            parent_id,
            time: time.unwrap_or_default(),
            finish,
            cost: cost.unwrap_or_default(),
            tokens: tokens.or(Tokens::default()),
            error: error.map(|error| UpstreamError::from_json(&error)),
            summary,
        };
        Some((info, cost, tokens))
    }
}

impl MessageTime {
    fn take(mut fields: Fields<'_>) -> Self {
        let created = fields.count("created").unwrap_or_default();
        // That it was finished matters more than when.
        let completed = fields.has("completed");
        Self {
            created,
            completed: completed.then(|| fields.count("completed").unwrap_or(created)),
        }
    }
}

impl Wire for MessageInfo {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        Self::take(value, skipped).map(|(info, ..)| info)
    }
}

/// A message with its parts, as the message endpoints answer it.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The message without its parts.
    pub info: MessageInfo,
    /// Its parts, in order.
    pub parts: Vec<Part>,
}

impl Message {
    /// A message that is there and cannot be read.
    pub(crate) fn unread(id: &MessageId) -> Self {
        Self {
            info: MessageInfo {
                id: id.clone(),
                role: Role::Other,
                parent_id: None,
                time: MessageTime::default(),
                finish: None,
                cost: 0.0,
                tokens: Tokens::default(),
                error: None,
                summary: false,
            },
            parts: Vec::new(),
        }
    }

    /// Whether another message follows: the model called tools, whatever word its provider ended with, or the server
    /// goes on behind a summary. Unless a request was rejected or the turn was aborted.
    pub fn wants_more(&self) -> bool {
        self.info.wants_more() || self.calls_tools()
    }

    /// Whether the model called tools that the server runs, and whose results the model is to see.
    fn calls_tools(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.any(|part| matches!(&part.body, PartBody::Tool(call) if !call.by_provider))
    }
}

impl Wire for Message {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        let info = fields.take("info")?;
        let parts = fields.take("parts");
        let (mut info, cost, tokens) = MessageInfo::take(info, skipped)?;
        let parts = match parts {
            Some(Value::Array(parts)) => parts_of(&info.id, parts, skipped),
            _ => Vec::new(),
        };
        let (mut steps, mut ended) = ((0.0, Tokens::default()), None);
        for part in &parts {
            if let PartBody::StepFinish {
                cost,
                tokens,
                reason,
            } = &part.body
            {
                steps.0 += cost;
                steps.1 += *tokens;
                ended = Some(reason.clone().unwrap_or_default());
            }
        }
        // What the message does not say of itself, its steps do.
        info.cost = cost.unwrap_or(steps.0);
        info.tokens = tokens.or(steps.1);
        if !info.is_finished() {
            info.finish = ended;
        }
        Some(Self { info, parts })
    }
}

deserialize_tolerantly!(Message);

/// The parts of a message. One that has no id gets one by its place among those like it; of two with the same id the
/// later stands.
fn parts_of(message: &MessageId, values: Vec<Value>, skipped: &mut Skipped) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(values.len().min(MAX_PARTS));
    let mut places: HashMap<PartId, usize> = HashMap::new();
    let mut nameless: HashMap<PartId, usize> = HashMap::new();
    for value in values {
        let named = value.get("id").is_some_and(Value::is_string);
        let read = Part::read_in(value, Some(message), skipped);
        let Some(mut part) = read.filter(|_| parts.len() < MAX_PARTS) else {
            skipped.note(Oddity::Part);
            continue;
        };
        if !named {
            let alike = nameless.entry(part.id.clone()).or_default();
            *alike += 1;
            if *alike > 1 {
                part.id = format!("{}/{alike}", part.id).into();
            }
        }
        match places.get(&part.id) {
            Some(&place) => parts[place] = part,
            None => {
                places.insert(part.id.clone(), parts.len());
                parts.push(part);
            }
        }
    }
    parts
}
