//! Sessions, as a server sends them and as they are made.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{ModelRef, PermissionRule, RetryAction};
use crate::id::SessionId;
use crate::tolerant::{Fields, Oddity, Skipped, Wire};

/// An upstream session.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// The session that made it, for a sub-agent's.
    pub parent_id: Option<SessionId>,
    /// The folder it works in.
    pub directory: Option<String>,
    /// Its title.
    pub title: Option<String>,
    /// When it was made, epoch milliseconds by the server's clock.
    pub time: SessionTime,
    /// Its permission rules, those of its maker last. Absent on servers that ignore them (1.0.x).
    pub permission: Vec<PermissionRule>,
    /// The version of the server that made it.
    pub version: Option<String>,
    /// What its maker wanted kept with it (1.18.33 gives it back; older servers may not).
    pub metadata: Map<String, Value>,
}

/// Epoch milliseconds by the server's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionTime {
    /// When it was made.
    pub created: u64,
}

impl Wire for Session {
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        let created = fields
            .inside("time")
            .and_then(|mut time| time.count("created"));
        Some(Self {
            id: fields.id("id")?,
            parent_id: fields.id("parentID"),
            directory: fields.text("directory"),
            title: fields.text("title"),
            time: SessionTime {
                created: created.unwrap_or_default(),
            },
            permission: fields.list("permission").unwrap_or_default(),
            version: fields.text("version"),
            metadata: fields.details("metadata").unwrap_or_default(),
        })
    }
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
    pub metadata: Option<Map<String, Value>>,
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
#[derive(Clone, Debug, PartialEq)]
pub enum SessionStatus {
    /// Nothing.
    Idle,
    /// A turn runs.
    Busy,
    /// The provider was busy; the server tries again.
    Retry {
        /// Which try comes next, from 1.
        attempt: u32,
        /// What the provider said.
        message: String,
        /// When, epoch milliseconds by the server's clock.
        next: u64,
        /// What the person can do about it.
        action: Option<RetryAction>,
    },
    /// Something newer than this client, or odd; treated as busy.
    Unknown,
}

impl SessionStatus {
    /// Whether the session works on something.
    pub fn is_busy(&self) -> bool {
        !matches!(self, Self::Idle)
    }
}

impl Wire for SessionStatus {
    /// Always something: a session that is in the map is not idle.
    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let Some(mut fields) = Fields::of(value, skipped) else {
            skipped.note(Oddity::Record);
            return Some(Self::Unknown);
        };
        Some(match fields.text("type").as_deref() {
            Some("idle") => Self::Idle,
            Some("busy") => Self::Busy,
            Some("retry") => Self::Retry {
                attempt: fields
                    .count("attempt")
                    .and_then(|attempt| u32::try_from(attempt).ok())
                    .unwrap_or_default(),
                message: fields.words("message").unwrap_or_default(),
                next: fields.count("next").unwrap_or_default(),
                action: fields.read("action"),
            },
            _ => Self::Unknown,
        })
    }
}
