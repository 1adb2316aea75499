use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ToolRef, lenient};
use crate::id::{PermissionId, SessionId};

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PermissionAction {
    /// Goes ahead.
    Allow,
    /// Fails at once.
    Deny,
    /// Waits for an answer.
    Ask,
}

/// One permission rule of a session. In a list the last match wins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PermissionRule {
    /// What it is about: `bash`, `edit`, `external_directory`, …, or `*`.
    pub permission: String,
    /// Which of these, with `*` as a wildcard.
    pub pattern: String,
    /// What happens.
    pub action: PermissionAction,
}

impl PermissionRule {
    /// A rule for everything under one permission.
    pub fn all(permission: impl Into<String>, action: PermissionAction) -> Self {
        Self {
            permission: permission.into(),
            pattern: "*".to_owned(),
            action,
        }
    }
}

/// The answer to a permission request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PermissionReply {
    /// This time.
    Once,
    /// From now on: what the request's [`always`](PermissionRequest::always) patterns cover is not asked for again, by
    /// any session of this folder, until the server restarts (read in 1.18.33).
    Always,
    /// No.
    Reject,
}

/// The agent asks whether it may do something, and waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PermissionRequest {
    /// The request.
    pub id: PermissionId,
    /// The session that asks; may be a child of the turn's session.
    #[serde(rename = "sessionID")]
    pub session_id: SessionId,
    /// What it is about: `bash`, `external_directory`, …
    #[serde(default, alias = "type", deserialize_with = "lenient")]
    pub permission: String,
    /// The exact things asked for.
    #[serde(default, alias = "pattern", deserialize_with = "one_or_many")]
    pub patterns: Vec<String>,
    /// What an `always` grants: these patterns, in the whole folder, until the server forgets it.
    #[serde(
        default,
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub always: Vec<String>,
    /// Details, such as the command.
    #[serde(default, deserialize_with = "lenient")]
    pub metadata: Map<String, Value>,
    /// The tool call that waits.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub tool: Option<ToolRef>,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(one) => vec![one],
        other => serde_json::from_value(other).unwrap_or_default(),
    })
}
