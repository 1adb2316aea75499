//! Where conversations, messages and turns are kept.
//!
//! A [`Store`] is eight things: [`Conversations`], the [`Queue`] of turns, [`Messages`], [`Files`], the [`Effects`] that commits
//! owe to the world outside, the [`Ledger`] of what turns use, the [`Servers`] that conversations are placed on, and the
//! [`Schedules`] that submit turns again and again.
//!
//! The turns table is the queue: queued → running (a lease: owner, generation,
//! expiry) → finished → settled. A [`Store`] promises, and the suite behind the
//! feature `conformance` proves:
//!
//! * **One at a time.** A turn is claimed only when every earlier turn of its
//!   conversation is settled; a running or finished one is claimed again only
//!   when its lease has run out.
//! * **Fencing.** Every claim raises the turn's generation. Every write of a
//!   worker names its generation and changes nothing when that is not the
//!   turn's any more: [`StoreError::LeaseLost`].
//! * **One terminal state.** [`Queue::finish`] is a compare-and-set from
//!   running. A cancel that was asked for first wins over a completion.
//! * **Idempotent submit.** The same client key in a conversation is one turn.
//! * **All or nothing.** Each method is one transaction. None is open between
//!   calls, except the row lock that [`Conversations::lock_session`] may hold, bounded
//!   in time.
//!
//! Leases expire by the store's own clock, not the worker's: on Postgres the
//! database's, which all nodes share; on SQLite the machine's, which all
//! processes on the file share.
//!
//! Every method may answer [`StoreError::Unavailable`] when the database cannot be reached or is full,
//! [`StoreError::Corrupt`] when a row cannot be read, and [`StoreError::Unexpected`] when the database refuses.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), opencode_host::store::StoreError> {
//! use opencode_host::store::{Conversations as _, MemoryStore, Tenant};
//!
//! let store = MemoryStore::default();
//! let acme = Tenant::from("acme");
//! let made = store.open_conversation(&acme, "support-42").await?;
//! let found = store.conversation_named(&acme, "support-42").await?;
//! assert_eq!(found.map(|found| found.id), Some(made.id));
//! # Ok(())
//! # }
//! ```
//!
//! # A store on tables of your own
//!
//! `opencode-sql/examples/own_store.rs` does all of this over four tables that an application had before.
//!
//! 1. Give each row a column for what is asked about it, and keep the whole of it beside as JSON
//!    ([`column::to_json`]): a field that a later version adds needs no migration then.
//! 2. Implement [`Tables`] and [`Rows`]: find rows and write them, in transactions that lock what they read. Methods with a
//!    default may be left out until they are slow. [`RowStore`] makes the store of it: what becomes of the rows, and in which
//!    order, it knows, and the host checks names, keys and sizes around it.
//! 3. Run the suite: `store_conformance!` in your tests, with the feature `conformance`. A test that fails names the promise
//!    that the store breaks.
//!
//! Where reading whole rows costs too much, implement [`Conversations`], [`Queue`], [`Messages`], [`Files`], [`Effects`],
//! [`Ledger`], [`Servers`] and [`Schedules`] yourself, in statements that change columns, as opencode-sql does.
//!
//! # Adding a method
//!
//! 1. Declare it in the trait of its noun, with what it promises. Give it a default if the other methods suffice for one:
//!    stores of others then go on to compile. What a worker writes to its running turn is no method but a kind of [`Note`].
//! 2. State the promise as a function in `conformance/`, and name it in the list of `store_conformance!`.
//! 3. Implement it: in `row_store.rs`, and in `opencode-sql/src/tables`.
//! 4. Forward it in `checked.rs`, with a bound where something comes from outside, and in `reader.rs` if it only reads.

mod announced;
mod answers;
mod attachment;
mod backlog;
mod checked;
pub mod column;
#[cfg(feature = "conformance")]
pub mod conformance;
mod conversations;
mod effects;
mod files;
mod finish;
mod ledger;
mod listing;
mod memory;
mod messages;
mod metadata;
mod queue;
mod reader;
mod row_claims;
mod row_effects;
mod row_ends;
mod row_files;
mod row_fork;
mod row_found;
mod row_ledger;
mod row_placed;
mod row_schedules;
mod row_servers;
mod row_shares;
mod row_spending;
mod row_store;
mod row_unsettled;
mod row_versions;
mod rows;
mod schedule;
mod schedules;
mod search;
mod server;
mod server_name;
mod servers;
mod session_gates;
mod session_record;
mod share;
mod submit;
mod tables;
mod tenant;
mod turn_row;
mod turn_state;
mod words;

use std::fmt;

pub use announced::{AskedRequest, WebhookEvent};
pub use answers::{AnswerOutcome, AnswerState, Given, MAX_ANSWER_BYTES, NewAnswer, RequestAnswer};
pub use attachment::{Attached, Attachment, AttachmentSource, MAX_ATTACHMENT_NAME, NewAttachment};
pub use backlog::Backlog;
pub(crate) use checked::Checked;
pub use conversations::{
    Conversation, ConversationSummary, Conversations, Forked, NewFork, SessionLock, Swapped,
    lock_in_process,
};
pub use effects::{Effect, EffectKind, Effects, HooksCalled, Lane, Take, Tried};
pub use files::Files;
pub use finish::{Finish, TurnEvent};
pub use ledger::{Account, Ledger, LedgerRow, Reserved};
pub use listing::{BadCursor, ConversationCursor, ConversationFilter, Order, Page};
pub use memory::{MemoryRows, MemoryStore, MemoryTables};
pub use messages::{Message, MessageEntry, MessageRole, MessageStatus, Messages};
pub use metadata::{MAX_METADATA_BYTES, Metadata, MetadataError};
pub use queue::{Note, Progress, Queue, Streamed};
pub use reader::Reader;
pub use row_store::RowStore;
pub use rows::{
    CancelOutcome, Claim, ClaimedTurn, Finished, Lease, LeaseStatus, PromptRecord, Turn,
    TurnStanding, TurnVersion, WorkerId,
};
pub use schedule::{MAX_MISSED, Schedule, ScheduleOutcome, ScheduleRun};
pub use schedules::Schedules;
pub use search::{
    BadSearch, MAX_SEARCH_CHARS, MAX_SEARCHED_CHARS, Search, searched_words, title_words,
};
pub use server::{Server, ServerLoad, ServerProblem, ServerReport, ServerState, Unplaced};
pub use server_name::{BadServerName, MAX_SERVER_NAME, ServerLabel, ServerName};
pub use servers::Servers;
pub use session_gates::{SessionGate, SessionGates};
pub use session_record::{Owed, SessionRecord};
pub use share::{Rate, RatePeriod, ShareUsed, TenantRow, TenantShare};
pub use submit::{NewTurn, NewUploads, OnBusy, Submitted};
pub use tables::{ConversationRow, MessageRow, Rows, Tables};
pub use tenant::{MAX_TENANT_CHARS, Tenant};
pub use turn_row::{HeldLease, TurnRow};
pub use turn_state::{ImpossibleState, Phase, StateRow, TurnState, TurnStatus, Work};
pub use words::UnknownWord;

use crate::budget::OverBudget;
use crate::id::TurnId;
pub use crate::outcome::Usage;
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
        /// `conversation`, `message`, `turn`, `server` or `schedule`.
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
        /// `conversation name`, `client key`, `tenant` or `file name`.
        what: &'static str,
        /// The most characters it may have.
        limit: usize,
    },
    /// Another conversation of the tenant has the name.
    #[error("there is a conversation {name:?} already: choose another name")]
    NameTaken {
        /// The name.
        name: String,
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
    /// Nothing is left of what the turn, its conversation or its tenant may use.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    /// The store was set up wrongly.
    #[error("{0}")]
    Configuration(String),
    /// The database refused a statement for a reason that another try does not cure.
    #[error("the database refused: {0}")]
    Unexpected(String),
}

impl StoreError {
    /// There is no such row. `what` is `conversation`, `message`, `turn`, `server` or `schedule`.
    pub fn not_found(what: &'static str, id: impl fmt::Display) -> Self {
        Self::NotFound {
            what,
            id: id.to_string(),
        }
    }

    /// Whether the same call may succeed when it is made again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::LockTimeout)
    }
}

/// The most characters a conversation's name or a client key may have.
pub const MAX_KEY_CHARS: usize = 512;

/// The most characters that the reason of a cancel may have.
pub const MAX_CANCEL_REASON: usize = 1000;

/// What a store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// Where conversations, messages and turns are kept. See the [module](self) for
/// what an implementation promises.
pub trait Store:
    Conversations + Queue + Messages + Files + Effects + Ledger + Servers + Schedules + 'static
{
}

impl<S> Store for S where
    S: Conversations + Queue + Messages + Files + Effects + Ledger + Servers + Schedules + 'static
{
}

/// A store need not be [`Debug`](fmt::Debug) for what holds it to be.
impl fmt::Debug for dyn Store + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}
