//! What the steps of a turn work with: the server, the store, the product, and who is told of it.
//!
//! A step is a function over these and the [`Facts`]. It returns what it [`Learned`]; until then nothing is known of it,
//! so that it can be broken off at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opencode_client::{Client, Error as ClientError};
#[cfg(feature = "tools")]
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::control::Control;
use super::facts::{Facts, Failure, Learned, Unread};
use super::hosted::Asked;
use super::workshop::Workshop;
use crate::configuration_guard::{guard_again, guard_session};
use crate::front::Front;
use crate::live::LiveTurn;
use crate::product::TurnContext;
use crate::reporter::Severity;
use crate::sandbox::OwnConfiguration;
use crate::session::{Session, SessionError};
use crate::store::{ClaimedTurn, Lease, Note, StoreError, Turn};
#[cfg(feature = "tools")]
use crate::tools::Offering;

/// How long the note for watchers of other processes may take.
const NOTING: Duration = Duration::from_secs(1);

/// What a step comes to.
pub(super) type Outcome = Result<Learned, Trouble>;

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    Upstream(ClientError),
    Store(StoreError),
    /// The product could not do its part.
    Product(String),
    /// The server would not do as the rules say.
    Unsafe(String),
    /// The session's history was not given; that may pass.
    Unread(ClientError, Unread),
    /// It is not given any more, and the session was not prompted yet.
    Unreadable(ClientError, Unread),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self::Upstream(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SessionError> for Trouble {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Upstream(error) => Self::Upstream(error),
            SessionError::Store(error) => Self::Store(error),
            SessionError::Unsafe(refused) => Self::Unsafe(refused.to_string()),
            SessionError::Product(error) => Self::Product(error.to_string()),
        }
    }
}

/// What the steps of a claimed turn work with.
pub(super) struct Tools {
    /// Where turns are kept.
    pub(super) front: Arc<Front>,
    /// Where they are driven.
    pub(super) workshop: Arc<Workshop>,
    pub(super) product: Arc<Asked>,
    pub(super) lease: Lease,
    /// The row, as it was claimed.
    pub(super) turn: Turn,
    /// What the product is asked about: the conversation's row as it was claimed, with the session that the facts have.
    pub(super) context: TurnContext,
    pub(super) control: Control,
    pub(super) live: Arc<LiveTurn>,
    /// When the turn was claimed.
    pub(super) started: Instant,
    /// Time between the first claim of the turn and this one.
    pub(super) before: Duration,
    /// The client, as patient as the turn is now.
    pub(super) server: Client,
    /// How long a look may be without an answer.
    pub(super) patience: Duration,
    /// What the agent can call now.
    #[cfg(feature = "tools")]
    pub(super) offering: OnceCell<Offering>,
    /// Something was moved out of the folder: it is looked at again before a prompt.
    moved: AtomicBool,
    /// Watchers were told that the server is out of reach.
    unreachable: AtomicBool,
    /// The store knows that the turn waits for a person.
    waits: AtomicBool,
}

impl Tools {
    pub(super) fn new(
        front: Arc<Front>,
        workshop: Arc<Workshop>,
        product: Arc<Asked>,
        claimed: ClaimedTurn,
        control: Control,
        live: Arc<LiveTurn>,
        now: Instant,
    ) -> Self {
        let first = claimed.turn.started_at();
        Self {
            context: TurnContext::new(claimed.conversation, &claimed.turn),
            before: first.map_or(Duration::ZERO, |first| claimed.now.since(first)),
            lease: claimed.lease,
            turn: claimed.turn,
            control,
            live,
            started: now,
            server: workshop.client.clone(),
            patience: workshop.options.limits.pace.answer,
            #[cfg(feature = "tools")]
            offering: OnceCell::new(),
            moved: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            product,
            front,
            workshop,
        }
    }

    /// Gets ready for the next step.
    pub(super) fn ready(&mut self, facts: &Facts, now: Instant) {
        self.patience = facts.patience(now);
        self.server = self.workshop.client.with_patience(self.patience);
        if self.context.conversation.session != facts.session {
            self.context.conversation.session.clone_from(&facts.session);
        }
    }

    /// The client, in the session's folder.
    pub(super) fn client(&self, facts: &Facts) -> Client {
        match facts.linked_session() {
            Some(session) => session.client(&self.server),
            None => self.server.clone(),
        }
    }

    pub(super) fn sessions(&self) -> Session<'_> {
        Session {
            client: &self.server,
            server: &self.workshop.server,
            store: &*self.front.store,
            product: &*self.product,
            sub_agents: &self.workshop.sub_agents,
            telemetry: &self.front.telemetry,
        }
    }

    /// What becomes of configuration that is found in the folder.
    pub(super) fn own_configuration(&self) -> OwnConfiguration {
        self.product.policy.own_configuration
    }

    /// Asks the store whether the turn is still ours. Until when something may be done that no write of ours fences.
    #[cfg(feature = "tools")]
    pub(super) async fn fence(&self) -> Result<Instant, Trouble> {
        let fenced = Instant::now();
        let noting = Note::Unreachable(self.unreachable.load(Ordering::Relaxed));
        self.front.store.note(&self.lease, noting).await?;
        Ok(fenced + self.workshop.options.lease / 2)
    }

    /// Before the server reads the folder: nothing in it may configure the server.
    pub(super) async fn guard(&self) -> Result<(), Trouble> {
        let own = self.own_configuration();
        let guarded = guard_session(&self.front, &self.context.conversation, own).await;
        let moved = guarded.map_err(|unguarded| Trouble::Product(unguarded.to_string()))?;
        self.moved.fetch_or(!moved.is_empty(), Ordering::Relaxed);
        Ok(())
    }

    /// The same before a prompt, which has the server read the folder for a while.
    pub(super) async fn guard_prompt(&self) -> Result<(), Trouble> {
        self.guard().await?;
        if self.moved.load(Ordering::Relaxed) {
            let own = self.own_configuration();
            let guarded = guard_again(&self.front, &self.context.conversation, own).await;
            guarded.map_err(|unguarded| Trouble::Product(unguarded.to_string()))?;
            self.moved.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What a step has come to, for the facts. Errors are reported.
    pub(super) fn learned(&self, outcome: Outcome) -> Learned {
        match outcome {
            Ok(learned) => learned,
            Err(Trouble::Store(StoreError::LeaseLost { .. })) => Learned::LeaseLost,
            Err(Trouble::Unread(error, unread)) => {
                self.report(&error);
                Learned::HistoryFailed {
                    failure: Failure::Unread(error.to_string()),
                    unread,
                    unanswered: matches!(error, ClientError::Timeout { .. }),
                }
            }
            Err(Trouble::Unreadable(error, unread)) => Learned::HistoryFailed {
                failure: Failure::Unreadable(error.to_string()),
                unread,
                unanswered: false,
            },
            Err(Trouble::Upstream(error)) => Learned::Failed(self.failure(&error)),
            Err(Trouble::Store(error)) => {
                self.report(&error);
                Learned::Failed(Failure::Broken(error.to_string()))
            }
            Err(Trouble::Product(detail)) => Learned::Failed(Failure::Refused(detail)),
            Err(Trouble::Unsafe(detail)) => Learned::Failed(Failure::Unsafe(detail)),
        }
    }

    /// What kind of failure the server's error is. It is reported.
    pub(super) fn failure(&self, error: &ClientError) -> Failure {
        self.report(error);
        let said = error.to_string();
        match error {
            ClientError::SessionNotFound { .. } => Failure::SessionLost,
            ClientError::Unauthorized { .. } => Failure::Unauthorized(said),
            ClientError::BadRequest { .. } | ClientError::Configuration(_) => {
                Failure::Refused(said)
            }
            ClientError::Server { .. } => Failure::Broken(said),
            ClientError::Timeout { .. } => Failure::Unanswered(said),
            _ => Failure::Unreachable(said),
        }
    }

    /// Waits for a call. Watchers are told where it takes longer than a look may.
    pub(super) async fn telling<T>(&self, call: impl Future<Output = T>) -> T {
        tokio::pin!(call);
        match timeout(self.patience, &mut call).await {
            Ok(done) => done,
            Err(_) => {
                self.tell_unreachable(true).await;
                call.await
            }
        }
    }

    /// Tells watchers whether the server can be reached.
    pub(super) async fn tell_unreachable(&self, unreachable: bool) {
        if self.unreachable.swap(unreachable, Ordering::Relaxed) == unreachable {
            return;
        }
        self.live.set_unreachable(unreachable);
        let noting = self
            .front
            .store
            .note(&self.lease, Note::Unreachable(unreachable));
        // Who has lost the turn learns it with the next write that matters.
        if let Ok(Err(error)) = timeout(NOTING, noting).await {
            self.report(&error);
        }
    }

    /// Says whether the turn waits for a person, and so is not counted among those that run: here, and of its tenant.
    pub(super) async fn set_waits(&self, waits: bool) {
        self.control.waits(waits);
        if self.waits.swap(waits, Ordering::Relaxed) == waits {
            return;
        }
        let noting = self.front.store.note(&self.lease, Note::Waiting(waits));
        match timeout(NOTING, noting).await {
            Ok(Ok(())) if waits => self.front.queue_changed.notify_waiters(),
            Ok(Ok(()) | Err(StoreError::LeaseLost { .. })) => {}
            // The next step says it again.
            Ok(Err(error)) => {
                self.waits.store(!waits, Ordering::Relaxed);
                self.report(&error);
            }
            Err(_) => self.waits.store(!waits, Ordering::Relaxed),
        }
    }

    /// The store was told that the turn waits for a person.
    pub(super) fn noted_waiting(&self) {
        self.waits.store(true, Ordering::Relaxed);
    }

    pub(super) fn report(&self, error: &(dyn std::error::Error + 'static)) {
        let session = self.context.conversation.session.as_ref();
        self.front.telemetry.report(
            error,
            Severity::Warning,
            [
                ("turn", self.turn.id.to_string().into()),
                (
                    "session",
                    session.map(|session| session.id.to_string()).into(),
                ),
            ],
        );
    }
}
