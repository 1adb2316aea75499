//! What drives turns: one worker serves one OpenCode server.
//!
//! A [`Worker`] claims the turns of its [`Host`]'s store, keeps their leases, and drives each to its one end. Any
//! number of processes may have workers on one store, and a process may have several: a turn is claimed by one.

mod answering;
mod beats;
mod builder;
mod drive;
mod effects;
mod endpoint_lanes;
mod hooks;
mod identity;
mod leases;
mod next_look;
mod placer;
mod placing;
#[cfg(feature = "schedules")]
mod schedules;
mod server_options;
mod shared;
mod standing;
mod sweep;
mod toward;
mod under_way;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opencode_client::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::drive::drive;
use self::next_look::NextLook;
use self::shared::Shared;
use self::toward::{Toward, claim_towards};
pub use builder::{BuildError, WorkerBuilder};
pub use server_options::ServerOptions;

use crate::configuration_guard::Unguarded;
use crate::front::{Front, LocalWorker};
use crate::host::Host;
use crate::id::{EffectId, TurnId};
use crate::live::Telling;
use crate::reporter::Severity;
use crate::store::{Conversation, ServerName, StoreError};
use crate::turn::places::Places;

/// How long drivers get to write down what there is when the process ends.
const RELEASE_GRACE: Duration = Duration::from_secs(5);

/// A worker that looks for turns so much later than it wanted to was suspended.
const SUSPENDED: Duration = Duration::from_secs(1);

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
    host: Host,
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
        self.introduce().await?;
        let run = shared.begin_run();
        let keeper = tokio::spawn(leases::keep(Arc::clone(shared), run));
        let beating = tokio::spawn(beats::keep_beating(Arc::clone(shared)));
        let sweeper = tokio::spawn(sweep::sweep(Arc::clone(shared)));
        let listener = tokio::spawn(listen(Arc::clone(&shared.front)));
        let telling = Telling::start(&shared.front.relay);
        let over = shutdown.child_token();
        let mut doing = effects::keep_doing(shared, &over);
        doing.spawn(placing::keep_placing(Arc::clone(shared), over.clone()));
        #[cfg(feature = "schedules")]
        doing.spawn(schedules::keep_submitting(
            Arc::clone(shared),
            self.host.clone(),
            over.clone(),
        ));
        if shared.webhooks.is_some() {
            doing.spawn(endpoint_lanes::keep_sending(
                Arc::clone(shared),
                over.clone(),
            ));
        }
        let places = Places::new(shared.workshop.options.concurrency);
        let mut drivers = JoinSet::new();
        let mut awake = tokio::time::Instant::now();
        let mut next_look = NextLook::default();
        let outcome = loop {
            // Armed before the look, so that no submit is missed.
            let changed = shared.front.queue_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some(place) = places.take() else {
                tokio::select! {
                    () = shutdown.cancelled() => break Ok(()),
                    () = places.room() => continue,
                    _ = drivers.join_next() => continue,
                }
            };
            if shutdown.is_cancelled() {
                break Ok(());
            }
            match shared.claim(None).await {
                Ok(Some(claimed)) => {
                    next_look.changed();
                    let shared = Arc::clone(shared);
                    let slept = std::mem::replace(&mut awake, tokio::time::Instant::now());
                    if slept.elapsed() > shared.workshop.options.poll_interval + SUSPENDED {
                        // What the stream sent meanwhile is old, and is read first.
                        tokio::time::sleep(shared.workshop.options.poll_interval).await;
                    }
                    drivers.spawn(async move {
                        // On the heap: the future of a whole turn is large.
                        Box::pin(drive(shared, run, claimed, Some(place))).await;
                    });
                    continue;
                }
                Ok(None) => awake = tokio::time::Instant::now(),
                Err(error) => {
                    shared.front.telemetry.report(
                        &error,
                        Severity::Error,
                        [("action", "claim".into())],
                    );
                    if matches!(
                        error,
                        StoreError::NewerSchema { .. } | StoreError::Configuration(_)
                    ) {
                        break Err(error);
                    }
                }
            }
            let pause = next_look.pause(shared).await;
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                () = changed => next_look.changed(),
                () = tokio::time::sleep(pause) => {}
                Some(_) = drivers.join_next() => {}
            }
        };
        shared.release(run);
        over.cancel();
        let drained = async {
            while drivers.join_next().await.is_some() {}
            while doing.join_next().await.is_some() {}
        };
        // Whoever does not make it in time is taken over when its lease runs out.
        let _ = tokio::time::timeout(RELEASE_GRACE, drained).await;
        keeper.abort();
        beating.abort();
        sweeper.abort();
        listener.abort();
        telling.end().await;
        doing.abort_all();
        beats::leave(shared).await;
        outcome
    }

    /// Works on one turn, and on those it has to wait for, until it is settled: ended, and its files attached. Then tries
    /// the hooks of these turns, and to tell endpoints of their ends, once; what fails is due again for
    /// [`run`](Self::run), and so are the requests that endpoints are to be told of. Or until `shutdown`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such turn; and when the store fails in a way that does not pass.
    pub async fn run_turn(
        &self,
        turn: TurnId,
        shutdown: CancellationToken,
    ) -> Result<(), StoreError> {
        let shared = &self.shared;
        self.introduce().await?;
        let run = shared.begin_run();
        let keeper = tokio::spawn(leases::keep(Arc::clone(shared), run));
        let beating = tokio::spawn(beats::keep_beating(Arc::clone(shared)));
        let telling = Telling::start(&shared.front.relay);
        let mut hooks = JoinSet::new();
        let outcome = loop {
            match Box::pin(claim_towards(shared, turn)).await {
                Ok(Toward::Settled) => break Ok(()),
                Ok(Toward::Claimed(claimed)) => {
                    let id = claimed.turn.id;
                    let mut driving = tokio::spawn(drive(Arc::clone(shared), run, *claimed, None));
                    tokio::select! {
                        _ = &mut driving => {
                            let (shared, over) = (Arc::clone(shared), shutdown.clone());
                            hooks.spawn(async move {
                                effects::do_this(&shared, id.into(), &over).await;
                                endpoint_lanes::send_end(&shared, id, &over).await;
                            });
                            continue;
                        }
                        () = shutdown.cancelled() => {}
                    }
                    shared.release(run);
                    let _ = tokio::time::timeout(RELEASE_GRACE, driving).await;
                    break Ok(());
                }
                Ok(Toward::Elsewhere) => {}
                Err(error) if error.is_transient() => {
                    shared.front.telemetry.report(
                        &error,
                        Severity::Warning,
                        [("action", "claim".into())],
                    );
                }
                Err(error) => break Err(error),
            }
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                () = tokio::time::sleep(shared.workshop.options.poll_interval.min(Duration::from_millis(100))) => {}
            }
        };
        keeper.abort();
        beating.abort();
        telling.end().await;
        while hooks.join_next().await.is_some() {}
        beats::leave(shared).await;
        outcome
    }

    /// Names the server in the store. What passes is tried again where the store is needed next.
    async fn introduce(&self) -> Result<(), StoreError> {
        match Box::pin(beats::introduce(&self.shared)).await {
            Err(error) if error.is_transient() => {
                let context = [("action", "server.introduce".into())];
                let telemetry = &self.shared.front.telemetry;
                telemetry.report(&error, Severity::Warning, context);
                Ok(())
            }
            introduced => introduced,
        }
    }

    /// The client of the worker's server.
    pub fn client(&self) -> &Client {
        &self.shared.workshop.client
    }

    /// The host whose turns these are.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the client in the folder of the conversation's session, for calls about it that the host has none for.
    /// What OpenCode would run from that folder is moved out first.
    ///
    /// # Errors
    /// [`Unguarded`] when that cannot be done: the folder is not to be read then.
    pub async fn client_for(&self, conversation: &Conversation) -> Result<Client, Unguarded> {
        self.shared.guarded_client(conversation).await
    }
}

/// Hears of turns that other processes submit, for all workers of the host in this process.
async fn listen(front: Arc<Front>) {
    let _alone = front.listening.lock().await;
    let wake = || front.queue_changed.notify_waiters();
    front.store.listen(&wake).await;
}

#[async_trait]
impl LocalWorker for Shared {
    fn server(&self) -> &ServerName {
        &self.server.name
    }

    fn cancel(&self, turn: TurnId) {
        if let Some(running) = self.running().get(&turn) {
            running.control.order(|orders| orders.cancel = true);
        }
    }

    fn send_answers(self: Arc<Self>, turn: TurnId) {
        answering::send_open(&self, turn);
    }

    async fn do_effect(&self, id: EffectId, at_most: Duration) {
        if !self.standing().may_claim() {
            return;
        }
        let over = CancellationToken::new();
        let doing = effects::do_this(self, id, &over);
        tokio::pin!(doing);
        if tokio::time::timeout(at_most, &mut doing).await.is_err() {
            // What is broken off is due again at once, and told so before this returns.
            over.cancel();
            doing.await;
        }
    }
}
