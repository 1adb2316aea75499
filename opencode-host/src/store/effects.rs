//! What a commit owes to the world outside the database: noted in the same transaction, done behind it, and tried again
//! until it is done.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    AskedRequest, Metadata, ServerName, SessionRecord, StoreResult, Tenant, TurnStatus,
    WebhookEvent,
};
use crate::clock::Timestamp;
use crate::id::{ConversationId, EffectId, MessageId, TurnId};

/// What a commit owes to the world outside the database.
///
/// # Errors
///
/// What every method of a store may answer is said in the [module](super).
#[async_trait]
pub trait Effects: Send + Sync {
    /// Takes an effect that is due, and puts its next try `lease` from now: it is its taker's until then. One whose next
    /// try was set by a clock that was put back since is due too.
    async fn take_effect(&self, take: Take<'_>, lease: Duration) -> StoreResult<Option<Effect>>;

    /// Says what became of a try, and writes [`kind`](Effect::kind) as the taker has it: what was done of it is not to be
    /// done again. Nothing where the effect was taken again since, or is gone.
    async fn settle_effect(&self, taken: &Effect, tried: &Tried) -> StoreResult<()>;

    /// Notes what follows from an effect, in one transaction with [`kind`](Effect::kind) as the taker has it: what was
    /// noted once is not noted again. An effect whose id is there already is left as it is. Answers whether that was done:
    /// nothing is where the effect was taken again since, or is gone.
    async fn follow_effect(&self, taken: &Effect, with: &[Effect]) -> StoreResult<bool>;

    /// The lanes of the effects that are due, or will be. This default looks through all of them.
    async fn lanes(&self) -> StoreResult<Vec<Lane>> {
        let effects = self.effects(u32::MAX).await?.into_iter();
        let waiting = effects.filter(|effect| effect.due_at.is_some());
        let lanes: BTreeSet<_> = waiting.map(|effect| effect.kind.lane()).collect();
        Ok(lanes.into_iter().collect())
    }

    /// The effects that are not done, oldest first, at most `limit`. Those that are [given up](Effect::is_given_up) are
    /// among them.
    async fn effects(&self, limit: u32) -> StoreResult<Vec<Effect>>;

    /// The effects that are [given up](Effect::is_given_up), oldest first, at most `limit`. This default looks through
    /// all of them.
    async fn given_up_effects(&self, limit: u32) -> StoreResult<Vec<Effect>> {
        let mut effects = self.effects(u32::MAX).await?;
        effects.retain(Effect::is_given_up);
        effects.truncate(limit as usize);
        Ok(effects)
    }

    /// Makes an effect due that was given up. Answers whether there was one.
    async fn retry_effect(&self, id: EffectId) -> StoreResult<bool>;
}

/// Which effect is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Take<'a> {
    /// Of those of this lane the one that is due longest.
    Due(&'a Lane),
    /// This one, if it is due.
    This(EffectId),
}

/// Effects that are tried beside those of other lanes: none is held up by what those wait for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(Cow<'static, str>);

impl Lane {
    /// Deletions that any worker can do: there is no session to be deleted, or it is not known where it is.
    pub const DELETIONS: Self = Self(Cow::Borrowed("deletion"));
    /// Hooks of products.
    pub const HOOKS: Self = Self(Cow::Borrowed("hooks"));
    /// Requests that endpoints are to be told of.
    pub const REQUESTS: Self = Self(Cow::Borrowed("requests"));

    /// What the lanes of webhooks begin with.
    const WEBHOOK: &'static str = "webhook:";

    /// What a server's own workers have to delete there.
    pub fn of_deletions_on(server: &ServerName) -> Self {
        Self(Cow::Owned(format!("{}:{server}", Self::DELETIONS.as_str())))
    }

    /// Where webhooks are sent to one address: each has a lane of its own.
    pub fn of_webhooks(to: &str) -> Self {
        Self(Cow::Owned(format!("{}{to}", Self::WEBHOOK)))
    }

    /// Whether it is for sessions, and folders, that are to be deleted.
    pub fn is_of_deletions(&self) -> bool {
        let of_a_server = self.0.strip_prefix(Self::DELETIONS.as_str());
        of_a_server.is_some_and(|server| server.is_empty() || server.starts_with(':'))
    }

    /// Whether webhooks are in it.
    pub fn is_of_webhooks(&self) -> bool {
        self.0.starts_with(Self::WEBHOOK)
    }

    /// The lane as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Lane {
    fn from(stored: String) -> Self {
        Self(Cow::Owned(stored))
    }
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
    /// From when on it is to be tried; `None` where it is [given up](Self::is_given_up), or [held](Self::is_held).
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
        /// The server that the session is on, whose workers delete it; any worker does without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<ServerName>,
        /// Until then a worker may be at a turn of it, and may make anew what was removed: it is done once it was done
        /// behind that.
        until: Timestamp,
        /// Its name.
        #[serde(default)]
        name: String,
        /// What the application had noted at it.
        #[serde(default)]
        metadata: Metadata,
        /// Whether it is noted for each endpoint that is to be told.
        #[serde(default)]
        told: bool,
    },
    /// A conversation has lost its place on a server: its session there is stopped and deleted.
    LeftSession {
        /// The conversation.
        conversation: ConversationId,
        /// The session it had.
        session: SessionRecord,
        /// The server that the session is on.
        server: ServerName,
    },
    /// A turn has ended: the hooks of its product are called, once the turn is settled.
    TurnEnd {
        /// The conversation.
        conversation: ConversationId,
        /// The turn.
        turn: TurnId,
        /// The message it filled.
        message: MessageId,
        /// How it ended.
        status: TurnStatus,
        /// Which hooks have done their part.
        #[serde(default)]
        called: HooksCalled,
        /// Whether it is noted for each endpoint that is to be told.
        #[serde(default)]
        told: bool,
    },
    /// The agent of a turn waits for a person, which is to be noted for each endpoint.
    Asked(AskedRequest),
    /// One endpoint is told of one event.
    Webhook {
        /// The endpoint, by its name.
        endpoint: String,
        /// Its lane, by its address.
        to: String,
        /// What happened.
        event: WebhookEvent,
        /// When.
        at: Timestamp,
        /// What is told of it.
        data: Map<String, Value>,
    },
}

/// Which hooks of a turn have done their part, and are not called again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HooksCalled {
    /// [`Product::on_finalized`](crate::product::Product::on_finalized).
    #[serde(default)]
    pub on_finalized: bool,
    /// [`Product::on_turn_finished`](crate::product::Product::on_turn_finished).
    #[serde(default)]
    pub on_turn_finished: bool,
}

impl EffectKind {
    /// What the end of a turn owes.
    pub fn turn_end(
        conversation: ConversationId,
        turn: TurnId,
        message: MessageId,
        status: TurnStatus,
    ) -> Self {
        Self::TurnEnd {
            conversation,
            turn,
            message,
            status,
            called: HooksCalled::default(),
            told: false,
        }
    }

    /// Its word: `deletion`, `left_session`, `hooks`, `request`, `webhook`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Deletion { .. } => "deletion",
            Self::LeftSession { .. } => "left_session",
            Self::TurnEnd { .. } => "hooks",
            Self::Asked(_) => "request",
            Self::Webhook { .. } => "webhook",
        }
    }

    /// What it is tried beside.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Deletion {
                server: Some(server),
                ..
            }
            | Self::LeftSession { server, .. } => Lane::of_deletions_on(server),
            Self::Deletion { server: None, .. } => Lane::DELETIONS,
            Self::TurnEnd { .. } => Lane::HOOKS,
            Self::Asked(_) => Lane::REQUESTS,
            Self::Webhook { to, .. } => Lane::of_webhooks(to),
        }
    }
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deletion { conversation, .. } => {
                write!(f, "deletion of conversation {conversation}")
            }
            Self::LeftSession {
                conversation,
                server,
                ..
            } => {
                write!(
                    f,
                    "session that conversation {conversation} left on {server}"
                )
            }
            Self::TurnEnd { turn, .. } => write!(f, "hooks of turn {turn}"),
            Self::Asked(asked) => {
                let AskedRequest { request, turn, .. } = asked;
                write!(f, "request {request} of turn {turn}, to be told")
            }
            Self::Webhook {
                endpoint, event, ..
            } => write!(f, "webhook {event} to {endpoint}"),
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

    /// What the end of a turn owes. It is [held](Self::is_held) until the turn is settled.
    pub fn of_turn_end(
        conversation: ConversationId,
        turn: TurnId,
        message: MessageId,
        status: TurnStatus,
        tenant: &Tenant,
        now: Timestamp,
    ) -> Self {
        let kind = EffectKind::turn_end(conversation, turn, message, status);
        Self {
            due_at: None,
            ..Self::new(turn.into(), tenant, kind, now)
        }
    }

    /// A session that a conversation leaves on a server that it was placed on.
    pub fn of_left_session(
        conversation: ConversationId,
        session: SessionRecord,
        server: &ServerName,
        tenant: &Tenant,
        now: Timestamp,
    ) -> Self {
        let id = EffectId::derived(conversation, session.id.as_str());
        let kind = EffectKind::LeftSession {
            conversation,
            session,
            server: server.clone(),
        };
        Self::new(id, tenant, kind, now)
    }

    /// What is left to be done where its server has lost all sessions; `None` for nothing.
    #[must_use]
    pub fn without_session(mut self, now: Timestamp) -> Option<Self> {
        match &mut self.kind {
            EffectKind::LeftSession { .. } => return None,
            EffectKind::Deletion {
                session, server, ..
            } => {
                (*session, *server) = (None, None);
                self.make_due(now);
            }
            _ => {}
        }
        Some(self)
    }

    /// Whether it is not to be tried yet: it waits for its turn to be settled.
    pub fn is_held(&self) -> bool {
        self.due_at.is_none() && self.attempts == 0
    }

    /// Whether it failed too often, and is tried no more before [`Effects::retry_effect`].
    pub fn is_given_up(&self) -> bool {
        self.due_at.is_none() && self.attempts > 0
    }

    /// It is to be tried from now on.
    pub fn make_due(&mut self, now: Timestamp) {
        self.set_at = now;
        self.due_at = Some(now);
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
