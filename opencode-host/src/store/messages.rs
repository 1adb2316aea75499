//! What was said, and the turns that made it: all of it reading. Messages are written by a submit and by the turn's
//! worker ([`Queue`](super::Queue)).

use std::collections::VecDeque;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    Finish, RequestAnswer, Search, StoreError, StoreResult, Turn, TurnEvent, TurnStanding,
    TurnStatus, TurnVersion,
};
use crate::clock::Timestamp;
use crate::id::{ConversationId, MessageId, TurnId};
use crate::outcome::Answer;

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

    /// The messages that a conversation shows, or all messages of all, oldest first: at most `limit`, of those after
    /// `after`.
    ///
    /// This default looks for `after` from the beginning and reads messages one by one.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) when there is no message `after`, or it is another conversation's.
    async fn messages(
        &self,
        conversation: Option<ConversationId>,
        after: Option<MessageId>,
        limit: u32,
    ) -> StoreResult<Vec<Message>> {
        let mut place = match after {
            None => 0,
            Some(id) => place_of(self, conversation, id).await?,
        };
        let mut messages = Vec::new();
        loop {
            let page = self.message_index(conversation, place, PAGE).await?;
            let Some(last) = page.last() else { break };
            place = last.place;
            for entry in page {
                if messages.len() >= limit as usize {
                    return Ok(messages);
                }
                if conversation.is_none() || !entry.hidden {
                    messages.extend(entered(self, &entry).await?);
                }
            }
        }
        Ok(messages)
    }

    /// Where the messages of a conversation are, or all, oldest first, [hidden](MessageEntry::hidden) ones too: at most
    /// `limit`, of those behind the place `after` (0 is before the first). For who reads them one by one: none is in memory, and one that cannot be read
    /// hides no other.
    async fn message_index(
        &self,
        conversation: Option<ConversationId>,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<MessageEntry>>;

    /// The messages that a conversation shows, newest first: at most `limit`, of those before `before`.
    ///
    /// This default looks for `before` from the beginning and reads messages one by one.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) when there is no message `before`, or it is another conversation's.
    async fn messages_before(
        &self,
        conversation: ConversationId,
        before: Option<MessageId>,
        limit: u32,
    ) -> StoreResult<Vec<Message>> {
        let conversation = Some(conversation);
        let end = match before {
            None => u64::MAX,
            Some(id) => place_of(self, conversation, id).await?,
        };
        let (mut newest, mut after) = (VecDeque::new(), 0);
        'pages: loop {
            let page = self.message_index(conversation, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.place;
            for entry in page {
                if entry.place >= end {
                    break 'pages;
                }
                if !entry.hidden {
                    newest.push_front(entry);
                    newest.truncate(limit as usize);
                }
            }
        }
        let mut messages = Vec::new();
        for entry in &newest {
            messages.extend(entered(self, entry).await?);
        }
        Ok(messages)
    }

    /// The messages of a conversation that all words of a search are found in, of those that are shown and complete:
    /// newest first, at most `limit`; none without the conversation.
    ///
    /// This default reads the messages one by one.
    async fn found(
        &self,
        conversation: ConversationId,
        search: &Search,
        limit: u32,
    ) -> StoreResult<Vec<MessageId>> {
        let (mut found, mut after) = (VecDeque::new(), 0);
        loop {
            let page = self.message_index(Some(conversation), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.place;
            for entry in page.iter().filter(|entry| !entry.hidden) {
                let message = match entered(self, entry).await {
                    Ok(message) => message,
                    Err(StoreError::Corrupt { .. }) => continue,
                    Err(error) => return Err(error),
                };
                if let Some(message) = message.filter(|message| message.has(search)) {
                    found.push_front(message.id);
                    found.truncate(limit as usize);
                }
            }
        }
        Ok(found.into())
    }

    /// One turn.
    async fn turn(&self, id: TurnId) -> StoreResult<Option<Turn>>;

    /// Those of these turns that there are and that can be read, in any order. This default reads them one by one.
    async fn turns(&self, ids: &[TurnId]) -> StoreResult<Vec<Turn>> {
        let mut turns = Vec::with_capacity(ids.len());
        for id in ids {
            match self.turn(*id).await {
                Ok(turn) => turns.extend(turn),
                Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(turns)
    }

    /// How these turns stand, in their order; `None` where there is no such turn. A node asks that of all turns that are
    /// watched there and run elsewhere, about twice a second. This default reads them whole, one by one; one that cannot be
    /// read stands as if nothing had come of it.
    async fn standings(&self, turns: &[TurnId]) -> StoreResult<Vec<Option<TurnStanding>>> {
        let mut standings = Vec::with_capacity(turns.len());
        for id in turns {
            let turn = match self.turn(*id).await {
                Err(StoreError::Corrupt { .. }) => Some(TurnStanding::default()),
                turn => turn?.as_ref().map(TurnStanding::of),
            };
            standings.push(turn);
        }
        Ok(standings)
    }

    /// The turns that go on from the same place as this one, itself among them, oldest first.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) without the turn.
    async fn versions(&self, id: TurnId) -> StoreResult<Vec<TurnVersion>>;

    /// The turns of a conversation that are queued or run, oldest first, at most `limit`.
    async fn active_turns(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Turn>>;

    /// The events recorded for a turn, oldest first.
    async fn turn_events(&self, id: TurnId) -> StoreResult<Vec<TurnEvent>>;

    /// The answers that people gave to what the turn's agent asked, oldest first; nothing without the turn.
    async fn answers(&self, turn: TurnId) -> StoreResult<Vec<RequestAnswer>>;

    /// The oldest turn that has to be settled before this one can be claimed.
    async fn turn_ahead(&self, id: TurnId) -> StoreResult<Option<TurnId>>;
}

/// The place of a message among those of a conversation, or all.
async fn place_of<S: Messages + ?Sized>(
    store: &S,
    conversation: Option<ConversationId>,
    id: MessageId,
) -> StoreResult<u64> {
    let (wanted, mut after) = (id.to_string(), 0);
    loop {
        let page = store.message_index(conversation, after, PAGE).await?;
        if let Some(entry) = page.iter().find(|entry| entry.id == wanted) {
            return Ok(entry.place);
        }
        let last = page.last();
        let last = last.ok_or_else(|| StoreError::not_found("message", id))?;
        after = last.place;
    }
}

/// The message of an entry, unless it was deleted since.
async fn entered<S: Messages + ?Sized>(
    store: &S,
    entry: &MessageEntry,
) -> StoreResult<Option<Message>> {
    store.message(entry.message()?).await
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageRole {
    /// The person.
    User,
    /// The agent.
    Assistant,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    /// Its turn has not ended.
    Pending,
    /// Whole.
    Completed,
    /// Stopped by the person; what had come is kept.
    Cancelled,
    /// Its turn failed; what had come is kept.
    Error,
}

impl From<TurnStatus> for MessageStatus {
    /// What a turn's message becomes when the turn has ended so.
    fn from(status: TurnStatus) -> Self {
        match status {
            TurnStatus::Completed => Self::Completed,
            TurnStatus::Cancelled => Self::Cancelled,
            TurnStatus::Error | TurnStatus::Failed => Self::Error,
        }
    }
}

/// Where a message is, and how much of it there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MessageEntry {
    /// Its place among all messages, from 1. Later ones have greater places.
    pub place: u64,
    /// Its id as it is stored: of a damaged row, not always one.
    pub id: String,
    /// About how many bytes it has: content, parts and reasoning.
    pub bytes: u64,
    /// Whether the conversation shows another version of its turn, or of one before it.
    #[serde(default)]
    pub hidden: bool,
}

impl MessageEntry {
    /// The message's id.
    ///
    /// # Errors
    /// [`Corrupt`](super::StoreError::Corrupt) where it is none.
    pub fn message(&self) -> StoreResult<MessageId> {
        let id = self.id.parse();
        id.map_err(|error| StoreError::Corrupt {
            table: "messages",
            id: self.id.clone(),
            detail: format!("column id: {error}"),
        })
    }

    /// The entry of one message.
    pub fn new(place: u64, id: impl Into<String>, bytes: u64) -> Self {
        Self {
            place,
            id: id.into(),
            bytes,
            hidden: false,
        }
    }

    /// The entry of a message that may be hidden.
    #[must_use]
    pub fn hidden(self, hidden: bool) -> Self {
        Self { hidden, ..self }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// The row.
    pub id: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The turn that made it.
    pub turn: TurnId,
    /// Who wrote it.
    pub role: MessageRole,
    /// How far it is. A user message is completed from the start.
    pub status: MessageStatus,
    /// What it says, and what came of its turn. A person's message has its content only.
    #[serde(flatten)]
    pub answer: Answer,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its turn ended.
    pub finished_at: Option<Timestamp>,
    /// Whether the conversation shows another version of its turn, or of one before it.
    #[serde(default)]
    pub hidden: bool,
}

impl Message {
    /// A message without content: what a person wrote is complete, what an agent writes is pending.
    pub fn new(
        id: MessageId,
        conversation: ConversationId,
        turn: TurnId,
        role: MessageRole,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            conversation,
            turn,
            role,
            status: match role {
                MessageRole::User => MessageStatus::Completed,
                MessageRole::Assistant => MessageStatus::Pending,
            },
            answer: Answer::default(),
            created_at,
            finished_at: None,
            hidden: false,
        }
    }

    /// Whether it is complete, and all words of a search are found in its content.
    pub fn has(&self, search: &Search) -> bool {
        self.status != MessageStatus::Pending && search.is_in(&self.answer.content)
    }

    /// Writes the end of its turn to the message.
    pub fn end(&mut self, finish: &Finish, now: Timestamp) {
        self.status = finish.status.into();
        self.answer.clone_from(&finish.answer);
        self.finished_at = Some(now);
    }
}
