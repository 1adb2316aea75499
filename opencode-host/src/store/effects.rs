//! What a commit owes to the world outside the database: noted in the same transaction, done behind it, and tried again
//! until it is done.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{SessionRecord, StoreResult, Tenant};
use crate::clock::Timestamp;
use crate::id::{ConversationId, EffectId};

/// What a commit owes to the world outside the database.
///
/// # Errors
///
/// What every method of a store may answer is said in the [module](super).
#[async_trait]
pub trait Effects: Send + Sync {
    /// Takes the effect that is due longest, of those that are not given up, and puts its next try `lease` from now: it is
    /// its taker's until then. One whose next try was set by a clock that was put back since is due too.
    async fn take_effect(&self, lease: Duration) -> StoreResult<Option<Effect>>;

    /// Says what became of a try. Nothing where the effect was taken again since, or is gone.
    async fn settle_effect(&self, taken: &Effect, tried: &Tried) -> StoreResult<()>;

    /// The effects that are not done, oldest first, at most `limit`.
    async fn effects(&self, limit: u32) -> StoreResult<Vec<Effect>>;
}

/// Something to be done that is not done yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Effect {
    /// The row. Each try has the same one: what is told to others carries it, so that they know a second telling.
    pub id: EffectId,
    /// Whose it is.
    pub tenant: Tenant,
    /// What is to be done.
    #[serde(flatten)]
    pub kind: EffectKind,
    /// When it was noted.
    pub created_at: Timestamp,
    /// When [`due_at`](Self::due_at) was set.
    pub set_at: Timestamp,
    /// From when on it is to be tried; `None` where it is given up.
    pub due_at: Option<Timestamp>,
    /// How often it was taken to be tried.
    pub attempts: u32,
    /// What kept the last try from succeeding.
    pub error: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EffectKind {
    /// A conversation was deleted: its session goes upstream, then its folder.
    Deletion {
        /// The conversation.
        conversation: ConversationId,
        /// The session it had.
        session: Option<SessionRecord>,
        /// Until then a worker may be at a turn of it, and may make anew what was removed: it is done once it was done
        /// behind that.
        until: Timestamp,
    },
}

impl EffectKind {
    /// Its word: `deletion`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Deletion { .. } => "deletion",
        }
    }
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deletion { conversation, .. } => {
                write!(f, "deletion of conversation {conversation}")
            }
        }
    }
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tried {
    /// It is done: the row goes.
    Done,
    /// It is to be tried again.
    Again {
        /// How long from now.
        after: Duration,
        /// What kept it, if anything did.
        error: Option<String>,
    },
    /// It is not tried again.
    GivenUp {
        /// What kept it.
        error: String,
    },
}

impl Effect {
    /// Something to be done from now on.
    pub fn new(id: EffectId, tenant: &Tenant, kind: EffectKind, now: Timestamp) -> Self {
        Self {
            id,
            tenant: tenant.clone(),
            kind,
            created_at: now,
            set_at: now,
            due_at: Some(now),
            attempts: 0,
            error: None,
        }
    }

    /// Whether it is to be tried now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due_at
            .is_some_and(|due_at| due_at <= now || self.set_at > now)
    }

    /// It is taken, for so long.
    pub fn take(&mut self, lease: Duration, now: Timestamp) {
        self.attempts = self.attempts.saturating_add(1);
        self.set_at = now;
        self.due_at = Some(now.after(lease));
    }

    /// It was tried; `None` if it is done.
    #[must_use]
    pub fn tried(self, tried: &Tried, now: Timestamp) -> Option<Self> {
        let (due_at, error) = match tried {
            Tried::Done => return None,
            Tried::Again { after, error } => (Some(now.after(*after)), error.clone()),
            Tried::GivenUp { error } => (None, Some(error.clone())),
        };
        Some(Self {
            set_at: now,
            due_at,
            error,
            ..self
        })
    }
}
