//! The shapes that travel between client and server.
//!
//! Reading is lenient: a missing field has a default, an unknown one is
//! ignored, an unknown variant is kept as raw JSON. What is read was seen on
//! OpenCode 1.1.65 to 1.18.34.

mod message;
mod part;
mod permission;
mod prompt;
mod question;
mod session;
mod todo;

pub use message::{Message, MessageInfo, Role, Tokens};
pub use part::{Part, PartBody, ToolCall, ToolState};
pub use permission::{PermissionAction, PermissionReply, PermissionRequest, PermissionRule};
pub(crate) use prompt::unanswered;
pub use prompt::{ModelRef, Prompt};
pub use question::{Question, QuestionOption, QuestionRequest, ToolRef};
pub use session::{NewSession, Session, SessionStatus};
pub use todo::{Todo, TodoStatus};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// Reads `null` and values of another shape as the default: one odd field of a
/// foreign server must not cost the whole message.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}
