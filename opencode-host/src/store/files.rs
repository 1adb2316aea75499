//! Files of messages, as rows. Their bytes are in [`Blobs`](crate::blobs::Blobs).

use async_trait::async_trait;

use super::{Attached, Attachment, NewAttachment, StoreResult};
use crate::blobs::Digest;
use crate::id::{AttachmentId, ConversationId, MessageId};

/// Files of messages.
///
/// # Errors
///
/// What every method of a store may answer is said in the [module](super): only what else it answers is said at the
/// method.
#[async_trait]
pub trait Files: Send + Sync {
    /// Attaches a file to a message, unless the message has one of that name:
    /// then answers that one, whatever it holds, and changes nothing. The
    /// database sees to it that there is one.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) when there is no such message,
    /// [`TooLong`](super::StoreError::TooLong) for a name over [`MAX_ATTACHMENT_NAME`](super::MAX_ATTACHMENT_NAME).
    async fn attach(&self, file: &NewAttachment) -> StoreResult<Attached>;

    /// One attachment.
    async fn attachment(&self, id: AttachmentId) -> StoreResult<Option<Attachment>>;

    /// The files of a message, in the order they were attached.
    async fn attachments(&self, message: MessageId) -> StoreResult<Vec<Attachment>>;

    /// The bytes of all uploads of a conversation's messages, each counted as often as it was uploaded.
    ///
    /// This default reads all files of the conversation.
    async fn uploaded_bytes(&self, conversation: ConversationId) -> StoreResult<u64> {
        let files = self.newest_attachments(conversation, u32::MAX).await?;
        Ok(Attachment::uploaded_bytes(&files))
    }

    /// The files attached last to a conversation's messages, newest first, at most `limit`.
    async fn newest_attachments(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Attachment>>;

    /// Which of these digests a row names, in any order. At most a few hundred are asked about at once.
    async fn digests_in_use(&self, digests: &[Digest]) -> StoreResult<Vec<Digest>>;

    /// Removes a file from its message; answers it, or nothing when it was not there any more.
    async fn detach(&self, id: AttachmentId) -> StoreResult<Option<Attachment>>;
}
