//! What was said in a conversation before a turn.

use super::tools::Tools;
use crate::id::{ConversationId, MessageId, TurnId};
use crate::outcome::Reason;
use crate::store::{Attachment, Message, MessageRole, Store, StoreError};

/// How many messages are read at a time.
const PAGE: u32 = 16;

/// The messages before a turn with their files, newest first. What the application kept from the model is not among
/// them.
pub(super) struct Earlier<'a> {
    store: &'a dyn Store,
    conversation: ConversationId,
    before: MessageId,
    refused: Option<TurnId>,
}

impl<'a> Earlier<'a> {
    pub(super) fn than(tools: &'a Tools) -> Self {
        Self {
            store: &*tools.front.store,
            conversation: tools.turn.conversation,
            before: tools.turn.user_message,
            refused: None,
        }
    }

    /// Some more of them, maybe none; `None` at the beginning of the conversation.
    pub(super) async fn more(
        &mut self,
    ) -> Result<Option<Vec<(Message, Vec<Attachment>)>>, StoreError> {
        let page = self
            .store
            .messages_before(self.conversation, Some(self.before), PAGE)
            .await?;
        let Some(oldest) = page.last() else {
            return Ok(None);
        };
        self.before = oldest.id;
        let mut more = Vec::new();
        for message in page {
            if message.role == MessageRole::Assistant
                && message.answer.reason == Some(Reason::Refused)
            {
                self.refused = Some(message.turn);
            }
            if self.refused != Some(message.turn) {
                let files = self.store.attachments(message.id).await?;
                more.push((message, files));
            }
        }
        Ok(Some(more))
    }
}
