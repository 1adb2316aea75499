use serde::{Deserialize, Serialize};

use super::{Part, lenient};
use crate::error::UpstreamError;
use crate::id::{MessageId, SessionId};

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person, or the host in their name.
    User,
    /// The agent.
    Assistant,
    /// A role this client does not know.
    #[serde(other)]
    Other,
}

/// Token counts of one message or step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Sent to the model.
    #[serde(default)]
    pub input: u64,
    /// Written by the model.
    #[serde(default)]
    pub output: u64,
    /// Of these, spent on reasoning.
    #[serde(default)]
    pub reasoning: u64,
    /// Read from and written to the provider's cache.
    #[serde(default)]
    pub cache: CacheTokens,
}

/// Tokens the provider served from, or stored in, its cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheTokens {
    /// Served from the cache.
    #[serde(default)]
    pub read: u64,
    /// Stored in the cache.
    #[serde(default)]
    pub write: u64,
}

impl std::ops::AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
        self.cache.read = self.cache.read.saturating_add(other.cache.read);
        self.cache.write = self.cache.write.saturating_add(other.cache.write);
    }
}

/// What the server says about a message, without its parts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MessageInfo {
    /// The message.
    pub id: MessageId,
    /// Its session.
    #[serde(rename = "sessionID")]
    pub session_id: SessionId,
    /// Who wrote it.
    pub role: Role,
    /// For an assistant message: the user message it answers.
    #[serde(rename = "parentID", default)]
    pub parent_id: Option<MessageId>,
    /// When it was made and finished.
    #[serde(default, deserialize_with = "lenient")]
    pub time: MessageTime,
    /// Why the model stopped: `stop`, `tool-calls`, `length`, …; absent while it runs.
    #[serde(default, deserialize_with = "lenient")]
    pub finish: Option<String>,
    /// Cost in the provider's currency (US dollars).
    #[serde(default, deserialize_with = "lenient")]
    pub cost: f64,
    /// Token counts.
    #[serde(default, deserialize_with = "lenient")]
    pub tokens: Tokens,
    /// What went wrong, when something did.
    #[serde(default, deserialize_with = "upstream_error")]
    pub error: Option<UpstreamError>,
    /// An assistant message that is no answer but the server's own summary of the session, to go
    /// on in less space. (User messages carry an object of that name.)
    #[serde(default, deserialize_with = "lenient")]
    pub summary: bool,
}

/// Epoch milliseconds by the server's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct MessageTime {
    /// When the message was made.
    #[serde(default)]
    pub created: u64,
    /// When it was finished; absent while it runs, and for ever when the server died.
    #[serde(default)]
    pub completed: Option<u64>,
}

impl MessageInfo {
    /// Whether the server is done with this message.
    pub fn is_finished(&self) -> bool {
        self.time.completed.is_some() || self.finish.is_some() || self.error.is_some()
    }

    /// Whether the model stopped to have tools run, or to go on behind a summary: another message
    /// follows, unless a question was rejected or the turn was aborted.
    pub fn wants_more(&self) -> bool {
        self.summary || self.finish.as_deref() == Some("tool-calls")
    }
}

/// A message with its parts, as the message endpoints answer it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Message {
    /// The message without its parts.
    pub info: MessageInfo,
    /// Its parts, in order.
    #[serde(default)]
    pub parts: Vec<Part>,
}

fn upstream_error<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<UpstreamError>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok((!value.is_null()).then(|| UpstreamError::from_json(&value)))
}
