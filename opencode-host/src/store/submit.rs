//! What is submitted: a prompt, with what came with it, to be a turn.

use opencode_client::wire::Prompt;
use serde::{Deserialize, Serialize};

use super::{
    MAX_ATTACHMENT_NAME, MAX_KEY_CHARS, Message, MessageRole, Metadata, NewAttachment, StoreError,
    StoreResult, Turn,
};
use crate::budget::Budget;
use crate::clock::{Clock, Timestamp};
use crate::id::{ConversationId, MessageId, TurnId};
use crate::turn::Deadlines;

/// A turn to be.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewTurn {
    /// The turn's id, made by the caller.
    pub id: TurnId,
    /// The user message's id.
    pub user_message: MessageId,
    /// The assistant message's id.
    pub message: MessageId,
    /// The conversation.
    pub conversation: ConversationId,
    /// What is asked.
    pub prompt: Prompt,
    /// The same key in the same conversation is the same turn.
    pub client_key: Option<String>,
    /// What the application notes at the turn.
    pub metadata: Metadata,
    /// Its own deadlines, tighter than those of its worker.
    pub deadlines: Deadlines,
    /// Of the tenant's queued turns that may begin, one of the highest priority is claimed first.
    pub priority: i8,
    /// It is not claimed before, by the store's clock; those behind it in the conversation wait with it.
    pub not_before: Option<Timestamp>,
    /// What the turn may use, looked at once: the submit is refused where nothing is left. `None` bounds nothing.
    pub budget: Option<Box<Budget>>,
    /// What to do when the conversation has unfinished turns.
    pub on_busy: OnBusy,
    /// What the prompt was made of, where files came with it.
    pub uploads: Option<NewUploads>,
    /// The turn of the conversation in whose place it is put, as another version of it. `None` puts it at the end.
    pub instead_of: Option<TurnId>,
}

impl NewTurn {
    /// A turn with fresh ids, which waits behind the others of its conversation.
    pub fn new(conversation: ConversationId, prompt: Prompt, clock: &dyn Clock) -> Self {
        Self {
            id: TurnId::from_uuid(clock.new_uuid()),
            user_message: MessageId::from_uuid(clock.new_uuid()),
            message: MessageId::from_uuid(clock.new_uuid()),
            conversation,
            prompt,
            client_key: None,
            metadata: Metadata::default(),
            deadlines: Deadlines::default(),
            priority: 0,
            not_before: None,
            budget: None,
            on_busy: OnBusy::Enqueue,
            uploads: None,
            instead_of: None,
        }
    }

    /// The turn as it is submitted.
    pub fn turn(&self, now: Timestamp) -> Turn {
        let (user_message, prompt) = (self.user_message, self.prompt.clone());
        let mut turn = Turn::new(
            self.id,
            self.conversation,
            user_message,
            self.message,
            prompt,
            now,
        );
        turn.client_key.clone_from(&self.client_key);
        turn.deadlines = self.deadlines;
        turn.priority = self.priority;
        turn.not_before = self.not_before;
        turn.metadata.clone_from(&self.metadata);
        turn
    }

    /// The two messages that a submit adds: the person's, and the one to be filled.
    pub fn messages(&self, now: Timestamp) -> [Message; 2] {
        let message = |id, role| Message::new(id, self.conversation, self.id, role, now);
        let mut user = message(self.user_message, MessageRole::User);
        self.said().clone_into(&mut user.answer.content);
        let assistant = message(self.message, MessageRole::Assistant);
        [user, assistant]
    }

    /// What the person said: the prompt, or what it was made of.
    pub fn said(&self) -> &str {
        self.uploads
            .as_ref()
            .map_or(&self.prompt.text, |uploads| &uploads.said)
    }

    /// Refuses a client key or a file name that is too long.
    ///
    /// # Errors
    /// [`StoreError::TooLong`].
    pub fn check(&self) -> StoreResult<()> {
        if let Some(key) = &self.client_key {
            check_length("client key", key, MAX_KEY_CHARS)?;
        }
        for file in self.files() {
            check_length("file name", &file.name, MAX_ATTACHMENT_NAME)?;
        }
        Ok(())
    }

    /// Refuses the submit if its files are too much beside what the conversation has.
    ///
    /// # Errors
    /// [`StoreError::QuotaExceeded`].
    pub fn check_quota(&self, used: u64) -> StoreResult<()> {
        let adding = self
            .files()
            .map(|file| file.size)
            .fold(0, u64::saturating_add);
        match self.uploads.as_ref().and_then(|uploads| uploads.quota) {
            Some(allowed) if adding > 0 && used.saturating_add(adding) > allowed => {
                Err(StoreError::QuotaExceeded {
                    used,
                    adding,
                    allowed,
                })
            }
            _ => Ok(()),
        }
    }

    /// The files that come with it, on the person's message.
    pub fn files(&self) -> impl Iterator<Item = NewAttachment> {
        let files = self.uploads.iter().flat_map(|uploads| &uploads.files);
        files.map(|file| NewAttachment {
            message: self.user_message,
            ..file.clone()
        })
    }
}

/// Refuses a name or key of more characters than this.
pub(super) fn check_length(what: &'static str, text: &str, limit: usize) -> StoreResult<()> {
    if text.chars().nth(limit).is_some() {
        return Err(StoreError::TooLong { what, limit });
    }
    Ok(())
}

/// A prompt that was made of a person's words and files.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NewUploads {
    /// The person's words, which their message shows.
    pub said: String,
    /// The files, attached to the person's message in the same transaction.
    pub files: Vec<NewAttachment>,
    /// The most bytes that all uploads of the conversation may have with these; `None` for any number.
    pub quota: Option<u64>,
}

/// What a submit does when the conversation has unfinished turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBusy {
    /// Waits behind them.
    #[default]
    Enqueue,
    /// Is refused: [`super::StoreError::Busy`].
    Reject,
    /// Cancels them, in the same transaction, and comes next.
    Interrupt,
}

/// What became of a submit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Submitted {
    /// The turn: the new one, or the one that had the client key.
    pub turn: Turn,
    /// Whether it is new.
    pub created: bool,
}

impl Submitted {
    /// The turn was made by this submit.
    pub fn new(turn: Turn) -> Self {
        Self {
            turn,
            created: true,
        }
    }

    /// The turn was there already.
    pub fn known(turn: Turn) -> Self {
        Self {
            turn,
            created: false,
        }
    }
}
