//! Conversations, and the one upstream session of each.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    ConversationCursor, ConversationFilter, Effect, EffectKind, Metadata, Page, ServerName,
    SessionGate, SessionGates, SessionRecord, StoreError, StoreResult, Tenant,
};
use crate::clock::Timestamp;
use crate::id::{ConversationId, TurnId, derived};

/// Conversations, and the one upstream session of each.
///
/// # Errors
///
/// What every method of a store may answer is said in the [module](super): only what else it answers is said at the
/// method.
#[async_trait]
pub trait Conversations: Send + Sync {
    /// The tenant's conversation of this name, made when there is none. Names are unique within a tenant.
    async fn open_conversation(&self, tenant: &Tenant, name: &str) -> StoreResult<Conversation>;

    /// One conversation.
    async fn conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>>;

    /// The tenant's conversation of this name.
    async fn conversation_named(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> StoreResult<Option<Conversation>>;

    /// A part of the list of those conversations that the filter takes, by when they were used last.
    async fn conversations(
        &self,
        filter: &ConversationFilter,
        page: &Page,
    ) -> StoreResult<Vec<ConversationSummary>>;

    /// Makes a conversation of the same tenant that begins with a copy of what led to a turn, and of that: turns, messages and
    /// files, with the conversation's metadata. What was recorded of the turns, what people answered to their agents, what
    /// they used and their client keys stay with the other conversation. It has no session yet.
    ///
    /// A fork of the same turn that has the name already is the answer.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) without the turn, [`Busy`](super::StoreError::Busy) while it is not settled,
    /// [`NameTaken`](super::StoreError::NameTaken) where another conversation of the tenant has the name.
    async fn fork(&self, new: &NewFork) -> StoreResult<Forked>;

    /// Puts `metadata` in the place of the conversation's.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) without the conversation.
    async fn set_metadata(&self, id: ConversationId, metadata: &Metadata) -> StoreResult<()>;

    /// Deletes a conversation with its messages and turns, a running one too;
    /// its worker learns it by [`LeaseLost`](super::StoreError::LeaseLost). Notes in the same transaction what is to go
    /// with it outside the database ([`Conversation::deletion`]), and makes due what the ends of unsettled turns owe. Answers
    /// what was deleted.
    ///
    /// With `unused_since`: nothing, if it was used since then or has a turn that is queued or runs.
    async fn delete_conversation(
        &self,
        id: ConversationId,
        unused_since: Option<Timestamp>,
    ) -> StoreResult<Option<Conversation>>;

    /// Puts `new` in the place of the conversation's session, if that still is `expected`: `None` where there is none yet.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreError::NotFound) without the conversation.
    async fn swap_session(
        &self,
        id: ConversationId,
        expected: Option<&SessionRecord>,
        new: &SessionRecord,
    ) -> StoreResult<Swapped>;

    /// The locks of this process for [`lock_session`](Self::lock_session). The same ones at every call.
    fn session_gates(&self) -> &SessionGates;

    /// Locks the session of a conversation for minting, waiting at most `wait`.
    /// Dropping the lock releases it; a crashed holder does not keep it.
    ///
    /// The lock saves work, [`swap_session`](Self::swap_session) decides: this default keeps out the others of this
    /// process. A store that can keep out other processes overrides it, as the one on Postgres does by a row lock.
    ///
    /// # Errors
    /// [`LockTimeout`](super::StoreError::LockTimeout) when it is not free in time,
    /// [`NotFound`](super::StoreError::NotFound) without the conversation.
    async fn lock_session(
        &self,
        id: ConversationId,
        wait: Duration,
    ) -> StoreResult<Box<dyn SessionLock + '_>> {
        lock_in_process(self, id, wait).await
    }
}

/// Locks the session of a conversation against the others of this process: [`Conversations::lock_session`] by default.
///
/// # Errors
/// As there.
pub async fn lock_in_process<S: Conversations + ?Sized>(
    store: &S,
    id: ConversationId,
    wait: Duration,
) -> StoreResult<Box<dyn SessionLock + '_>> {
    let gate = store.session_gates().enter(id, wait).await?;
    let conversation = store.conversation(id).await?;
    let conversation = conversation.ok_or_else(|| StoreError::not_found("conversation", id))?;
    Ok(Box::new(GatedSession {
        store,
        id,
        current: conversation.session,
        _gate: gate,
    }))
}

/// What became of a swap of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Swapped {
    /// The row has the new session.
    Yes,
    /// Another process was quicker: the row keeps the session it has, if any.
    No(Option<Box<SessionRecord>>),
}

impl Swapped {
    /// The session that another process has put there; `None` if the swap was done.
    ///
    /// # Errors
    /// [`Unavailable`](StoreError::Unavailable) when the session was removed meanwhile.
    pub fn other(self) -> StoreResult<Option<SessionRecord>> {
        match self {
            Self::Yes => Ok(None),
            Self::No(Some(theirs)) => Ok(Some(*theirs)),
            Self::No(None) => Err(StoreError::Unavailable(
                "the session was removed while a new one was made".to_owned(),
            )),
        }
    }
}

/// The lock of a process.
struct GatedSession<'a, S: ?Sized> {
    store: &'a S,
    id: ConversationId,
    current: Option<SessionRecord>,
    _gate: SessionGate,
}

#[async_trait]
impl<S: Conversations + ?Sized> SessionLock for GatedSession<'_, S> {
    fn current(&self) -> Option<&SessionRecord> {
        self.current.as_ref()
    }

    async fn set(self: Box<Self>, session: &SessionRecord) -> StoreResult<Swapped> {
        let expected = self.current.as_ref();
        self.store.swap_session(self.id, expected, session).await
    }
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
    async fn set(self: Box<Self>, session: &SessionRecord) -> StoreResult<Swapped>;
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Conversation {
    /// The row.
    pub id: ConversationId,
    /// Whose it is. It never changes.
    #[serde(default)]
    pub tenant: Tenant,
    /// Its name, unique within its tenant.
    pub name: String,
    /// What the application has noted at it.
    #[serde(default)]
    pub metadata: Metadata,
    /// Its upstream session, once minted.
    pub session: Option<SessionRecord>,
    /// The turn of another conversation that it goes on from: see [`Conversations::fork`].
    #[serde(default)]
    pub forked_from: Option<TurnId>,
    /// The server that it is placed on, once it is: see [`Servers`](super::Servers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// Why it is not placed, for a person; `None` where nobody has found a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Conversation {
    /// A conversation without a session.
    pub fn new(
        id: ConversationId,
        tenant: &Tenant,
        name: impl Into<String>,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            tenant: tenant.clone(),
            name: name.into(),
            metadata: Metadata::default(),
            session: None,
            forked_from: None,
            server: None,
            waits_for: None,
            created_at,
        }
    }
}

impl Conversation {
    /// The server that its session is on, where it has one.
    pub fn server_of_session(&self) -> Option<&ServerName> {
        let session = self.session.as_ref()?;
        session.server.as_ref().or(self.server.as_ref())
    }

    /// What is to go with it outside the database when it is deleted `now`. `leased_until` is when the last lease on a turn
    /// of it ends.
    pub fn deletion(&self, leased_until: Option<Timestamp>, now: Timestamp) -> Effect {
        let kind = EffectKind::Deletion {
            conversation: self.id,
            session: self.session.clone(),
            server: self.server_of_session().cloned(),
            until: leased_until.unwrap_or(now),
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            told: false,
        };
        // It is deleted once.
        Effect::new(self.id.into(), &self.tenant, kind, now)
    }
}

/// A conversation in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConversationSummary {
    /// The conversation.
    pub conversation: Conversation,
    /// The start of its first user message, at most 200 characters.
    pub excerpt: Option<String>,
    /// When its newest turn was submitted; when it was made, without one.
    pub used_at: Timestamp,
    /// Whether a turn is queued or runs.
    pub busy: bool,
    /// Whether the last turn that it shows ended with an error.
    #[serde(default)]
    pub failed: bool,
}

impl ConversationSummary {
    /// A conversation that nobody has asked anything yet.
    pub fn new(conversation: Conversation, used_at: Timestamp) -> Self {
        Self {
            conversation,
            excerpt: None,
            used_at,
            busy: false,
            failed: false,
        }
    }

    /// Its place in the list.
    pub fn cursor(&self) -> ConversationCursor {
        ConversationCursor {
            used_at: self.used_at,
            id: self.conversation.id,
        }
    }

    /// Whether it is among those that a filter takes, whatever is [looked for](ConversationFilter::search) in its messages.
    pub fn is_taken_by(&self, filter: &ConversationFilter) -> bool {
        let Conversation {
            tenant, metadata, ..
        } = &self.conversation;
        let is_noted = |name: &String| metadata.get(name).is_some();
        filter.tenant.as_ref().is_none_or(|wanted| wanted == tenant)
            && filter.busy.is_none_or(|wanted| wanted == self.busy)
            && filter.used_since.is_none_or(|since| self.used_at >= since)
            && filter
                .used_before
                .is_none_or(|before| self.used_at < before)
            && filter.noted.iter().all(is_noted)
            && !filter.not_noted.iter().any(is_noted)
    }

    /// What a conversation's first prompt is shown as.
    pub fn excerpt_of(prompt: &str) -> String {
        prompt.chars().take(200).collect()
    }
}

/// A conversation to be, which begins as another one's did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewFork {
    /// The new conversation's id, made by the caller.
    pub id: ConversationId,
    /// The last turn that it begins with.
    pub turn: TurnId,
    /// Its name, unique within the tenant of the other conversation.
    pub name: String,
}

impl NewFork {
    /// A conversation of this name that begins with what led to `turn`, and with that.
    pub fn new(id: ConversationId, turn: TurnId, name: impl Into<String>) -> Self {
        Self {
            id,
            turn,
            name: name.into(),
        }
    }

    /// The id that the copy of a turn, message or file has: the same for the same row, whoever asks.
    pub fn id_of(&self, row: Uuid) -> Uuid {
        derived(self.id, &row.to_string())
    }

    /// What there is already under the name.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] where that is no fork of the same turn.
    pub fn known(&self, known: Conversation) -> StoreResult<Forked> {
        if known.forked_from == Some(self.turn) {
            return Ok(Forked {
                conversation: known,
                created: false,
            });
        }
        Err(StoreError::NameTaken {
            name: self.name.clone(),
        })
    }
}

/// A conversation that goes on from a turn of another one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Forked {
    /// The conversation.
    pub conversation: Conversation,
    /// Whether this call made it; otherwise it was there.
    pub created: bool,
}

impl Forked {
    /// One that was made now.
    pub fn new(conversation: Conversation) -> Self {
        Self {
            conversation,
            created: true,
        }
    }
}
