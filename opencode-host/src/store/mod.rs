//! Where conversations, messages and turns are kept.
//!
//! The turns table is the queue: queued → running (a lease: owner, generation,
//! expiry) → finished → settled. A [`Store`] promises, and
//! [`conformance`] proves:
//!
//! * **One at a time.** A turn is claimed only when every earlier turn of its
//!   conversation is settled; a running or finished one is claimed again only
//!   when its lease has run out.
//! * **Fencing.** Every claim raises the turn's generation. Every write of a
//!   worker names its generation and changes nothing when that is not the
//!   turn's any more: [`StoreError::LeaseLost`].
//! * **One terminal state.** [`Store::finish`] is a compare-and-set from
//!   running. A cancel that was asked for first wins over a completion.
//! * **Idempotent submit.** The same client key in a conversation is one turn.
//! * **All or nothing.** Each method is one transaction. None is open between
//!   calls, except the row lock that [`Store::lock_session`] may hold, bounded
//!   in time.
//!
//! Leases expire by the store's own clock, not the worker's: on Postgres the
//! database's, which all nodes share; on SQLite the machine's, which all
//! processes on the file share.
//!
//! A host with tables of its own implements [`Store`] and runs the suite
//! against it.

mod attachment;
pub mod conformance;
mod memory;
mod rows;
mod session_gates;
mod session_record;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use opencode_client::SessionId;
use opencode_client::reply::Checkpoint;

pub use attachment::{
    Attached, Attachment, AttachmentSource, MAX_ATTACHMENT_NAME, NewAttachment, NewUploads,
};
pub use memory::MemoryStore;
pub use rows::{
    CancelOutcome, Claim, ClaimedTurn, Conversation, ConversationSummary, Finish, Finished, Lease,
    LeaseStatus, Message, MessageEntry, MessageRole, MessageStatus, NewTurn, OnBusy, PromptRecord,
    Submitted, Turn, TurnEvent, TurnState, TurnStatus, Usage, WorkerId,
};
pub use session_gates::{SessionGate, SessionGates};
pub use session_record::{Owed, SessionRecord};

use crate::blobs::Digest;
use crate::clock::Timestamp;
use crate::id::{AttachmentId, ConversationId, MessageId, TurnId};
use crate::uploaded_files_prompt::Size;

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be reached, is too busy, or is full. Worth another try.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A lock was not had within the time allowed. Worth another try.
    #[error("the conversation is locked by another process")]
    LockTimeout,
    /// The turn belongs to another worker by now. Stop working on it.
    #[error("turn {turn} was taken over by another worker")]
    LeaseLost {
        /// The turn.
        turn: TurnId,
    },
    /// The conversation has an unfinished turn, and the submit was not to wait.
    #[error("the conversation is busy with turn {turn}")]
    Busy {
        /// The oldest unfinished turn.
        turn: TurnId,
    },
    /// There is no such row.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `conversation`, `message` or `turn`.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A row holds what this version cannot read.
    #[error("{table} {id}: {detail}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong, and where.
        detail: String,
    },
    /// The database was made by a newer version.
    #[error(
        "the database was made by a newer version (schema {found}, this one knows up to {known}): \
         run the newer version, or start with another database"
    )]
    NewerSchema {
        /// The schema version found.
        found: i64,
        /// The newest one this version knows.
        known: i64,
    },
    /// A name or key is longer than a database can index.
    #[error("a {what} has at most {limit} characters: shorten it")]
    TooLong {
        /// `conversation name`, `client key` or `file name`.
        what: &'static str,
        /// The most characters it may have.
        limit: usize,
    },
    /// The conversation's uploads would be more than it may have.
    #[error(
        "the files of this conversation have {}, and it may have {}: {} more are too many; \
         send smaller ones, or start another conversation",
        Size(*used), Size(*allowed), Size(*adding)
    )]
    QuotaExceeded {
        /// What the uploads of the conversation have, in bytes.
        used: u64,
        /// What was to be added, in bytes.
        adding: u64,
        /// The most they may have together, in bytes.
        allowed: u64,
    },
    /// The store was set up wrongly.
    #[error("{0}")]
    Configuration(String),
    /// The database refused a statement for a reason that another try does not cure.
    #[error("the database refused: {0}")]
    Unexpected(String),
}

impl StoreError {
    /// Whether the same call may succeed when it is made again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::LockTimeout)
    }
}

/// The most characters a conversation's name or a client key may have.
pub const MAX_KEY_CHARS: usize = 512;

/// Refuses an attachment's name that is too long.
///
/// # Errors
/// [`StoreError::TooLong`].
pub fn check_attachment_name(name: &str) -> StoreResult<()> {
    if name.chars().nth(MAX_ATTACHMENT_NAME).is_some() {
        return Err(StoreError::TooLong {
            what: "file name",
            limit: MAX_ATTACHMENT_NAME,
        });
    }
    Ok(())
}

/// Refuses a conversation's name or a client key that is too long.
///
/// # Errors
/// [`StoreError::TooLong`].
pub fn check_key(what: &'static str, key: &str) -> StoreResult<()> {
    if key.chars().nth(MAX_KEY_CHARS).is_some() {
        return Err(StoreError::TooLong {
            what,
            limit: MAX_KEY_CHARS,
        });
    }
    Ok(())
}

/// How many messages a default method of [`Store`] reads at a time.
const PAGE: u32 = 32;

/// What a store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// Where conversations, messages and turns are kept. See the [module](self) for
/// what an implementation promises.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// The time by the clock that leases expire by.
    ///
    /// # Errors
    /// See [`StoreError`], here and below.
    async fn now(&self) -> StoreResult<Timestamp>;

    /// The conversation of this name, made when there is none. Names are unique.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn open_conversation(&self, name: &str) -> StoreResult<Conversation>;

    /// One conversation.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>>;

    /// The conversation of this name.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn conversation_named(&self, name: &str) -> StoreResult<Option<Conversation>>;

    /// The conversations used last, newest first, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn conversations(&self, limit: u32) -> StoreResult<Vec<ConversationSummary>>;

    /// Deletes a conversation with its messages and turns, a running one too;
    /// its worker learns it by [`StoreError::LeaseLost`]. Answers what was deleted.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn delete_conversation(&self, id: ConversationId) -> StoreResult<Option<Conversation>>;

    /// Locks the session of a conversation for minting, waiting at most `wait`.
    /// Dropping the lock releases it; a crashed holder does not keep it.
    ///
    /// On Postgres this is the conversation's row lock, across all nodes. Where
    /// there are no row locks it serialises this process only, and
    /// [`SessionLock::set`] decides between processes.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`] when it is not free in time.
    async fn lock_session(
        &self,
        id: ConversationId,
        wait: Duration,
    ) -> StoreResult<Box<dyn SessionLock>>;

    /// Adds a user message with its files, a pending assistant message and a queued
    /// turn, in one transaction. With a client key that the conversation has already, or
    /// with the id of a turn that is there: answers that turn, and changes nothing.
    ///
    /// # Errors
    /// [`StoreError::QuotaExceeded`] when the conversation's uploads and the new files
    /// together pass [`NewUploads::quota`], also when another submit is at it at the same time.
    /// See [`StoreError`].
    async fn submit(&self, turn: &NewTurn) -> StoreResult<Submitted>;

    /// Takes a turn that can be worked on: first one left behind by a worker
    /// whose lease ran out, running or finished but not settled; else the oldest
    /// queued one. Raises its generation and its attempts, and sets the lease.
    ///
    /// A lease that was set later than now (the clock was put back since) is cut
    /// to its own length from now: it ends in time unless its worker renews it.
    ///
    /// # Errors
    /// See [`StoreError`]. A row that cannot be read is [`StoreError::Corrupt`]
    /// and is passed over by the next claim, so that it does not hold up the others.
    async fn claim(&self, claim: &Claim) -> StoreResult<Option<ClaimedTurn>>;

    /// Prolongs leases to `lease` from now, and tells how each stands. In the
    /// order of `leases`.
    ///
    /// # Errors
    /// See [`StoreError`]. A lost lease is an answer, not an error.
    async fn renew(&self, leases: &[Lease], lease: Duration) -> StoreResult<Vec<LeaseStatus>>;

    /// Tells how leases stand, without a write. In the order of `leases`.
    ///
    /// # Errors
    /// See [`StoreError`]. A lost lease is an answer, not an error.
    async fn check(&self, leases: &[Lease]) -> StoreResult<Vec<LeaseStatus>>;

    /// Gives a turn back: any worker can claim it at once. The claim was no
    /// failed attempt, and does not count as one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or see [`StoreError`].
    async fn release(&self, lease: &Lease) -> StoreResult<()>;

    /// Notes the session and the ids of a prompt, before it is posted. The same
    /// record twice is noted once.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], also when the turn has ended, or see [`StoreError`].
    async fn record_prompt(&self, lease: &Lease, prompt: &PromptRecord) -> StoreResult<()>;

    /// Notes, before it is done, that this turn replaces a session that the server has lost.
    /// A turn replaces one session, however many workers take it up: the first one noted
    /// stays. Answers that one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], also when the turn has ended, or see [`StoreError`].
    async fn record_replacement(&self, lease: &Lease, lost: &SessionId) -> StoreResult<SessionId>;

    /// Notes whether the turn's worker cannot reach the server, for those who watch the turn
    /// from other processes. The next claim starts without the note.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], also when the turn has ended, or see [`StoreError`].
    async fn set_unreachable(&self, lease: &Lease, unreachable: bool) -> StoreResult<()>;

    /// Writes what has streamed so far: the checkpoint to the turn, its parts
    /// to the message. One that differs from the last is progress: it notes
    /// when, and starts the attempts anew.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], also when the turn has ended, or see [`StoreError`].
    async fn checkpoint(&self, lease: &Lease, checkpoint: &Checkpoint) -> StoreResult<()>;

    /// Starts the attempts of a running turn anew: nothing new has come, and all
    /// is well, because the agent waits for a person.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], also when the turn has ended, or see [`StoreError`].
    async fn reset_attempts(&self, lease: &Lease) -> StoreResult<()>;

    /// Ends a running turn: one transaction writes the message's final content
    /// and the turn's terminal state, and records its one `turn.finished`
    /// event. The lease stays, for [`Store::settle`]. Where a cancel was asked
    /// for before, a completion is stored as cancelled ([`Finish::after_cancel`]).
    /// A turn that is terminal already is not changed.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or see [`StoreError`].
    async fn finish(&self, lease: &Lease, finish: &Finish) -> StoreResult<Finished>;

    /// Marks a finished turn as settled (artifacts attached, hooks run) and
    /// ends its lease. True for the one call that did it; false when it was
    /// settled before, or has not finished yet.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or see [`StoreError`].
    async fn settle(&self, lease: &Lease) -> StoreResult<bool>;

    /// Notes that a turn is to be cancelled. A queued turn that was never
    /// prompted ends right here ([`Finish::never_started`]), message and
    /// `turn.finished` event included, and is settled. One that was prompted
    /// needs a worker, who stops it upstream too.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or see [`StoreError`].
    async fn request_cancel(&self, turn: TurnId) -> StoreResult<CancelOutcome>;

    /// One turn.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn turn(&self, id: TurnId) -> StoreResult<Option<Turn>>;

    /// The events recorded for a turn, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn turn_events(&self, id: TurnId) -> StoreResult<Vec<TurnEvent>>;

    /// The oldest turn that has to be settled before this one can be claimed.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn turn_ahead(&self, id: TurnId) -> StoreResult<Option<TurnId>>;

    /// One message.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn message(&self, id: MessageId) -> StoreResult<Option<Message>>;

    /// The messages of a conversation, or of all, oldest first: at most
    /// `limit`, of those after `after`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no message `after`, or see [`StoreError`].
    async fn messages(
        &self,
        conversation: Option<ConversationId>,
        after: Option<MessageId>,
        limit: u32,
    ) -> StoreResult<Vec<Message>>;

    /// Where the messages of a conversation are, or all, oldest first: at most `limit`, of those behind the place
    /// `after` (0 is before the first). For who reads them one by one: none is in memory, and one that cannot be read
    /// hides no other.
    ///
    /// # Errors
    /// See [`StoreError`].
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
    /// [`StoreError::NotFound`] when there is no message `before`, or see [`StoreError`].
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

    /// Attaches a file to a message, unless the message has one of that name:
    /// then answers that one, whatever it holds, and changes nothing. The
    /// database sees to it that there is one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such message,
    /// [`StoreError::TooLong`] for a name over [`MAX_ATTACHMENT_NAME`], or see [`StoreError`].
    async fn attach(&self, file: &NewAttachment) -> StoreResult<Attached>;

    /// One attachment.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn attachment(&self, id: AttachmentId) -> StoreResult<Option<Attachment>>;

    /// The files of a message, in the order they were attached.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn attachments(&self, message: MessageId) -> StoreResult<Vec<Attachment>>;

    /// The bytes of all uploads of a conversation's messages, each counted as often as it was uploaded.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn uploaded_bytes(&self, conversation: ConversationId) -> StoreResult<u64>;

    /// The files attached last to a conversation's messages, newest first, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn newest_attachments(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> StoreResult<Vec<Attachment>>;

    /// Which of these digests a row names, in any order. At most a few hundred are asked about at once.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn digests_in_use(&self, digests: &[Digest]) -> StoreResult<Vec<Digest>>;

    /// Removes a file from its message; answers it, or nothing when it was not there any more.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn detach(&self, id: AttachmentId) -> StoreResult<Option<Attachment>>;
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
    /// [`StoreError::NotFound`] when the conversation was deleted meanwhile, or
    /// see [`StoreError`]. The inner error is the session another process has
    /// put there meanwhile.
    async fn set(
        self: Box<Self>,
        session: &SessionRecord,
    ) -> StoreResult<Result<(), Box<SessionRecord>>>;
}
