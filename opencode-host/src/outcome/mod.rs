//! How a turn ends: the table of endings, in types.

mod answer;

use opencode_client::UpstreamError;
use serde::{Deserialize, Serialize};

pub use answer::{Answer, Usage};

/// Why a turn ended as it did, in one word for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The model ran out of output tokens; the text is cut.
    Length,
    /// The answer is larger than is kept ([`opencode_client::reply::MAX_REPLY_BYTES`]); the rest was left out.
    Oversized,
    /// The person stopped it.
    Cancelled,
    /// The person declined what the agent asked.
    Declined,
    /// The application refused it before it began ([`Product::before_turn`](crate::product::Product::before_turn)).
    Refused,
    /// It used up what it may ([`HostBuilder::budgets`](crate::HostBuilder::budgets)), or nothing was left for it; what had
    /// come is kept.
    Budget,
    /// The provider or the server reported an error.
    Upstream,
    /// The server knows no agent, or no model, of the name that the prompt has.
    UnknownName,
    /// The agent said nothing.
    EmptyReply,
    /// The server, or too many workers in a row, died in the middle.
    Interrupted,
    /// The server took the prompt and never gave a sign of life.
    Stale,
    /// The session went quiet in the middle.
    Idle,
    /// The whole turn took too long.
    Timeout,
    /// The server answered the same prompt over and over.
    Loop,
    /// OpenCode cannot be reached.
    Unreachable,
    /// OpenCode refused the password.
    Unauthorized,
    /// This OpenCode would not do as the permission rules say, or is too old: nothing was asked of it.
    UnsafeServer,
    /// Something unexpected.
    Internal,
}

impl Reason {
    /// The word that programs read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Oversized => "oversized",
            Self::Cancelled => "cancelled",
            Self::Declined => "declined",
            Self::Refused => "refused",
            Self::Budget => "budget",
            Self::Upstream => "upstream",
            Self::UnknownName => "unknown_name",
            Self::EmptyReply => "empty_reply",
            Self::Interrupted => "interrupted",
            Self::Stale => "stale",
            Self::Idle => "idle",
            Self::Timeout => "timeout",
            Self::Loop => "loop",
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::UnsafeServer => "unsafe_server",
            Self::Internal => "internal",
        }
    }
}

/// What went wrong in a turn, as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnError {
    /// The error's name: the upstream one (`APIError`), or the reason.
    pub name: String,
    /// What happened, for a person. Never a stack trace, a password or a query.
    pub message: String,
    /// The provider's HTTP status, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// The provider's URL without query, when it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl From<&UpstreamError> for TurnError {
    fn from(error: &UpstreamError) -> Self {
        Self {
            name: error.name.clone(),
            message: error.message.clone(),
            status_code: error.status_code,
            url: error.url.clone(),
        }
    }
}

impl TurnError {
    /// An error of this library's own.
    pub fn of(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            name: reason.as_str().to_owned(),
            message: message.into(),
            status_code: None,
            url: None,
        }
    }
}
