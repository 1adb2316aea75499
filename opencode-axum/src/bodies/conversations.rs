//! Conversations.

use opencode_host::store::{self, Metadata};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::request::Text;

/// The conversation to open, or to go on in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConversation {
    /// Its name. Of one name there is one conversation.
    #[schema(value_type = String, max_length = 512, pattern = r"^[^\x00]*$")]
    pub(crate) name: Text,
}

/// A conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Conversation {
    pub(crate) id: Uuid,
    /// Its name: of one name there is one conversation.
    name: String,
    /// What the application has noted at it.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// When it was made.
    created_at: i64,
    /// The turn of another conversation that it goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    forked_from: Option<Uuid>,
}

/// A conversation in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConversationSummary {
    #[serde(flatten)]
    conversation: Conversation,
    /// The start of its first prompt, at most 200 characters.
    excerpt: Option<String>,
    /// When its newest turn was submitted; when it was made, without one.
    used_at: i64,
    /// Whether a turn is queued or runs.
    busy: bool,
}

/// A part of a list of conversations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConversationPage {
    conversations: Vec<ConversationSummary>,
    /// The `cursor` of the next part; absent at the end of the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl ConversationPage {
    /// The first `limit` of what was found; more were found where there is a next part.
    pub(crate) fn of(mut found: Vec<store::ConversationSummary>, limit: usize) -> Self {
        let is_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| is_more);
        Self {
            next: last.map(|last| last.cursor().to_string()),
            conversations: found.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<store::Conversation> for Conversation {
    fn from(row: store::Conversation) -> Self {
        Self {
            id: row.id.as_uuid(),
            name: row.name,
            metadata: row.metadata,
            created_at: row.created_at.0,
            forked_from: row.forked_from.map(|turn| turn.as_uuid()),
        }
    }
}

impl From<store::ConversationSummary> for ConversationSummary {
    fn from(row: store::ConversationSummary) -> Self {
        Self {
            conversation: row.conversation.into(),
            excerpt: row.excerpt,
            used_at: row.used_at.0,
            busy: row.busy,
        }
    }
}
