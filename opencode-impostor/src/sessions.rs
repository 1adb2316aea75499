//! Sessions and their messages: how they are kept, made, changed and removed.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// One message with its parts, as the server keeps them.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) info: Value,
    pub(crate) parts: Vec<Value>,
}

impl Message {
    pub(crate) fn id(&self) -> &str {
        self.info["id"].as_str().unwrap_or_default()
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({"info": self.info, "parts": self.parts})
    }
}

/// A text or reasoning part that is being streamed. The server keeps it in memory only: what is stored is empty
/// until the part is whole, and lost when the server dies.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) part: Value,
    pub(crate) text: String,
}

/// A prompt that waits for its turn.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) message_id: String,
    /// When a tape answers: the parts the client sent.
    pub(crate) taped: Option<Vec<Value>>,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) directory: String,
    pub(crate) parent: Option<String>,
    pub(crate) info: Map<String, Value>,
    pub(crate) messages: Vec<Message>,
    /// `None` is idle.
    pub(crate) status: Option<Value>,
    pub(crate) todos: Value,
    pub(crate) pending: VecDeque<Waiting>,
    /// Cancelled to abort the run that is under way.
    pub(crate) run: Option<CancellationToken>,
    pub(crate) live: Option<Live>,
    pub(crate) seq: u64,
    pub(crate) tape_prompts: usize,
    /// Its history cannot be read any more.
    pub(crate) broken: bool,
}

impl Session {
    pub(crate) fn message(&self, id: &str) -> Option<&Message> {
        self.messages
            .iter()
            .rev()
            .find(|message| message.id() == id)
    }

    pub(crate) fn message_mut(&mut self, id: &str) -> Option<&mut Message> {
        self.messages
            .iter_mut()
            .rev()
            .find(|message| message.id() == id)
    }

    pub(crate) fn to_json(&self) -> Value {
        Value::Object(self.info.clone())
    }
}

/// What `POST /session` may say.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewSession {
    pub(crate) directory: String,
    pub(crate) title: Option<String>,
    pub(crate) parent: Option<String>,
    pub(crate) permission: Option<Value>,
    pub(crate) agent: Option<Value>,
    pub(crate) model: Option<Value>,
    pub(crate) metadata: Option<Value>,
    pub(crate) version: String,
}

/// Nothing used yet.
pub(crate) fn no_tokens() -> Value {
    json!({"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}})
}
