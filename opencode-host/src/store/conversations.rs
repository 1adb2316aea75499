//! Conversations, and the one upstream session of each.

use std::time::Duration;

use async_trait::async_trait;

use super::{Conversation, ConversationSummary, SessionRecord, StoreResult};
use crate::id::ConversationId;

/// Conversations, and the one upstream session of each.
///
/// # Errors
///
/// What every method of a store may answer is said in the [module](super): only what else it answers is said at the
/// method.
#[async_trait]
pub trait Conversations: Send + Sync {
    /// The conversation of this name, made when there is none. Names are unique.
    async fn open_conversation(&self, name: &str) -> StoreResult<Conversation>;

    /// One conversation.
    async fn conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>>;

    /// The conversation of this name.
    async fn conversation_named(&self, name: &str) -> StoreResult<Option<Conversation>>;

    /// The conversations used last, newest first, at most `limit`.
    async fn conversations(&self, limit: u32) -> StoreResult<Vec<ConversationSummary>>;

    /// Deletes a conversation with its messages and turns, a running one too;
    /// its worker learns it by [`LeaseLost`](super::StoreError::LeaseLost). Answers what was deleted.
    async fn delete_conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>>;

    /// Locks the session of a conversation for minting, waiting at most `wait`.
    /// Dropping the lock releases it; a crashed holder does not keep it.
    ///
    /// On Postgres this is the conversation's row lock, across all nodes. Where
    /// there are no row locks it serialises this process only, and
    /// [`SessionLock::set`] decides between processes.
    ///
    /// # Errors
    /// [`LockTimeout`](super::StoreError::LockTimeout) when it is not free in time.
    async fn lock_session(
        &self,
        id: ConversationId,
        wait: Duration,
    ) -> StoreResult<Box<dyn SessionLock>>;
}

/// The session of one conversation, locked. Dropping it releases the lock.
#[async_trait]
pub trait SessionLock: Send {
    /// The session as the row has it.
    fn current(&self) -> Option<&SessionRecord>;

    /// Replaces the session if the row still has what [`SessionLock::current`]
    /// says, and releases the lock.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) when the conversation was deleted meanwhile.
    /// The inner error is the session another process has put there meanwhile.
    async fn set(
        self: Box<Self>,
        session: &SessionRecord,
    ) -> StoreResult<Result<(), Box<SessionRecord>>>;
}
