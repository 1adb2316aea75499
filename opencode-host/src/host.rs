//! The library's front: what an application builds once and calls.

mod builder;
mod guard;
mod hosted;
mod requests;
mod watch;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opencode_client::reply::Observer;
use opencode_client::wire::Prompt;
use opencode_client::{Client, Error as ClientError, EventHub};
use tokio::sync::Notify;

pub use builder::{BuildError, HostBuilder};
pub use requests::AnswerError;
pub use watch::{LiveStream, ViewStream};
pub use worker::WorkerError;

use crate::blobs::{Blobs, SweepError, Swept};
use crate::clock::Clock;
use crate::id::{ConversationId, MessageId, TurnId};
use crate::live::LiveTurns;
use crate::product::Product;
use crate::reporter::Severity;
use crate::sandbox::{self, SandboxRoot};
use crate::session::Session;
use crate::store::{
    CancelOutcome, Conversation, NewTurn, OnBusy, Reader, Store, StoreError, Submitted, Turn,
    WorkerId,
};
use crate::sub_agents::SubAgents;
use crate::telemetry::Telemetry;
use crate::turn::control::Control;
use crate::turn::plan::Limits;
use crate::turn::{DEFAULT_MAX_TRANSCRIPT, TurnResult};
use crate::uploads::{DEFAULT_MAX_UPLOAD, DEFAULT_UPLOAD_QUOTA, UploadError, Uploads};

/// The largest prompt, in bytes of text, unless the options say otherwise.
pub const DEFAULT_MAX_PROMPT: usize = 1 << 20;

/// How long the server is given to let go of a deleted conversation's session.
pub(crate) const REMOVING: Duration = Duration::from_secs(5);

/// How a host behaves.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The limits of a turn.
    pub limits: Limits,
    /// How long a turn belongs to a worker that says nothing. Default 15 s.
    pub lease: Duration,
    /// How often a running reply is written down at most. Default 1 s.
    pub snapshot_interval: Duration,
    /// How often a worker looks for turns and cancels of other processes. Default 500 ms.
    pub poll_interval: Duration,
    /// How many turns a worker runs at once. Default 2048.
    pub concurrency: usize,
    /// The largest prompt, in bytes of text.
    pub max_prompt: usize,
    /// Maximum size in bytes of the transcript that a session gets which takes the place of a lost or unreadable one.
    /// Default 32 KiB. What does not fit is cut, the oldest first, and the transcript says so; below 1 KiB there is
    /// none.
    pub max_transcript: usize,
    /// The largest upload, in bytes. Default 50 MiB.
    pub max_upload: u64,
    /// The most bytes that all uploads of one conversation may have together. Default 1 GiB.
    pub upload_quota: u64,
    /// The age at which a worker removes bytes that no message names, once an hour;
    /// `None` for never. Only where no other store names the same blobs. Default: never.
    pub sweep: Option<Duration>,
    /// A server silent for so long does not stop the clock of a turn that waits for a person.
    pub heartbeat_limit: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            lease: Duration::from_secs(15),
            snapshot_interval: Duration::from_secs(1),
            poll_interval: Duration::from_millis(500),
            concurrency: 2048,
            max_prompt: DEFAULT_MAX_PROMPT,
            max_transcript: DEFAULT_MAX_TRANSCRIPT,
            max_upload: DEFAULT_MAX_UPLOAD,
            upload_quota: DEFAULT_UPLOAD_QUOTA,
            sweep: None,
            heartbeat_limit: Duration::from_secs(45),
        }
    }
}

/// Makes an observer for a turn that starts.
pub(crate) type MakeObserver = Box<dyn Fn(&Turn) -> Box<dyn Observer> + Send + Sync>;

/// Hosts OpenCode turns. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host {
    shared: Arc<Shared>,
}

/// What all clones of a host, its workers and turns share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) hub: EventHub,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) reader: Reader,
    pub(crate) product: Arc<dyn Product>,
    pub(crate) sub_agents: SubAgents,
    pub(crate) telemetry: Telemetry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: HostOptions,
    pub(crate) observers: Vec<MakeObserver>,
    pub(crate) blobs: Option<Blobs>,
    pub(crate) sandboxes: Option<SandboxRoot>,
    pub(crate) live: LiveTurns,
    pub(crate) worker: WorkerId,
    pub(crate) running: Mutex<HashMap<TurnId, Control>>,
    /// Files are given their names in sandboxes by one submit at a time.
    pub(crate) placing: tokio::sync::Mutex<()>,
    /// A turn was submitted or settled in this process.
    pub(crate) queue_changed: Notify,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("server", &self.client.server())
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// What to submit beside the prompt.
#[derive(Clone, Debug, Default)]
pub struct SubmitOptions {
    /// The same key in the same conversation is the same turn.
    pub client_key: Option<String>,
    /// What to do when the conversation has unfinished turns.
    pub on_busy: OnBusy,
    /// The files that come with the prompt; see [`Host::uploads`].
    pub uploads: Option<Uploads>,
}

/// Why a prompt was not taken.
#[derive(Debug, thiserror::Error)]
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
    /// The files that came with it were not kept.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Host {
    /// Starts a host of turns on `client`'s server, kept in `store`.
    pub fn builder(client: Client, store: Arc<dyn Store>) -> HostBuilder {
        HostBuilder::new(client, store)
    }

    /// Queues a turn: the person's message, a pending answer and the turn
    /// itself, in one transaction. Any worker on the store takes it up.
    ///
    /// # Errors
    /// See [`SubmitError`]. Nothing was written then.
    pub async fn submit(
        &self,
        conversation: ConversationId,
        prompt: Prompt,
        options: SubmitOptions,
    ) -> Result<Submitted, SubmitError> {
        let (bytes, limit) = (prompt.text.len(), self.shared.options.max_prompt);
        if prompt.text.trim().is_empty() {
            return Err(SubmitError::Empty);
        }
        if bytes > limit {
            return Err(SubmitError::TooLong { bytes, limit });
        }
        let mut prompt = prompt;
        let (mut uploads, mut placed, mut alone) = (None, None, None);
        if let Some(files) = options.uploads {
            // A second submit of the same files finds those of the first, which must not be taken back meanwhile.
            alone = Some(self.shared.placing.lock().await);
            let kept = files.keep(conversation, &prompt.text).await?;
            prompt.text = kept.text;
            uploads = Some(kept.uploads);
            placed = Some(kept.placed);
        }
        let clock = &self.shared.clock;
        let turn = NewTurn {
            id: TurnId::from_uuid(clock.new_uuid()),
            user_message: MessageId::from_uuid(clock.new_uuid()),
            message: MessageId::from_uuid(clock.new_uuid()),
            conversation,
            prompt,
            client_key: options.client_key,
            on_busy: options.on_busy,
            uploads,
        };
        let submitted = self.shared.store.submit(&turn).await;
        let is_refused = match &submitted {
            Ok(submitted) => !submitted.created,
            // Whether it was written is not known then.
            Err(error) => !error.is_transient() && !matches!(error, StoreError::Unexpected(_)),
        };
        if let Some(placed) = placed.filter(|_| is_refused) {
            let taken_back = sandbox::blocking(move || {
                placed.take_back();
                Ok(())
            });
            // It has said already what went wrong.
            let _ = taken_back.await;
        }
        drop(alone);
        let submitted = submitted?;
        self.shared.queue_changed.notify_waiters();
        Ok(submitted)
    }

    /// Cancels a turn, wherever it runs: the row first, then its worker stops
    /// it upstream and keeps what had come.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn cancel(&self, turn: TurnId) -> Result<CancelOutcome, StoreError> {
        let outcome = self.shared.store.request_cancel(turn).await?;
        match outcome {
            CancelOutcome::Requested => {
                let running = self.shared.running();
                if let Some(control) = running.get(&turn) {
                    control.order(|orders| orders.cancel = true);
                }
            }
            CancelOutcome::Cancelled => {
                self.shared.live.turn(turn).finish();
                self.shared.queue_changed.notify_waiters();
            }
            CancelOutcome::Already(_) => {}
        }
        Ok(outcome)
    }

    /// Deletes a conversation. Answers whether there was one.
    ///
    /// Its rows, with all turns, messages and attachments, go at once, in one transaction: whoever runs a turn of it
    /// loses the lease with them, and stops. The rest is attempted once, before this returns: its session and those
    /// of its sub-agents are stopped, the session is deleted upstream (5 s at most for both), and its sandbox is
    /// removed. What of that fails is reported and not tried again: the session stays on the server, the folder on the
    /// disk.
    ///
    /// The bytes of its files go with the next [sweep](Host::sweep_blobs), unless another
    /// message has the same.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing was deleted then.
    pub async fn delete_conversation(&self, id: ConversationId) -> Result<bool, StoreError> {
        let shared = &self.shared;
        // The rows first: whoever runs a turn of it loses its lease with them.
        let Some(conversation) = shared.store.delete_conversation(id).await? else {
            return Ok(false);
        };
        if let Some(session) = &conversation.session {
            let client = shared
                .client
                .with_patience(shared.options.limits.pace.answer);
            let sessions = Session {
                client: &client,
                store: &*shared.store,
                product: &*shared.product,
                sub_agents: &shared.sub_agents,
                telemetry: &shared.telemetry,
            };
            let removing = sessions.remove(id, session);
            if tokio::time::timeout(REMOVING, removing).await.is_err() {
                let context = [("action", "session.remove".into())];
                let late = ClientError::Timeout {
                    call: "DELETE /session".to_owned(),
                    seconds: REMOVING.as_secs(),
                };
                shared.telemetry.report(&late, Severity::Warning, context);
            }
        }
        if let (Some(root), Ok(sandbox)) = (shared.sandboxes.clone(), id.to_string().parse())
            && let Err(error) = sandbox::blocking(move || root.remove(&sandbox)).await
        {
            let context = [("action", "sandbox.remove".into())];
            shared.telemetry.report(&error, Severity::Warning, context);
        }
        Ok(true)
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
        let turn = self.shared.store.turn(turn).await?.ok_or_else(missing)?;
        let message = self
            .shared
            .store
            .message(turn.message)
            .await?
            .ok_or_else(missing)?;
        let artifacts = self.shared.store.attachments(turn.message).await?;
        Ok(TurnResult::of(&turn, &message, artifacts))
    }

    /// Removes bytes that are older than `age` and that no message names, and
    /// uploads that were never finished. Nothing without blobs.
    ///
    /// # Errors
    /// See [`SweepError`].
    pub async fn sweep_blobs(&self, age: Duration) -> Result<Swept, SweepError> {
        match &self.shared.blobs {
            Some(blobs) => blobs.sweep(&*self.shared.store, age).await,
            None => Ok(Swept::default()),
        }
    }

    /// Where the bytes of files are kept, if anywhere.
    pub fn blobs(&self) -> Option<&Blobs> {
        self.shared.blobs.as_ref()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Opens the conversation of this name, made when there is none. Names are unique.
    ///
    /// # Errors
    /// [`StoreError::TooLong`] for a name of more than [`MAX_KEY_CHARS`](crate::store::MAX_KEY_CHARS) characters.
    pub async fn open_conversation(&self, name: &str) -> Result<Conversation, StoreError> {
        self.shared.store.open_conversation(name).await
    }

    /// The store, for reading.
    pub fn store(&self) -> &Reader {
        &self.shared.reader
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }
}

impl Shared {
    pub(crate) fn running(&self) -> std::sync::MutexGuard<'_, HashMap<TurnId, Control>> {
        self.running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
