//! What a store holds of turns, typed. Conversations, messages and files are beside their traits.

use std::fmt;
use std::time::Duration;

use opencode_client::reply::Checkpoint;
use opencode_client::wire::Prompt;
use opencode_client::{PromptIds, SessionId};
use serde::{Deserialize, Serialize};

use super::{Conversation, Finish, MessageStatus, NewUploads, Phase, TurnState};
use crate::clock::{Clock, Timestamp};
use crate::id::{ConversationId, MessageId, TurnId};

/// A worker's name, unique among all that run: host, process, number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub String);

impl From<&str> for WorkerId {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<String> for WorkerId {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnStatus {
    /// With an answer.
    Completed,
    /// By the person.
    Cancelled,
    /// With an error that has a name: upstream, empty, interrupted, a deadline.
    Error,
    /// With something unexpected.
    Failed,
}

impl TurnStatus {
    /// What the turn's message becomes.
    pub fn message_status(self) -> MessageStatus {
        match self {
            Self::Completed => MessageStatus::Completed,
            Self::Cancelled => MessageStatus::Cancelled,
            Self::Error | Self::Failed => MessageStatus::Error,
        }
    }
}

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
    /// What to do when the conversation has unfinished turns.
    pub on_busy: OnBusy,
    /// What the prompt was made of, where files came with it.
    pub uploads: Option<NewUploads>,
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
            on_busy: OnBusy::Enqueue,
            uploads: None,
        }
    }
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

/// A turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Turn {
    /// The row.
    pub id: TurnId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The message it answers.
    pub user_message: MessageId,
    /// The message it fills.
    pub message: MessageId,
    /// What is asked.
    pub prompt: Prompt,
    /// The client's key, if it gave one.
    pub client_key: Option<String>,
    /// How far it is, and when what had happened.
    #[serde(flatten)]
    pub state: TurnState,
    /// How often it was claimed. A worker's writes name the claim they belong to.
    pub generation: u64,
    /// How often it was claimed since its last progress, claims that were given back aside.
    pub attempts: u32,
    /// The prompt as it was, or was about to be, posted.
    pub prompted: Option<PromptRecord>,
    /// How often a fresh session was prompted again.
    pub resends: u32,
    /// The session that the server lost during this turn and that was replaced. A turn replaces one.
    pub replaced: Option<SessionId>,
    /// Whether the turn's worker cannot reach the server at the moment.
    pub unreachable: bool,
    /// What had streamed when it was last written down.
    pub checkpoint: Checkpoint,
    /// When it was submitted.
    pub created_at: Timestamp,
}

impl Turn {
    /// A turn as it is submitted.
    pub fn queued(new: &NewTurn, now: Timestamp) -> Self {
        Self {
            client_key: new.client_key.clone(),
            ..Self::new(
                new.id,
                new.conversation,
                new.user_message,
                new.message,
                new.prompt.clone(),
                now,
            )
        }
    }

    /// Whether nothing more comes of the turn: it is settled, or it was cancelled before it was prompted, so that only
    /// its hooks are left to run.
    pub fn is_over(&self) -> bool {
        match self.phase() {
            Phase::Queued | Phase::Running => false,
            Phase::Finished { status, settled } => {
                settled || (status == TurnStatus::Cancelled && self.prompted.is_none())
            }
        }
    }

    /// How far it is, without times.
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// When it was claimed first.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.state.work().map(|work| work.started_at)
    }

    /// When there was progress last.
    pub fn progress_at(&self) -> Option<Timestamp> {
        self.state.work()?.progress_at
    }

    /// When a cancel was asked for.
    pub fn cancel_requested_at(&self) -> Option<Timestamp> {
        self.state.cancel_requested_at()
    }

    /// When it ended.
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.state.finished_at()
    }

    /// A queued turn that nobody has claimed yet.
    pub fn new(
        id: TurnId,
        conversation: ConversationId,
        user_message: MessageId,
        message: MessageId,
        prompt: Prompt,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            conversation,
            user_message,
            message,
            prompt,
            client_key: None,
            state: TurnState::Queued,
            generation: 0,
            attempts: 0,
            prompted: None,
            resends: 0,
            replaced: None,
            unreachable: false,
            checkpoint: Checkpoint::default(),
            created_at,
        }
    }
}

/// The session and ids of a prompt: written before the post, so that nobody
/// posts it as another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PromptRecord {
    /// The session.
    pub session: SessionId,
    /// The ids.
    pub ids: PromptIds,
    /// Whether this replaces a prompt in a session that the server has lost.
    #[serde(default)]
    pub resend: bool,
}

impl PromptRecord {
    /// A prompt that replaces none.
    pub fn new(session: SessionId, ids: PromptIds) -> Self {
        Self {
            session,
            ids,
            resend: false,
        }
    }
}

/// What a worker asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// Who asks.
    pub worker: WorkerId,
    /// How long the turn is theirs without renewal.
    pub lease: Duration,
    /// Only this turn, if it can be had.
    pub only: Option<TurnId>,
}

impl Claim {
    /// A claim of any turn.
    pub fn new(worker: impl Into<WorkerId>, lease: Duration) -> Self {
        Self {
            worker: worker.into(),
            lease,
            only: None,
        }
    }

    /// This claim, of one turn only.
    #[must_use]
    pub fn only(self, turn: TurnId) -> Self {
        Self {
            only: Some(turn),
            ..self
        }
    }
}

/// A claimed turn.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimedTurn {
    /// What to name in every write.
    pub lease: Lease,
    /// The turn as claimed.
    pub turn: Turn,
    /// Its conversation.
    pub conversation: Conversation,
    /// The store's time of the claim.
    pub now: Timestamp,
}

impl ClaimedTurn {
    /// A turn that was claimed at `now`.
    pub fn new(lease: Lease, turn: Turn, conversation: Conversation, now: Timestamp) -> Self {
        Self {
            lease,
            turn,
            conversation,
            now,
        }
    }
}

/// The right to write to a turn: good while the generation is the turn's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The turn.
    pub turn: TurnId,
    /// The claim.
    pub generation: u64,
}

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStatus {
    /// It is good.
    Held {
        /// Whether a cancel was asked for.
        cancel_requested: bool,
        /// Whether there are answers to send ([`AnswerState::is_open`](super::AnswerState::is_open)).
        answers: bool,
    },
    /// Another worker has the turn, or it is gone.
    Lost,
}

/// What became of a finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Stored, with this status: a cancel that came first turns a completion into cancelled.
    Stored(TurnStatus),
    /// It had this status already.
    Already(TurnStatus),
}

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It was queued, and is cancelled now.
    Cancelled,
    /// It runs, or did; its worker will stop it.
    Requested,
    /// It had ended before.
    Already(TurnStatus),
}

/// A traced event that is part of the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnEvent {
    /// The event, such as `turn.finished`.
    pub name: String,
    /// Its payload.
    pub payload: serde_json::Value,
    /// When.
    pub at: Timestamp,
}

impl TurnEvent {
    /// An event.
    pub fn new(name: impl Into<String>, payload: serde_json::Value, at: Timestamp) -> Self {
        Self {
            name: name.into(),
            payload,
            at,
        }
    }

    /// The event that records a turn's end.
    pub fn end(finish: &Finish, now: Timestamp) -> Self {
        Self {
            name: Finish::EVENT.to_owned(),
            payload: finish.event(),
            at: now,
        }
    }
}
