//! The library's front: what an application builds once and calls.

mod builder;
mod export;
mod prepared;
mod requests;
#[cfg(feature = "schedules")]
mod schedules;
mod servers;
mod shares;
mod spending;
mod tenant_host;
mod versions;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use opencode_client::wire::Prompt;

pub use builder::HostBuilder;
pub use export::{Export, Exported};
pub use prepared::Prepared;
pub use requests::AnswerError;
#[cfg(feature = "schedules")]
pub use schedules::{MAX_SCHEDULES, NewSchedule, ScheduleError};
pub use spending::{SpendingError, TenantSpending};
pub use tenant_host::TenantHost;
pub use watch::{LiveStream, ViewStream};

use crate::blobs::{Blobs, SweepError, Swept};
use crate::clock::Timestamp;
use crate::front::Front;
use crate::id::{ConversationId, EffectId, TurnId};
use crate::options::HostOptions;
use crate::store::{
    CancelOutcome, Conversation, Metadata, OnBusy, Reader, Store, StoreError, Submitted, Tenant,
};
use crate::turn::{Deadlines, TurnResult};
use crate::uploads::{UploadError, Uploads};

/// How long a deletion is waited for.
const DELETING: Duration = Duration::from_secs(10);

/// The front of hosted turns: takes prompts, cancels, answers and uploads, and shows what becomes of them.
///
/// A host needs its store alone. What drives the turns is a [`Worker`](crate::Worker), in this process or in
/// another one on the same store. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use opencode_host::client::wire::Prompt;
/// use opencode_host::store::{MemoryStore, Tenant};
/// use opencode_host::{Host, SubmitOptions};
///
/// let host = Host::builder(Arc::new(MemoryStore::default())).build();
/// let conversation = host.open_conversation(&Tenant::from("acme"), "support-42").await?.id;
///
/// // A form that is sent twice is one turn: the key says so.
/// let options = || SubmitOptions {
///     client_key: Some("form-7".to_owned()),
///     ..SubmitOptions::default()
/// };
/// let first = host.submit(conversation, Prompt::text("Hello"), options()).await?;
/// let again = host.submit(conversation, Prompt::text("Hello"), options()).await?;
/// assert_eq!(first.turn.id, again.turn.id);
/// assert!(!again.created);
///
/// // Nothing works on it yet: it waits in the queue, and can be cancelled there.
/// host.cancel(first.turn.id, None).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Host {
    front: Arc<Front>,
}

/// What to submit beside the prompt.
#[derive(Clone, Debug, Default)]
pub struct SubmitOptions {
    /// The same key in the same conversation is the same turn.
    pub client_key: Option<String>,
    /// What the application notes at the turn.
    pub metadata: Metadata,
    /// What to do when the conversation has unfinished turns.
    pub on_busy: OnBusy,
    /// Deadlines of this turn. Where its worker's [`Limits`](crate::turn::Limits) are shorter, those hold.
    pub deadlines: Deadlines,
    /// Of the tenant's queued turns that may begin, one of the highest priority is claimed first, and of those the oldest. It
    /// says nothing about turns of other tenants, nor about those before it in its conversation. Default 0.
    pub priority: i8,
    /// The turn is not claimed before this moment, by the store's clock. It is in the queue meanwhile: it can be cancelled, it
    /// keeps its place in its conversation, and those behind it wait with it. Default: none.
    pub not_before: Option<Timestamp>,
    /// The files that come with the prompt; see [`Host::uploads`].
    pub uploads: Option<Uploads>,
    /// The turn of the conversation whose place the new one takes, as with [`Host::edit`]. Default: none, so that the turn
    /// goes on from the last one that is shown.
    pub instead_of: Option<TurnId>,
}

/// Why a prompt was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// There are no words in it.
    #[error("the prompt is empty: write what you want to ask")]
    Empty,
    /// It is too long.
    #[error(
        "the prompt has {bytes} bytes, and {limit} are allowed: shorten it, or give the text as a file"
    )]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// It would have no time at all.
    #[error("the turn's deadline {deadline:?} is zero: give it time, or leave the deadline out")]
    NoTime {
        /// Which deadline.
        deadline: &'static str,
    },
    /// The application could not say what it may cost ([`Budgets`](crate::budgets::Budgets)).
    #[error("what the turn may cost could not be looked up: try again")]
    NoBudget,
    /// The files that came with it were not kept.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Refuses a prompt without words, and one of more than `limit` bytes, as [`Host::submit`] does before it writes
/// anything.
///
/// # Errors
/// [`SubmitError::Empty`] or [`SubmitError::TooLong`].
pub fn check_prompt(text: &str, limit: usize) -> Result<(), SubmitError> {
    let bytes = text.len();
    if text.trim().is_empty() {
        return Err(SubmitError::Empty);
    }
    if bytes > limit {
        return Err(SubmitError::TooLong { bytes, limit });
    }
    Ok(())
}

impl Host {
    /// Starts a host of the turns that `store` keeps.
    pub fn builder(store: Arc<dyn Store>) -> HostBuilder {
        HostBuilder::new(store)
    }

    /// Queues a turn: the person's message, a pending answer and the turn
    /// itself, in one transaction. Any worker on the store takes it up.
    ///
    /// # Errors
    /// See [`SubmitError`]; [`StoreError::OverBudget`] where nothing is left of what [`HostBuilder::budgets`] says. Nothing
    /// was written then.
    pub async fn submit(
        &self,
        conversation: ConversationId,
        prompt: Prompt,
        options: SubmitOptions,
    ) -> Result<Submitted, SubmitError> {
        let prepared = self.prepare(conversation, prompt, options).await?;
        match self.front.store.submit(&prepared).await {
            Ok(submitted) => {
                prepared.submitted(submitted.created).await;
                Ok(submitted)
            }
            Err(error) => {
                // Whether it was written is not known then.
                let may_be_there =
                    error.is_transient() || matches!(error, StoreError::Unexpected(_));
                prepared.submitted(may_be_there).await;
                Err(error.into())
            }
        }
    }

    /// Checks a prompt as [`Host::submit`] does, keeps its files, and makes the turn of it, to be submitted in a
    /// transaction of the application's own: with the `submit_in` of a store of opencode-sql. Say
    /// [`Prepared::committed`] behind the commit.
    ///
    /// # Errors
    /// See [`SubmitError`]. The store is not asked: what it refuses, it refuses in the transaction.
    /// [`StoreError::LockTimeout`] where another prompt with files was prepared for this conversation, and is not
    /// submitted within 30 s.
    pub async fn prepare(
        &self,
        conversation: ConversationId,
        prompt: Prompt,
        options: SubmitOptions,
    ) -> Result<Prepared, SubmitError> {
        Prepared::new(&self.front, conversation, prompt, options).await
    }

    /// Has the workers of this process look for turns at once, and not at their next look: behind the commit of a
    /// transaction that the application submitted one in. Workers of other processes hear of it by the store, where
    /// it can tell them.
    pub fn wake(&self) {
        self.front.queue_changed.notify_waiters();
    }

    /// Cancels a turn, wherever it runs: the row first, then its worker stops
    /// it upstream and keeps what had come.
    ///
    /// `reason` says why, or who did it, in the application's words. It is kept with the turn, and is in its
    /// [`TurnResult`] and in its `turn.finished` event. The first cancel's stays.
    ///
    /// # Errors
    /// [`StoreError::TooLong`] for a reason of more than [`MAX_CANCEL_REASON`](crate::store::MAX_CANCEL_REASON)
    /// characters, [`StoreError::NotFound`] without the turn; see [`StoreError`].
    pub async fn cancel(
        &self,
        turn: TurnId,
        reason: Option<&str>,
    ) -> Result<CancelOutcome, StoreError> {
        let outcome = self.front.store.request_cancel(turn, reason).await?;
        match outcome {
            CancelOutcome::Requested => {
                for worker in self.front.workers() {
                    worker.cancel(turn);
                }
            }
            CancelOutcome::Cancelled => {
                self.front.live.turn(turn).finish();
                self.front.queue_changed.notify_waiters();
            }
            CancelOutcome::Already(_) => {}
        }
        Ok(outcome)
    }

    /// Deletes a conversation. Answers whether there was one.
    ///
    /// Its rows, with all turns, messages and attachments, go at once, in one transaction: whoever runs a turn of it
    /// loses the lease with them, and stops. What is outside the database is noted in that transaction, and a worker
    /// does it, tries it again while it fails, and once more when the last lease on a turn of it has ended: its session and
    /// those of its sub-agents are stopped, the session is deleted upstream, and its sandbox is removed.
    /// [`Reader::effects`] lists what is not done. Where this process has a worker, the first try is over when this
    /// returns (about 5 s at most).
    ///
    /// The bytes of its files go with the next [sweep](Host::sweep_blobs), unless another
    /// message has the same.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing was deleted then.
    pub async fn delete_conversation(&self, id: ConversationId) -> Result<bool, StoreError> {
        let store = &self.front.store;
        let Some(deleted) = store.delete_conversation(id, None).await? else {
            return Ok(false);
        };
        self.front.effect_noted.notify_waiters();
        // What is on a server is its own workers'.
        let server = deleted.server_of_session();
        let workers = self.front.workers();
        let mut able = workers.iter();
        if let Some(worker) = able.find(|worker| server.is_none_or(|of| of == worker.server())) {
            worker.do_effect(id.into(), DELETING).await;
        }
        Ok(true)
    }

    /// Has workers try an effect again that was [given up](crate::store::Effect::is_given_up), as often as a new one.
    /// Answers whether there was one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn retry_effect(&self, id: EffectId) -> Result<bool, StoreError> {
        let is_due = self.front.store.retry_effect(id).await?;
        if is_due {
            self.front.effect_noted.notify_waiters();
        }
        Ok(is_due)
    }

    /// What came of a turn; `None` while it has not ended.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such turn; see [`StoreError`].
    pub async fn result(&self, turn: TurnId) -> Result<Option<TurnResult>, StoreError> {
        let missing = || StoreError::NotFound {
            what: "turn",
            id: turn.to_string(),
        };
        let store = &self.front.store;
        let turn = store.turn(turn).await?.ok_or_else(missing)?;
        let message = store.message(turn.message).await?.ok_or_else(missing)?;
        let artifacts = store.attachments(turn.message).await?;
        Ok(TurnResult::of(&turn, &message, artifacts))
    }

    /// Removes bytes that are older than `age` and that no message names, and
    /// uploads that were never finished. Nothing without blobs.
    ///
    /// # Errors
    /// See [`SweepError`].
    pub async fn sweep_blobs(&self, age: Duration) -> Result<Swept, SweepError> {
        self.front.sweep_blobs(age).await
    }

    /// What the host takes from people, and how it follows other processes.
    pub fn options(&self) -> &HostOptions {
        &self.front.options
    }

    /// Where the bytes of files are kept, if anywhere.
    pub fn blobs(&self) -> Option<&Blobs> {
        self.front.blobs.as_ref()
    }

    /// Begins to take files for a prompt of this conversation.
    ///
    /// # Errors
    /// [`UploadError::NotConfigured`] without blobs or sandboxes.
    #[expect(
        clippy::unused_async,
        reason = "applications await it, and a store may have to be asked again"
    )]
    pub async fn uploads(&self, conversation: ConversationId) -> Result<Uploads, UploadError> {
        Uploads::begin(&self.front, Some(conversation))
    }

    /// Begins to take files for the first prompt of a conversation that is yet to be opened.
    ///
    /// # Errors
    /// As [`Host::uploads`].
    pub fn uploads_of_new_conversation(&self) -> Result<Uploads, UploadError> {
        Uploads::begin(&self.front, None)
    }

    pub(crate) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    /// Opens the tenant's conversation of this name, made when there is none. Names are unique within a tenant.
    ///
    /// # Errors
    /// [`StoreError::TooLong`] for a name of more than [`MAX_KEY_CHARS`](crate::store::MAX_KEY_CHARS) characters, and a
    /// tenant of more than [`MAX_TENANT_CHARS`](crate::store::MAX_TENANT_CHARS).
    pub async fn open_conversation(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Conversation, StoreError> {
        self.front.store.open_conversation(tenant, name).await
    }

    /// Notes `metadata` at the conversation, in the place of what was noted before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the conversation.
    pub async fn set_metadata(
        &self,
        conversation: ConversationId,
        metadata: &Metadata,
    ) -> Result<(), StoreError> {
        let store = &self.front.store;
        store.set_metadata(conversation, metadata).await
    }

    /// The store, for reading.
    pub fn store(&self) -> &Reader {
        &self.front.reader
    }
}
