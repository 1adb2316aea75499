//! Permission rules, the requests that they cause, and the replies.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ToolRef;
use crate::id::{PermissionId, SessionId};
use crate::tolerant::{Fields, Oddity, Skipped, Wire, deserialize_tolerantly, shorten};

/// The most bytes of a request's details; what is cut says so where it ends.
const MAX_METADATA: usize = 256 << 10;

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

impl Wire for PermissionRule {
    const ODD: Oddity = Oddity::Field;

    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        Some(Self {
            permission: fields.text("permission")?,
            pattern: fields.text("pattern")?,
            action: match fields.text("action")?.as_str() {
                "allow" => PermissionAction::Allow,
                "deny" => PermissionAction::Deny,
                "ask" => PermissionAction::Ask,
                _ => return None,
            },
        })
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

impl PermissionReply {
    pub(crate) fn of(word: &str) -> Option<Self> {
        match word {
            "once" => Some(Self::Once),
            "always" => Some(Self::Always),
            "reject" => Some(Self::Reject),
            _ => None,
        }
    }
}

/// The agent asks whether it may do something, and waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PermissionRequest {
    /// The request.
    pub id: PermissionId,
    /// The session that asks; may be a child of the turn's session.
    #[serde(rename = "sessionID")]
    pub session_id: SessionId,
    /// What it is about: `bash`, `external_directory`, …
    pub permission: String,
    /// The exact things asked for.
    pub patterns: Vec<String>,
    /// What an `always` grants: these patterns, in the whole folder, until the server forgets it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub always: Vec<String>,
    /// Details, such as the command.
    pub metadata: Map<String, Value>,
    /// The tool call that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolRef>,
}

impl Wire for PermissionRequest {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        // `type` and `pattern` are how servers before 1.1 said it.
        let permission = fields.shown_words("permission");
        let permission = permission.or_else(|| fields.shown_words("type"));
        let patterns = fields.shown_list("patterns");
        let patterns = patterns.or_else(|| fields.shown_list("pattern"));
        let mut metadata = fields.details("metadata").unwrap_or_default();
        if shorten::map(&mut metadata, MAX_METADATA) {
            fields.skipped.note(Oddity::Nesting);
        }
        Some(Self {
            id: fields.id("id")?,
            session_id: fields.id("sessionID")?,
            permission: permission.unwrap_or_default(),
            patterns: patterns.unwrap_or_default(),
            always: fields.shown_list("always").unwrap_or_default(),
            metadata,
            tool: fields.read("tool"),
        })
    }
}

deserialize_tolerantly!(PermissionRequest);
