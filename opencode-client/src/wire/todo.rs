use serde::{Deserialize, Deserializer, Serialize};

/// One line of the agent's plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todo {
    /// What is to be done.
    #[serde(default)]
    pub content: String,
    /// How far it is.
    #[serde(default)]
    pub status: TodoStatus,
    /// `high`, `medium`, `low`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
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

impl<'de> Deserialize<'de> for TodoStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?.as_str()))
    }
}
