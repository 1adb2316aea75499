//! The shapes that travel between client and server.
//!
//! Reading is lenient: a missing field has a default, an unknown one is ignored, what is odd costs itself and not
//! what stands beside it. Reading follows OpenCode 1.1.65 to 1.18.34.

mod attachment;
mod message;
mod part;
mod permission;
mod prompt;
mod question;
mod retry;
mod session;
mod todo;
mod tokens;

pub use attachment::ToolAttachment;
pub use message::{Message, MessageInfo, MessageTime, Role};
pub use part::{Part, PartBody, ToolCall, ToolState};
pub use permission::{PermissionAction, PermissionReply, PermissionRequest, PermissionRule};
pub(crate) use prompt::unanswered;
pub use prompt::{ModelRef, Prompt, ShownFile, System};
pub use question::{Question, QuestionOption, QuestionRequest, ToolRef};
pub use retry::RetryAction;
pub use session::{NewSession, Session, SessionStatus, SessionTime};
pub use todo::{Todo, TodoStatus};
pub use tokens::{CacheTokens, Tokens};
