//! What a store holds of turns, typed. Conversations, messages and files are beside their traits.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use opencode_client::reply::Checkpoint;
use opencode_client::wire::Prompt;
use opencode_client::{PromptIds, SessionId};
use serde::{Deserialize, Serialize};

use super::{Conversation, Metadata, Phase, ServerName, TenantShare, TurnState, TurnStatus};
use crate::clock::Timestamp;
use crate::id::{ConversationId, MessageId, TurnId};
use crate::turn::Deadlines;

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
    /// What the application has noted at it.
    #[serde(default)]
    pub metadata: Metadata,
    /// Its own deadlines, tighter than those of its worker.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// Of the tenant's queued turns that may begin, one of the highest priority is claimed first.
    #[serde(default)]
    pub priority: i8,
    /// It is not claimed before, by the store's clock.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Why it was cancelled, or by whom, as the first cancel said.
    #[serde(default)]
    pub cancel_reason: Option<String>,
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
    /// The turn that it goes on from; `None` where it begins its conversation. Turns of one conversation with the same
    /// parent are [versions](super::Messages::versions) of each other.
    #[serde(default)]
    pub parent: Option<TurnId>,
    /// When it was submitted.
    pub created_at: Timestamp,
}

/// How a turn stands, for those who watch it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnStanding {
    /// [`Turn::is_over`].
    pub over: bool,
    /// [`Turn::generation`].
    pub generation: u64,
    /// [`Turn::unreachable`].
    pub unreachable: bool,
    /// [`Turn::progress_at`]: as long as it is the same, nothing more was saved of the reply.
    pub progress_at: Option<Timestamp>,
}

impl TurnStanding {
    /// How this turn stands.
    pub fn of(turn: &Turn) -> Self {
        Self {
            over: turn.is_over(),
            generation: turn.generation,
            unreachable: turn.unreachable,
            progress_at: turn.progress_at(),
        }
    }
}

impl Turn {
    /// Whether nothing more comes of the turn: it is settled, or it was cancelled before it was prompted, so that only
    /// its hooks are left to be called.
    pub fn is_over(&self) -> bool {
        match self.phase() {
            Phase::Queued | Phase::Running => false,
            Phase::Finished { status, settled } => {
                settled || (status == TurnStatus::Cancelled && self.prompted.is_none())
            }
        }
    }

    /// Whether it ended with an error.
    pub fn has_failed(&self) -> bool {
        matches!(
            self.phase(),
            Phase::Finished {
                status: TurnStatus::Error | TurnStatus::Failed,
                ..
            }
        )
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
            deadlines: Deadlines::default(),
            priority: 0,
            not_before: None,
            cancel_reason: None,
            metadata: Metadata::default(),
            state: TurnState::Queued,
            generation: 0,
            attempts: 0,
            prompted: None,
            resends: 0,
            replaced: None,
            unreachable: false,
            checkpoint: Checkpoint::default(),
            parent: None,
            created_at,
        }
    }
}

/// One of the turns that go on from the same place of a conversation: one is made when an earlier turn is answered
/// again, or its prompt edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnVersion {
    /// The turn.
    pub turn: TurnId,
    /// The message it answers.
    pub user_message: MessageId,
    /// The message it fills.
    pub message: MessageId,
    /// Whether it is the one that the conversation shows.
    pub shown: bool,
    /// When it was submitted.
    pub created_at: Timestamp,
}

impl TurnVersion {
    /// A turn with its user message and the message it fills, and whether it is shown.
    pub fn new(
        turn: TurnId,
        [user_message, message]: [MessageId; 2],
        shown: bool,
        created_at: Timestamp,
    ) -> Self {
        Self {
            turn,
            user_message,
            message,
            shown,
            created_at,
        }
    }
}

/// The session and ids of a prompt: written before the post, so that nobody
/// posts it as another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PromptRecord {
    /// The session.
    pub session: SessionId,
    /// The server that the session is on; `None` in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The ids.
    pub ids: PromptIds,
    /// Whether this replaces a prompt in a session that the server has lost.
    #[serde(default)]
    pub resend: bool,
    /// What is posted in the place of the turn's prompt, where the product has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Box<Prompt>>,
}

impl PromptRecord {
    /// A prompt that replaces none.
    pub fn new(session: SessionId, ids: PromptIds) -> Self {
        Self {
            session,
            server: None,
            ids,
            resend: false,
            changed: None,
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
    /// Only turns that this server's workers may have; any without it.
    pub server: Option<ServerName>,
    /// How many turns may run on that server at once; `None` for no bound.
    pub capacity: Option<NonZeroU32>,
    /// The share of tenants whose share is not [set](super::Queue::set_tenant_share).
    pub share: TenantShare,
}

impl Claim {
    /// A claim of any turn.
    pub fn new(worker: impl Into<WorkerId>, lease: Duration) -> Self {
        Self {
            worker: worker.into(),
            lease,
            only: None,
            server: None,
            capacity: None,
            share: TenantShare::default(),
        }
    }

    /// This claim, for a server on which so many turns may run at once: of turns that are placed there; and of those that
    /// need no server any more, which are placed nowhere and were prompted on one that is gone, or have ended. Nothing
    /// while the server is gone. The bound is for queued turns.
    #[must_use]
    pub fn on(self, server: &ServerName, capacity: Option<NonZeroU32>) -> Self {
        Self {
            server: Some(server.clone()),
            capacity,
            ..self
        }
    }

    /// This claim, with the share of tenants whose share is not set.
    #[must_use]
    pub fn share(self, share: TenantShare) -> Self {
        Self { share, ..self }
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

    /// Whether the turn was prompted, on another server than this one.
    pub fn was_prompted_elsewhere(&self, server: &ServerName) -> bool {
        let Some(prompted) = &self.turn.prompted else {
            return false;
        };
        match (&prompted.server, &self.conversation.session) {
            (Some(of), _) => of != server,
            // A record of an earlier version: the session's says it, once the conversation was moved.
            (None, Some(session)) => session.id == prompted.session && session.is_elsewhere(server),
            (None, None) => false,
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
