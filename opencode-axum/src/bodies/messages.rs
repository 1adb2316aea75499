//! Messages and their files.

use opencode_client::reply::PersistedPart;
use opencode_host::outcome;
use opencode_host::store;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::parts::Part;

/// A message: the person's, or the one that a turn fills.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Message {
    pub(crate) id: Uuid,
    conversation: Uuid,
    /// The turn that made it.
    turn: Uuid,
    /// Which of the versions of its turn this one is, from 1.
    version: usize,
    /// How many versions its turn has.
    versions: usize,
    role: Role,
    status: MessageStatus,
    #[serde(flatten)]
    answer: Answer,
    /// Its files, in the order they were attached.
    files: Vec<File>,
    /// When it was made.
    created_at: i64,
    /// When its turn ended.
    finished_at: Option<i64>,
}

/// Who wrote a message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
}

/// How far a message is. What had come of one that was cancelled or failed is kept.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MessageStatus {
    Pending,
    Completed,
    Cancelled,
    Error,
}

/// What a message says, and what a turn came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Answer {
    /// The text, or a fixed sentence where there is none.
    content: String,
    /// The pieces of the answer, in order.
    #[schema(value_type = Vec<Part>)]
    parts: Vec<PersistedPart>,
    /// The model's thinking.
    reasoning: String,
    usage: Usage,
    /// The text is cut.
    truncated: bool,
    /// Why it ended as it did, in one word.
    reason: Option<&'static str>,
    error: Option<TurnError>,
}

/// What a turn cost.
#[derive(Debug, Serialize, ToSchema)]
struct Usage {
    /// US dollars.
    cost: f64,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
}

/// What went wrong in a turn.
#[derive(Debug, Serialize, ToSchema)]
struct TurnError {
    /// The error's name.
    name: String,
    /// What happened, for a person.
    message: String,
    /// The provider's HTTP status.
    status_code: Option<u16>,
}

/// A file of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct File {
    pub(crate) id: Uuid,
    /// Its message.
    message: Uuid,
    /// Its name, unique in its message.
    name: String,
    /// How many bytes it has.
    size: u64,
    /// Its media type, as its name or the uploader says.
    media_type: String,
    source: FileSource,
    /// When it was attached.
    created_at: i64,
}

/// Where a file came from: a person, the agent's tools, its folder, or the application.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum FileSource {
    Upload,
    Tool,
    Sandbox,
    Transform,
}

/// A part of the messages of a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessagePage {
    pub(crate) messages: Vec<Message>,
    /// The `cursor` of the next part; absent where there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Uuid>,
}

impl Message {
    /// A message and its files.
    pub(crate) fn new(
        row: store::Message,
        files: Vec<store::Attachment>,
        versions: &[store::TurnVersion],
    ) -> Self {
        let place = versions.iter().position(|version| version.turn == row.turn);
        Self {
            id: row.id.as_uuid(),
            conversation: row.conversation.as_uuid(),
            turn: row.turn.as_uuid(),
            version: place.unwrap_or_default() + 1,
            versions: versions.len().max(1),
            role: match row.role {
                store::MessageRole::User => Role::User,
                store::MessageRole::Assistant => Role::Assistant,
            },
            status: match row.status {
                store::MessageStatus::Pending => MessageStatus::Pending,
                store::MessageStatus::Completed => MessageStatus::Completed,
                store::MessageStatus::Cancelled => MessageStatus::Cancelled,
                store::MessageStatus::Error => MessageStatus::Error,
            },
            answer: row.answer.into(),
            files: files.into_iter().map(Into::into).collect(),
            created_at: row.created_at.0,
            finished_at: row.finished_at.map(|at| at.0),
        }
    }
}

impl From<outcome::Answer> for Answer {
    fn from(answer: outcome::Answer) -> Self {
        let usage = answer.usage;
        Self {
            content: answer.content,
            parts: answer.parts,
            reasoning: answer.reasoning,
            usage: Usage {
                cost: usage.cost,
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                cache_read_tokens: usage.cache_read_tokens,
                cache_write_tokens: usage.cache_write_tokens,
            },
            truncated: answer.truncated,
            reason: answer.reason.map(outcome::Reason::as_str),
            error: answer.error.map(|error| TurnError {
                name: error.name,
                message: error.message,
                status_code: error.status_code,
            }),
        }
    }
}

impl From<store::Attachment> for File {
    fn from(row: store::Attachment) -> Self {
        Self {
            id: row.id.as_uuid(),
            message: row.message.as_uuid(),
            name: row.name,
            size: row.size,
            media_type: row.mime_type,
            source: match row.source {
                store::AttachmentSource::Upload => FileSource::Upload,
                store::AttachmentSource::Tool => FileSource::Tool,
                store::AttachmentSource::Sandbox => FileSource::Sandbox,
                store::AttachmentSource::Transform => FileSource::Transform,
            },
            created_at: row.created_at.0,
        }
    }
}
