//! Does what [`plan`] says, for one claimed turn.

use std::sync::Arc;
use std::time::Duration;

use opencode_client::reply::{Checkpoint, Reply};
use opencode_client::{Client, Error as ClientError, Exchange, Subscription};
use tokio::time::Instant;

use super::control::Control;
use super::plan::{
    Confirmed, Content, Ending, Failure, Inspection, Prompting, Situation, Step, plan,
};
use crate::host::Shared;
use crate::live::LiveTurn;
use crate::reporter::Severity;
use crate::session::{Session, SessionError};
use crate::store::{
    ClaimedTurn, Conversation, Lease, Owed, PromptRecord, SessionRecord, StoreError, Turn,
    TurnState,
};

/// How a claim ended.
#[derive(Debug)]
pub(crate) enum Driven {
    /// The turn has its terminal state and is settled.
    Finished,
    /// Somebody else has the turn, or will have it when the lease runs out.
    Lost,
    /// The turn was given back.
    Released,
}

/// Why an operation did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    Upstream(ClientError),
    Store(StoreError),
    /// The product could not do its part.
    Product(String),
    /// The server would not do as the rules say.
    Unsafe(String),
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

/// There is nothing left to write the turn to.
#[derive(Debug, thiserror::Error)]
#[error("conversation {conversation} was deleted while a turn of it ran: the turn was stopped")]
struct Deleted {
    conversation: String,
}

/// A failure that has not been mended yet.
#[derive(Debug)]
struct Unmended {
    failure: Failure,
    since: Instant,
    /// A retry is under way: the plan goes on as if nothing were wrong.
    retrying: bool,
}

/// One claimed turn, being driven.
pub(crate) struct Driver {
    pub(super) host: Arc<Shared>,
    pub(super) lease: Lease,
    pub(super) turn: Turn,
    pub(super) conversation: Conversation,
    pub(super) control: Control,
    pub(super) live: Arc<LiveTurn>,
    pub(super) started: Instant,
    /// How long ago the first claim was when this one was made.
    pub(super) before: Duration,

    pub(super) session: Option<SessionRecord>,
    pub(super) subscription: Option<Subscription>,
    pub(super) reply: Option<Reply>,
    /// What a session had said that the server has lost since.
    pub(super) salvage: Checkpoint,
    pub(super) exchange: Option<Exchange>,
    pub(super) prompted: Option<PromptRecord>,
    pub(super) posted: Option<Instant>,
    pub(super) resent: bool,
    /// How often the transcript could not be carried over.
    pub(super) not_carried: u32,

    pub(super) inspection: Option<(Inspection, Instant)>,
    pub(super) look_due: bool,
    pub(super) looked: Option<Instant>,
    pub(super) heard: Option<Instant>,
    pub(super) alive: Instant,
    pub(super) stream_live: bool,
    pub(super) stream_whole: bool,
    pub(super) unbroken: bool,
    pub(super) reposted: bool,
    pub(super) orderly_idle: bool,
    pub(super) requests_due: bool,
    pub(super) stopping: Option<Ending>,
    /// When the session was told to stop, first and last.
    pub(super) aborted: Option<(Instant, Instant)>,
    unmended: Option<Unmended>,

    pub(super) counted: Instant,
    pub(super) elapsed: Duration,
    pub(super) activity: Instant,
    pub(super) first_token: Option<Duration>,
    /// An earlier claim had the first token.
    pub(super) begun: bool,
    pub(super) events: u64,
    pub(super) written: Option<(Instant, u64)>,
    pub(super) followed: usize,
}

impl Driver {
    pub(crate) fn new(
        host: Arc<Shared>,
        claimed: ClaimedTurn,
        control: Control,
        live: Arc<LiveTurn>,
    ) -> Self {
        let now = Instant::now();
        let prompted = claimed.turn.prompted.clone();
        Self {
            host,
            lease: claimed.lease,
            resent: claimed.turn.resends > 0,
            conversation: claimed.conversation,
            control,
            live,
            started: now,
            before: claimed
                .turn
                .started_at
                .map_or(Duration::ZERO, |first| claimed.now.since(first)),
            session: None,
            subscription: None,
            reply: None,
            salvage: Checkpoint::default(),
            exchange: None,
            prompted,
            posted: None,
            not_carried: 0,
            inspection: None,
            look_due: false,
            looked: None,
            heard: None,
            alive: now,
            stream_live: false,
            stream_whole: false,
            unbroken: false,
            reposted: false,
            orderly_idle: false,
            requests_due: claimed.turn.prompted.is_some(),
            stopping: None,
            aborted: None,
            unmended: None,
            counted: now,
            elapsed: Duration::ZERO,
            activity: now,
            first_token: None,
            begun: false,
            events: 0,
            written: None,
            followed: 0,
            turn: claimed.turn,
        }
    }

    /// Drives the turn to its end, as far as this claim goes.
    pub(crate) async fn run(mut self) -> Driven {
        let driven = self.drive().await;
        if matches!(driven, Driven::Lost) {
            self.leave_deleted().await;
        }
        driven
    }

    /// Stops what nobody else will: a turn whose conversation was deleted runs on upstream.
    async fn leave_deleted(&self) {
        let (Ok(None), Some(session)) = (
            self.host.store.turn(self.turn.id).await,
            &self.conversation.session,
        ) else {
            return;
        };
        self.report(&Deleted {
            conversation: self.conversation.id.to_string(),
        });
        let sessions = self.sessions();
        sessions.remove(self.conversation.id, &session.id).await;
    }

    async fn drive(&mut self) -> Driven {
        if matches!(self.turn.state, TurnState::Finished { .. }) {
            // A worker died between the end and the hooks.
            return self.settle().await;
        }
        self.host.telemetry.event(
            "response.started",
            [
                ("turn", self.turn.id.to_string().into()),
                ("conversation", self.conversation.id.to_string().into()),
                ("message", self.turn.message.to_string().into()),
                ("generation", self.lease.generation.into()),
            ],
        );
        loop {
            let orders = self.control.orders();
            if orders.lost {
                return Driven::Lost;
            }
            if orders.release {
                return self.release().await;
            }
            let step = plan(&self.situation(), &self.host.options.limits);
            let done = match step {
                Step::Connect => self.connect().await,
                Step::CarryOver => self.carry_over().await,
                Step::Mint => self.mint().await,
                Step::Look => self.look().await,
                Step::Follow { at_most } => self.follow(at_most).await,
                Step::Inspect => self.inspect().await,
                Step::Recreate => self.recreate().await,
                Step::Abort { ending } => {
                    self.stopping = ending;
                    self.abort().await
                }
                Step::Wait { pause } => {
                    self.pause(pause).await;
                    continue;
                }
                Step::End(ending) => return self.end(ending).await,
            };
            match done {
                Ok(()) => self.unmended = None,
                Err(Trouble::Store(StoreError::LeaseLost { .. })) => {
                    return Driven::Lost;
                }
                Err(trouble) => self.note(trouble),
            }
        }
    }

    fn situation(&mut self) -> Situation {
        let now = Instant::now();
        let reply = self.reply.as_ref();
        // A person's time does not count, as long as the server shows that it is there.
        let waiting = reply.is_some_and(|reply| !reply.requests().is_empty())
            && now.duration_since(self.alive) < self.host.options.heartbeat_limit;
        if !waiting {
            self.elapsed += now.duration_since(self.counted);
        }
        self.counted = now;
        let content = reply.map_or_else(Content::default, |reply| Content {
            text: reply.has_words(),
            tools: reply.has_ended_tool(),
        });
        let ago = |moment: Instant| now.duration_since(moment);
        Situation {
            cancel: self.control.orders().cancel,
            connected: self.session.is_some(),
            transcript_owed: self
                .session
                .as_ref()
                .is_some_and(|session| matches!(session.owed, Some(Owed::Transcript { .. }))),
            prompting: match (&self.prompted, self.posted) {
                (None, _) => Prompting::None,
                (Some(_), None) => Prompting::Recorded,
                (Some(_), Some(posted)) => Prompting::Posted { ago: ago(posted) },
            },
            resent: self.resent,
            attempts: self.turn.attempts,
            inspection: self.inspection.clone().map(|(inspection, first)| {
                let again = self.looked.is_some_and(|looked| {
                    looked.duration_since(first) >= self.host.options.limits.pace.confirm
                });
                (
                    inspection,
                    if again {
                        Confirmed::Again
                    } else {
                        Confirmed::Once
                    },
                )
            }),
            look_due: self.look_due,
            looked: self.looked.map(ago),
            heard: self.heard.map(ago),
            orderly_idle: self.orderly_idle,
            unbroken: self.unbroken,
            reposted: self.reposted,
            waiting,
            elapsed: self.elapsed,
            session_error: reply.and_then(|reply| reply.error().cloned()),
            retries: reply.map_or(0, Reply::retries),
            content,
            failure: self
                .unmended
                .as_ref()
                .filter(|unmended| !unmended.retrying)
                .map(|unmended| (unmended.failure.clone(), ago(unmended.since))),
            stopping: self.stopping.clone(),
            aborted: self.aborted.map(|(first, _)| ago(first)),
            aborted_again: self.aborted.map(|(_, last)| ago(last)),
        }
    }

    fn note(&mut self, trouble: Trouble) {
        let failure = match trouble {
            Trouble::Upstream(error) => {
                self.report(&error);
                match &error {
                    ClientError::SessionNotFound { .. } => Failure::SessionLost,
                    ClientError::Unauthorized { .. } => Failure::Unauthorized(error.to_string()),
                    ClientError::BadRequest { .. } | ClientError::Configuration(_) => {
                        Failure::Refused(error.to_string())
                    }
                    ClientError::Server { .. } => Failure::Broken(error.to_string()),
                    _ => Failure::Unreachable(error.to_string()),
                }
            }
            Trouble::Store(error) => {
                self.report(&error);
                Failure::Broken(error.to_string())
            }
            Trouble::Product(detail) => Failure::Refused(detail),
            Trouble::Unsafe(detail) => Failure::Unsafe(detail),
        };
        let since = self
            .unmended
            .as_ref()
            .map_or_else(Instant::now, |unmended| unmended.since);
        self.unmended = Some(Unmended {
            failure,
            since,
            retrying: false,
        });
    }

    pub(super) fn report(&self, error: &(dyn std::error::Error + 'static)) {
        self.host.telemetry.report(
            error,
            Severity::Warning,
            [
                ("turn", self.turn.id.to_string().into()),
                (
                    "session",
                    self.session
                        .as_ref()
                        .map(|session| session.id.to_string())
                        .into(),
                ),
            ],
        );
    }

    async fn pause(&mut self, pause: Duration) {
        let mut orders = self.control.listen();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = orders.changed() => {}
        }
        if let Some(unmended) = &mut self.unmended {
            unmended.retrying = true;
        }
    }

    /// The client, in the session's folder.
    pub(super) fn client(&self) -> Client {
        match self
            .session
            .as_ref()
            .and_then(|session| session.directory.as_deref())
        {
            Some(directory) => self.host.client.in_directory(directory),
            None => self.host.client.clone(),
        }
    }

    pub(super) fn sessions(&self) -> Session<'_> {
        Session {
            client: &self.host.client,
            store: &*self.host.store,
            product: &*self.host.product,
            sub_agents: &self.host.sub_agents,
            telemetry: &self.host.telemetry,
        }
    }
}
