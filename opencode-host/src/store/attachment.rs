//! Files of messages, as rows. The bytes are in [`Blobs`](crate::blobs::Blobs).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::blobs::Digest;
use crate::clock::Timestamp;
use crate::id::{AttachmentId, ConversationId, MessageId};

/// The most characters an attachment's name may have.
pub const MAX_ATTACHMENT_NAME: usize = 255;

/// Where a file came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachmentSource {
    /// A person gave it.
    Upload,
    /// The agent's file tools made it.
    Tool,
    /// It lay in the agent's sandbox.
    Sandbox,
    /// The host made it of an agent's file: the one source that may be trusted.
    Transform,
}

/// A file of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attachment {
    /// The row.
    pub id: AttachmentId,
    /// Its message.
    pub message: MessageId,
    /// The message's conversation.
    pub conversation: ConversationId,
    /// Its name, unique in its message.
    pub name: String,
    /// Its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// Their MIME type, as the name or the uploader says: they may be something else.
    pub mime_type: String,
    /// Where it came from.
    pub source: AttachmentSource,
    /// What the host vouches for, in a product's own words.
    pub trust: Map<String, Value>,
    /// Where the agent has it in the conversation's folder, with `/` between names. `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// When it was attached.
    pub created_at: Timestamp,
}

impl Attachment {
    /// The bytes of the uploads among these files.
    pub fn uploaded_bytes<'a>(files: impl IntoIterator<Item = &'a Self>) -> u64 {
        let uploads = files
            .into_iter()
            .filter(|file| file.source == AttachmentSource::Upload);
        uploads.map(|file| file.size).fold(0, u64::saturating_add)
    }
}

/// A file to be attached.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewAttachment {
    /// The row's id, made by the caller.
    pub id: AttachmentId,
    /// Its message.
    pub message: MessageId,
    /// Its name.
    pub name: String,
    /// Its bytes, which are kept already.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// Their MIME type.
    pub mime_type: String,
    /// Where it came from.
    pub source: AttachmentSource,
    /// What the host vouches for.
    pub trust: Map<String, Value>,
    /// Where the agent has it in the conversation's folder.
    pub place: Option<String>,
}

impl NewAttachment {
    /// A file that nobody vouches for.
    pub fn new(
        id: AttachmentId,
        message: MessageId,
        name: impl Into<String>,
        digest: Digest,
        size: u64,
        mime_type: impl Into<String>,
        source: AttachmentSource,
    ) -> Self {
        Self {
            id,
            message,
            name: name.into(),
            digest,
            size,
            mime_type: mime_type.into(),
            source,
            trust: Map::new(),
            place: None,
        }
    }

    /// The row this becomes.
    pub fn attached(&self, conversation: ConversationId, now: Timestamp) -> Attachment {
        Attachment {
            id: self.id,
            message: self.message,
            conversation,
            name: self.name.clone(),
            digest: self.digest,
            size: self.size,
            mime_type: self.mime_type.clone(),
            source: self.source,
            trust: self.trust.clone(),
            place: self.place.clone(),
            created_at: now,
        }
    }
}

/// What became of an attach.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Attached {
    /// The row: the new one, or the one that had the name already.
    pub attachment: Attachment,
    /// Whether it is new.
    pub created: bool,
}

impl Attached {
    /// The file was attached by this call.
    pub fn new(attachment: Attachment) -> Self {
        Self {
            attachment,
            created: true,
        }
    }

    /// The message had a file of that name.
    pub fn known(attachment: Attachment) -> Self {
        Self {
            attachment,
            created: false,
        }
    }
}
