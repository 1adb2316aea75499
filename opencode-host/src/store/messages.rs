//! What was said, and the turns that made it: all of it reading. Messages are written by a submit and by the turn's
//! worker ([`Queue`](super::Queue)).

use std::collections::VecDeque;

use async_trait::async_trait;

use super::{Message, MessageEntry, StoreError, StoreResult, Turn, TurnEvent};
use crate::id::{ConversationId, MessageId, TurnId};

/// How many messages a default method reads at a time.
const PAGE: u32 = 32;

/// Messages, and the turns that made them.
///
/// # Errors
///
/// What every method of a store may answer is said in the [module](super): only what else it answers is said at the
/// method.
#[async_trait]
pub trait Messages: Send + Sync {
    /// One message.
    async fn message(&self, id: MessageId) -> StoreResult<Option<Message>>;

    /// The messages of a conversation, or of all, oldest first: at most
    /// `limit`, of those after `after`.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) when there is no message `after`.
    async fn messages(
        &self,
        conversation: Option<ConversationId>,
        after: Option<MessageId>,
        limit: u32,
    ) -> StoreResult<Vec<Message>>;

    /// Where the messages of a conversation are, or all, oldest first: at most `limit`, of those behind the place
    /// `after` (0 is before the first). For who reads them one by one: none is in memory, and one that cannot be read
    /// hides no other.
    async fn message_index(
        &self,
        conversation: Option<ConversationId>,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<MessageEntry>>;

    /// The messages of `before`'s conversation that are older than it, newest first, at most `limit`.
    ///
    /// This default reads the conversation from its beginning; a store that can read backwards overrides it.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) when there is no message `before`.
    async fn messages_before(&self, before: MessageId, limit: u32) -> StoreResult<Vec<Message>> {
        let missing = || StoreError::NotFound {
            what: "message",
            id: before.to_string(),
        };
        let conversation = self
            .message(before)
            .await?
            .ok_or_else(missing)?
            .conversation;
        let limit = limit as usize;
        let mut newest = VecDeque::new();
        let mut after = None;
        loop {
            let page = self.messages(Some(conversation), after, PAGE).await?;
            after = page.last().map(|message| message.id);
            let ended = after.is_none() || page.iter().any(|message| message.id == before);
            newest.extend(page.into_iter().take_while(|message| message.id != before));
            newest.drain(..newest.len().saturating_sub(limit));
            if ended {
                return Ok(newest.into_iter().rev().collect());
            }
        }
    }

    /// One turn.
    async fn turn(&self, id: TurnId) -> StoreResult<Option<Turn>>;

    /// The events recorded for a turn, oldest first.
    async fn turn_events(&self, id: TurnId) -> StoreResult<Vec<TurnEvent>>;

    /// The oldest turn that has to be settled before this one can be claimed.
    async fn turn_ahead(&self, id: TurnId) -> StoreResult<Option<TurnId>>;
}
