//! The agent's plan, line by line.

use serde::Serialize;
use serde_json::Value;

use crate::tolerant::{Fields, Skipped, Wire, deserialize_tolerantly};

/// One line of the agent's plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Todo {
    /// What is to be done.
    pub content: String,
    /// How far it is.
    pub status: TodoStatus,
    /// `high`, `medium`, `low`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub priority: String,
}

/// How far a line of the plan is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TodoStatus {
    /// Not begun.
    #[default]
    Pending,
    /// Under way. `in-progress` of some models is read as this.
    InProgress,
    /// Done.
    Completed,
    /// Given up, or something newer.
    Other(String),
}

impl TodoStatus {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for TodoStatus {
    fn from(word: &str) -> Self {
        match word {
            "pending" => Self::Pending,
            "in_progress" | "in-progress" => Self::InProgress,
            "completed" => Self::Completed,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Serialize for TodoStatus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Wire for Todo {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        let status = fields.words("status");
        Some(Self {
            content: fields.shown_words("content").unwrap_or_default(),
            status: status.as_deref().map(TodoStatus::from).unwrap_or_default(),
            priority: fields.words("priority").unwrap_or_default(),
        })
    }
}

deserialize_tolerantly!(Todo);
