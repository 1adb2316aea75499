use serde::{Deserialize, Serialize};

use super::{ModelRef, PermissionRule, lenient};
use crate::id::SessionId;

/// An upstream session.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// The session that made it, for a sub-agent's.
    #[serde(rename = "parentID", default)]
    pub parent_id: Option<SessionId>,
    /// The folder it works in.
    #[serde(default, deserialize_with = "lenient")]
    pub directory: Option<String>,
    /// Its title.
    #[serde(default, deserialize_with = "lenient")]
    pub title: Option<String>,
    /// When it was made, epoch milliseconds by the server's clock.
    #[serde(default, deserialize_with = "lenient")]
    pub time: SessionTime,
    /// Its permission rules, those of its maker last. Absent on servers that ignore them (1.0.x).
    #[serde(default, deserialize_with = "lenient")]
    pub permission: Vec<PermissionRule>,
    /// The version of the server that made it.
    #[serde(default, deserialize_with = "lenient")]
    pub version: Option<String>,
    /// What its maker wanted kept with it (1.18.33 gives it back; older servers may not).
    #[serde(default, deserialize_with = "lenient")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// Epoch milliseconds by the server's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SessionTime {
    /// When it was made.
    #[serde(default)]
    pub created: u64,
}

/// What a new session is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NewSession {
    /// Its title; without one the server writes its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Permission rules, the last match wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permission: Vec<PermissionRule>,
    /// The parent session, for a child.
    #[serde(rename = "parentID", skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<SessionId>,
    /// The agent that answers by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The model that answers by default; this endpoint wants `{providerID, id}`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "session_model"
    )]
    pub model: Option<ModelRef>,
    /// Anything the host wants kept with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// A workspace of the server.
    #[serde(rename = "workspaceID", skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
}

fn session_model<S: serde::Serializer>(
    model: &Option<ModelRef>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shape<'a> {
        #[serde(rename = "providerID")]
        provider: &'a str,
        id: &'a str,
    }
    model
        .as_ref()
        .map(|model| Shape {
            provider: &model.provider,
            id: &model.model,
        })
        .serialize(serializer)
}

/// What a session is doing. The status map holds only sessions that are not idle.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SessionStatus {
    /// Nothing.
    Idle,
    /// A turn runs.
    Busy,
    /// The provider was busy; the server tries again.
    Retry {
        /// Which try comes next, from 1.
        #[serde(default)]
        attempt: u32,
        /// What the provider said.
        #[serde(default)]
        message: String,
        /// When, epoch milliseconds by the server's clock.
        #[serde(default)]
        next: u64,
    },
    /// Something newer than this client; treated as busy.
    #[serde(other)]
    Unknown,
}

impl SessionStatus {
    /// Whether the session works on something.
    pub fn is_busy(&self) -> bool {
        !matches!(self, Self::Idle)
    }
}
