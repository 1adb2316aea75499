//! Does what [`plan`] says, for one claimed turn.

use std::sync::Arc;
use std::time::Duration;

use opencode_client::reply::{Checkpoint, Reply};
use opencode_client::{Client, Error as ClientError, Exchange, Subscription};
use tokio::time::Instant;

use super::control::{Control, Orders};
use super::history::Unread;
use super::pacing::Pacing;
use super::plan::{
    Confirmed, Content, Ending, Failure, Inspection, Names, Prompting, Situation, Step, plan,
};
use crate::live::LiveTurn;
use crate::product::Product;
use crate::reporter::Severity;
use crate::session::SessionError;
use crate::store::{
    ClaimedTurn, Conversation, Lease, Owed, PromptRecord, SessionRecord, StoreError, Turn,
    TurnState,
};
use crate::worker::{REMOVING, Shared};

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
    /// The session's history was not given; that may pass.
    Unread(ClientError),
    /// It is not given any more, and the session was not prompted yet.
    Unreadable(ClientError),
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
    pub(super) product: Arc<dyn Product>,
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
    /// What is known of the names in the prompt.
    pub(super) names: Names,
    /// How often the transcript could not be carried over.
    pub(super) not_carried: u32,

    pub(super) inspection: Option<(Inspection, Instant)>,
    pub(super) look_due: bool,
    /// Something was moved out of the folder: it is looked at again before a prompt.
    pub(super) look_again: bool,
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
    /// The server said that it heard the last of these.
    pub(super) abort_heard: bool,
    /// When the prompt was last on its way with no word of its arrival since, by this worker or the one before.
    pub(super) in_flight: Option<Instant>,
    unmended: Option<Unmended>,
    /// The session's history cannot be read.
    pub(super) unread: Option<Unread>,
    /// The prompt's message was found upstream.
    pub(super) found: bool,
    /// How many calls in a row were not answered.
    pub(super) unanswered: u32,
    /// Watchers were told that the server is out of reach.
    pub(super) unreachable: bool,
    /// The client, as patient as the turn is now.
    pub(super) server: Client,
    pacing: Pacing,

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
        product: Arc<dyn Product>,
        claimed: ClaimedTurn,
        control: Control,
        live: Arc<LiveTurn>,
    ) -> Self {
        let now = Instant::now();
        let prompted = claimed.turn.prompted.clone();
        Self {
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
            names: Names::Known,
            not_carried: 0,
            inspection: None,
            look_due: false,
            look_again: false,
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
            abort_heard: false,
            in_flight: claimed.turn.prompted.is_some().then_some(now),
            unmended: None,
            unread: None,
            found: false,
            unanswered: 0,
            unreachable: false,
            server: host.client.clone(),
            pacing: Pacing::new(now),
            counted: now,
            elapsed: Duration::ZERO,
            activity: now,
            first_token: None,
            begun: false,
            events: 0,
            written: None,
            followed: 0,
            turn: claimed.turn,
            product,
            host,
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
        let removing = sessions.remove(self.conversation.id, session);
        // What is not done then, a sandbox that is gone keeps from doing harm.
        let _ = tokio::time::timeout(REMOVING, removing).await;
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
            if orders.lost || orders.release {
                return self.leave().await;
            }
            let step = match plan(&self.situation(), &self.host.options.limits) {
                Step::End(ending) => return self.end(ending).await,
                step => self.spaced(step),
            };
            let upstream = !matches!(step, Step::Follow { .. } | Step::Wait { .. });
            let waited = matches!(step, Step::Wait { .. });
            match self.attempt(step, orders).await {
                Some(Ok(())) if upstream => {
                    (self.unmended, self.unanswered) = (None, 0);
                    self.tell_unreachable(false).await;
                }
                Some(Err(Trouble::Store(StoreError::LeaseLost { .. }))) => return Driven::Lost,
                Some(Err(trouble)) => self.note(trouble).await,
                Some(Ok(())) | None => {}
            }
            if waited && let Some(unmended) = &mut self.unmended {
                unmended.retrying = true;
            }
        }
    }

    /// The step, or a wait where too many have followed each other.
    fn spaced(&mut self, step: Step) -> Step {
        let asks = match step {
            Step::Follow { .. } | Step::Wait { .. } | Step::TakeUp | Step::End(_) => false,
            Step::Connect
            | Step::CarryOver
            | Step::Mint
            | Step::Look
            | Step::Inspect
            | Step::AskNames
            | Step::Recreate
            | Step::Abort { .. } => true,
        };
        if !asks {
            return step;
        }
        match self.pacing.step(Instant::now()) {
            Ok(()) => step,
            Err(wait) => Step::Follow { at_most: wait },
        }
    }

    /// Does a step, unless other orders or the end of the turn's time come first: no step outlasts them. A step that
    /// is broken off is whole as far as it went, and whoever goes on looks at what came of it.
    async fn attempt(&mut self, step: Step, orders: Orders) -> Option<Result<(), Trouble>> {
        self.server = self.host.client.with_patience(self.patience());
        let (left, control) = (self.time_left(), self.control.clone());
        let doing = async {
            match step {
                Step::Connect => self.connect().await,
                Step::CarryOver => self.carry_over().await,
                Step::TakeUp => {
                    self.take_up();
                    Ok(())
                }
                Step::Mint => self.mint().await,
                Step::Look => self.look().await,
                Step::Follow { at_most } | Step::Wait { pause: at_most } => {
                    self.follow(at_most).await
                }
                Step::Inspect => self.inspect().await,
                Step::AskNames => self.ask_names().await,
                Step::Recreate => self.recreate().await,
                Step::Abort { ending } => {
                    self.stopping = ending;
                    self.abort().await
                }
                Step::End(_) => Ok(()),
            }
        };
        tokio::select! {
            biased;
            () = control.other_than(orders) => None,
            done = tokio::time::timeout(left, doing) => done.ok(),
        }
    }

    /// How long the next step may take.
    fn time_left(&self) -> Duration {
        let limits = &self.host.options.limits;
        match self.aborted {
            _ if !self.is_stopping() && self.waits_for_a_person() => Duration::MAX,
            _ if !self.is_stopping() => limits.turn.saturating_sub(self.elapsed),
            Some((first, _)) => limits.pace.abort.saturating_sub(first.elapsed()),
            None => limits.pace.abort,
        }
    }

    /// The turn is over but for the server, which is to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
            || self.control.orders().cancel
            || (self.elapsed >= self.host.options.limits.turn && !self.waits_for_a_person())
    }

    /// A person's time does not count, as long as the server shows that it is there.
    fn waits_for_a_person(&self) -> bool {
        let asked = |reply: &Reply| !reply.requests().is_empty();
        self.reply.as_ref().is_some_and(asked)
            && self.alive.elapsed() < self.host.options.heartbeat_limit
    }

    fn situation(&mut self) -> Situation {
        let now = Instant::now();
        let waiting = self.waits_for_a_person();
        let reply = self.reply.as_ref();
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
            replaced: self.has_replaced(),
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
            names: self.names.clone(),
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
            failing: self
                .unmended
                .as_ref()
                .map(|unmended| unmended.failure.clone()),
            stopping: self.stopping.clone(),
            aborted: self.aborted.map(|(first, _)| ago(first)),
            aborted_again: self.aborted.map(|(_, last)| ago(last)),
            abort_heard: self.abort_heard,
            in_flight: self.in_flight.is_some(),
        }
    }

    /// Whether the turn has replaced a lost session already, and the one it has now is another.
    fn has_replaced(&self) -> bool {
        let current = self.session.as_ref().or(self.conversation.session.as_ref());
        let replaced = self.turn.replaced.as_ref();
        replaced.is_some_and(|lost| current.is_none_or(|session| session.id != *lost))
    }

    /// Whether a call has failed that has not succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        self.unmended.is_some()
    }

    async fn note(&mut self, trouble: Trouble) {
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
                    ClientError::Timeout { .. } => {
                        self.unanswered = self.unanswered.saturating_add(1);
                        Failure::Unanswered(error.to_string())
                    }
                    _ => Failure::Unreachable(error.to_string()),
                }
            }
            Trouble::Store(error) => {
                self.report(&error);
                Failure::Broken(error.to_string())
            }
            Trouble::Unread(error) => {
                self.report(&error);
                if matches!(error, ClientError::Timeout { .. }) {
                    self.unanswered = self.unanswered.saturating_add(1);
                }
                Failure::Unread(error.to_string())
            }
            Trouble::Unreadable(error) => Failure::Unreadable(error.to_string()),
            Trouble::Product(detail) => Failure::Refused(detail),
            Trouble::Unsafe(detail) => Failure::Unsafe(detail),
        };
        let since = self
            .unmended
            .as_ref()
            .map_or_else(Instant::now, |unmended| unmended.since);
        self.tell_of(&failure, since).await;
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
}
