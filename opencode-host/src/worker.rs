//! What drives turns: one worker serves one OpenCode server.
//!
//! A [`Worker`] claims the turns of its [`Host`]'s store, keeps their leases, and drives each to its one end. Any
//! number of processes may have workers on one store, and a process may have several: a turn is claimed by one.

mod builder;
mod configuration_guard;
mod hosted;
mod leases;
mod sweep;

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use opencode_client::{Client, Error as ClientError, EventHub};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::hosted::Hosted;
pub use builder::{BuildError, WorkerBuilder};
pub use configuration_guard::Unguarded;

use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::host::Host;
use crate::id::{ConversationId, TurnId};
use crate::live::LiveTurns;
use crate::product::PlainProduct;
use crate::reporter::Severity;
use crate::sandbox::SandboxRoot;
use crate::session::Session;
use crate::store::{
    Claim, ClaimedTurn, Lease, SessionRecord, Store, StoreError, TurnState, WorkerId,
};
use crate::sub_agents::SubAgents;
use crate::telemetry::Telemetry;
use crate::turn::Limits;
use crate::turn::answers::{self, Sending};
use crate::turn::control::{Control, Orders};
use crate::turn::observing::MakeObserver;
use crate::turn::{DEFAULT_MAX_TRANSCRIPT, Driven, Driver};

/// How long the server is given to let go of a deleted conversation's session.
pub(crate) const REMOVING: Duration = Duration::from_secs(5);

/// How long drivers get to write down what there is when the process ends.
const RELEASE_GRACE: Duration = Duration::from_secs(5);

/// A worker that looks for turns so much later than it wanted to was suspended.
const SUSPENDED: Duration = Duration::from_secs(1);

/// How a worker behaves.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The limits of a turn.
    pub limits: Limits,
    /// How long a turn stays with a worker that does not renew its lease. Default 15 s.
    pub lease: Duration,
    /// How often a running reply is saved at most. Default 1 s.
    pub snapshot_interval: Duration,
    /// How often the worker looks for turns and cancels of other processes. Default 500 ms.
    pub poll_interval: Duration,
    /// Maximum number of turns that run at once. Default 2048; further ones wait.
    pub concurrency: usize,
    /// Maximum size in bytes of the transcript that a session gets which takes the place of a lost or unreadable one.
    /// Default 32 KiB. What does not fit is cut, the oldest first, and the transcript says so; below 1 KiB there is
    /// none.
    pub max_transcript: usize,
    /// The age at which bytes that no message names are removed, once an hour; `None` for never. Only where no other
    /// store names the same blobs. Default: never.
    pub sweep: Option<Duration>,
    /// While a turn waits for a person its timeout is paused, provided the server was heard from within this time.
    /// Default 45 s.
    pub heartbeat_limit: Duration,
    /// How long one call of a product's method, a hook or a transform may take. Default 30 s. What takes longer is
    /// left behind and reported: a policy that is not had fails the turn, a hook or a transform is passed over.
    pub plug_in_limit: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            lease: Duration::from_secs(15),
            snapshot_interval: Duration::from_secs(1),
            poll_interval: Duration::from_millis(500),
            concurrency: 2048,
            max_transcript: DEFAULT_MAX_TRANSCRIPT,
            sweep: None,
            heartbeat_limit: Duration::from_secs(45),
            plug_in_limit: Duration::from_secs(30),
        }
    }
}

/// Drives the turns of a host's store on one OpenCode server. Cheap to clone.
///
/// ```no_run
/// use opencode_host::client::Client;
/// use opencode_host::product::PlainProduct;
/// use opencode_host::{Host, Worker, WorkerOptions};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example(host: Host) -> Result<(), Box<dyn std::error::Error>> {
/// let options = WorkerOptions {
///     concurrency: 64,
///     ..WorkerOptions::default()
/// };
/// let worker = Worker::builder(Client::from_env()?)
///     .product(PlainProduct)
///     .options(options)
///     .build(&host)?;
///
/// let shutdown = CancellationToken::new();
/// tokio::spawn({
///     let shutdown = shutdown.clone();
///     async move {
///         let _ = tokio::signal::ctrl_c().await;
///         shutdown.cancel();
///     }
/// });
/// worker.run(shutdown).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Worker {
    shared: Arc<Shared>,
}

/// What all clones of a worker and its turns share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) hub: EventHub,
    product: Arc<Hosted>,
    pub(crate) sub_agents: SubAgents,
    pub(crate) options: WorkerOptions,
    pub(crate) observers: Vec<MakeObserver>,
    id: WorkerId,
    running: Mutex<HashMap<TurnId, Running>>,
    /// How many calls of [`Worker::run`] and [`Worker::run_turn`] there were.
    runs: AtomicU64,
    host: Host,
    // The host's own, at hand.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) telemetry: Telemetry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) blobs: Option<Blobs>,
    pub(crate) sandboxes: Option<SandboxRoot>,
    live: Arc<LiveTurns>,
    pub(crate) queue_changed: Arc<Notify>,
    pub(crate) answered: Arc<Notify>,
}

/// One call of [`Worker::run`] or [`Worker::run_turn`]: it keeps the leases of the turns that it claimed, and gives
/// no others back.
type Run = u64;

/// A turn that runs here.
struct Running {
    run: Run,
    control: Control,
    /// The answers on their way to its agent.
    sending: Sending,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("server", &self.client.server())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts a worker on `client`'s server.
    pub fn builder(client: Client) -> WorkerBuilder {
        WorkerBuilder::new(client)
    }

    /// Works on turns until `shutdown`: claims them, keeps their leases, hears
    /// of cancels. On shutdown it claims no more, saves what the running
    /// ones have, and gives them back, so that another worker goes on at once.
    ///
    /// # Errors
    /// When the store fails in a way that does not pass: [`StoreError::NewerSchema`], [`StoreError::Configuration`].
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), StoreError> {
        let shared = &self.shared;
        let run = shared.begin_run();
        let keeper = tokio::spawn(leases::keep(Arc::clone(shared), run));
        let sweeper = tokio::spawn(sweep::sweep(Arc::clone(shared)));
        let permits = Arc::new(Semaphore::new(shared.options.concurrency.max(1)));
        let mut drivers = JoinSet::new();
        let mut awake = tokio::time::Instant::now();
        let outcome = loop {
            // Armed before the look, so that no submit is missed.
            let changed = shared.queue_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                tokio::select! {
                    () = shutdown.cancelled() => break Ok(()),
                    _ = drivers.join_next() => continue,
                }
            };
            if shutdown.is_cancelled() {
                break Ok(());
            }
            match shared.claim(None).await {
                Ok(Some(claimed)) => {
                    let shared = Arc::clone(shared);
                    let slept = std::mem::replace(&mut awake, tokio::time::Instant::now());
                    if slept.elapsed() > shared.options.poll_interval + SUSPENDED {
                        // What the stream sent meanwhile is old, and is read first.
                        tokio::time::sleep(shared.options.poll_interval).await;
                    }
                    drivers.spawn(async move {
                        drive(shared, run, claimed).await;
                        drop(permit);
                    });
                    continue;
                }
                Ok(None) => awake = tokio::time::Instant::now(),
                Err(error) => {
                    shared
                        .telemetry
                        .report(&error, Severity::Error, [("action", "claim".into())]);
                    if matches!(
                        error,
                        StoreError::NewerSchema { .. } | StoreError::Configuration(_)
                    ) {
                        break Err(error);
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                () = changed => {}
                () = tokio::time::sleep(shared.options.poll_interval) => {}
                Some(_) = drivers.join_next() => {}
            }
        };
        shared.release(run);
        let drained = async { while drivers.join_next().await.is_some() {} };
        // Whoever does not make it in time is taken over when its lease runs out.
        let _ = tokio::time::timeout(RELEASE_GRACE, drained).await;
        keeper.abort();
        sweeper.abort();
        outcome
    }

    /// Works on one turn, and on those it has to wait for, until it is settled:
    /// ended, its files attached, its hooks run. Or until `shutdown`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such turn; and when the store fails in a way that does not pass.
    pub async fn run_turn(
        &self,
        turn: TurnId,
        shutdown: CancellationToken,
    ) -> Result<(), StoreError> {
        let shared = &self.shared;
        let run = shared.begin_run();
        let keeper = tokio::spawn(leases::keep(Arc::clone(shared), run));
        let outcome = loop {
            match shared.claim_towards(turn).await {
                Ok(Toward::Settled) => break Ok(()),
                Ok(Toward::Claimed(claimed)) => {
                    let mut driving = tokio::spawn(drive(Arc::clone(shared), run, *claimed));
                    tokio::select! {
                        _ = &mut driving => continue,
                        () = shutdown.cancelled() => {}
                    }
                    shared.release(run);
                    let _ = tokio::time::timeout(RELEASE_GRACE, driving).await;
                    break Ok(());
                }
                Ok(Toward::Elsewhere) => {}
                Err(error) if error.is_transient() => {
                    shared.telemetry.report(
                        &error,
                        Severity::Warning,
                        [("action", "claim".into())],
                    );
                }
                Err(error) => break Err(error),
            }
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                () = tokio::time::sleep(shared.options.poll_interval.min(Duration::from_millis(100))) => {}
            }
        };
        keeper.abort();
        outcome
    }

    /// The client of the worker's server.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The host whose turns these are.
    pub fn host(&self) -> &Host {
        &self.shared.host
    }
}

/// How far a turn is that is waited for.
enum Toward {
    Settled,
    /// It, or the one it waits for, is ours now.
    Claimed(Box<ClaimedTurn>),
    /// Another worker has it, or its lease has not run out.
    Elsewhere,
}

impl Shared {
    async fn claim(&self, only: Option<TurnId>) -> Result<Option<ClaimedTurn>, StoreError> {
        let claim = Claim {
            worker: self.id.clone(),
            lease: self.options.lease,
            only,
        };
        self.store.claim(&claim).await
    }

    /// What there is to do for a turn to be settled.
    async fn claim_towards(&self, turn: TurnId) -> Result<Toward, StoreError> {
        let row = self.store.turn(turn).await?;
        let row = row.ok_or_else(|| StoreError::NotFound {
            what: "turn",
            id: turn.to_string(),
        })?;
        if matches!(row.state, TurnState::Finished { settled: true, .. }) {
            return Ok(Toward::Settled);
        }
        let ahead = self.store.turn_ahead(turn).await?;
        let claimed = self.claim(Some(ahead.unwrap_or(turn))).await?;
        Ok(claimed.map_or(Toward::Elsewhere, |claimed| {
            Toward::Claimed(Box::new(claimed))
        }))
    }

    fn begin_run(&self) -> Run {
        self.runs.fetch_add(1, Ordering::Relaxed)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TurnId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the turns of a run given back.
    fn release(&self, run: Run) {
        let running = self.running();
        for turn in running.values().filter(|running| running.run == run) {
            turn.control.order(|orders| orders.release = true);
        }
    }

    /// Has a turn cancelled, where it runs here.
    pub(crate) fn cancel(&self, turn: TurnId) {
        if let Some(running) = self.running().get(&turn) {
            running.control.order(|orders| orders.cancel = true);
        }
    }

    /// Sends the answers that wait for a turn, where it runs here. Does not wait for them.
    pub(crate) fn send_answers(self: &Arc<Self>, turn: TurnId) {
        let running = self.running();
        let Some(Running {
            control, sending, ..
        }) = running.get(&turn)
        else {
            return;
        };
        let lease = Lease {
            turn,
            generation: control.generation(),
        };
        tokio::spawn(answers::send(Arc::clone(self), lease, sending.clone()));
    }

    /// Stops and deletes the session of a conversation that was deleted. What fails is reported.
    pub(crate) async fn remove_session(&self, of: ConversationId, session: &SessionRecord) {
        let client = self.client.with_patience(self.options.limits.pace.answer);
        let sessions = Session {
            client: &client,
            store: &*self.store,
            product: &PlainProduct,
            sub_agents: &self.sub_agents,
            telemetry: &self.telemetry,
        };
        let removing = sessions.remove(of, session);
        if tokio::time::timeout(REMOVING, removing).await.is_err() {
            let context = [("action", "session.remove".into())];
            let late = ClientError::Timeout {
                call: "DELETE /session".to_owned(),
                seconds: REMOVING.as_secs(),
            };
            self.telemetry.report(&late, Severity::Warning, context);
        }
    }
}

/// Drives one claimed turn. A panic in it ends this claim, not the process: its lease
/// runs out, the next claim goes on, and the last one allowed ends the turn.
async fn drive(shared: Arc<Shared>, run: Run, claimed: ClaimedTurn) {
    let (turn, generation) = (claimed.turn.id, claimed.lease.generation);
    let control = Control::new(
        generation,
        Orders {
            cancel: claimed.turn.cancel_requested_at.is_some(),
            ..Orders::default()
        },
    );
    let running = Running {
        run,
        control: control.clone(),
        sending: Sending::default(),
    };
    shared.running().insert(turn, running);
    let live = shared.live.turn(turn);
    live.start(generation);
    let (product, asked) = shared.product.ask(&claimed.conversation).await;
    let driver = |claimed| {
        Driver::new(
            Arc::clone(&shared),
            Arc::clone(&product),
            claimed,
            control.clone(),
            Arc::clone(&live),
        )
    };
    let is_over = matches!(claimed.turn.state, TurnState::Finished { .. });
    let first = driver(claimed.clone());
    let driving = async {
        match &asked {
            // What there is of a turn that has ended is settled without its product's word.
            Err(error) if !is_over => first.fail(&error.to_string()).await,
            _ => first.run().await,
        }
    };
    if let Err(error) = &asked {
        let context = [
            ("action", "product".into()),
            ("turn", turn.to_string().into()),
        ];
        shared.telemetry.report(error, Severity::Error, context);
    }
    match AssertUnwindSafe(driving).catch_unwind().await {
        Ok(Driven::Finished) => {}
        Ok(Driven::Lost | Driven::Released) => live.leave(),
        Err(_) => {
            let error = StoreError::Corrupt {
                table: "turns",
                id: turn.to_string(),
                detail: "the driver panicked".to_owned(),
            };
            shared
                .telemetry
                .report(&error, Severity::Error, [("turn", turn.to_string().into())]);
            // Given back, the claim would not count, and the turn would panic again at once, for ever.
            if claimed.turn.attempts >= shared.options.limits.attempts {
                let failing = driver(claimed).fail("what drives the turn panicked");
                let _ = AssertUnwindSafe(failing).catch_unwind().await;
            }
            live.leave();
        }
    }
    let mut running = shared.running();
    // The turn may have been claimed anew here meanwhile.
    if running
        .get(&turn)
        .is_some_and(|running| running.control.generation() == generation)
    {
        running.remove(&turn);
    }
}
