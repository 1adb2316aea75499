//! Claiming turns and driving them, as many as there is room for.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Host, Shared};
use crate::id::TurnId;
use crate::reporter::Severity;
use crate::store::{Claim, ClaimedTurn, Lease, LeaseStatus, StoreError, TurnState};
use crate::turn::control::{Control, Orders};
use crate::turn::{Driven, Driver};

/// How long drivers get to write down what there is when the process ends.
const RELEASE_GRACE: Duration = Duration::from_secs(5);

/// A file that has been on its way into a sandbox for so long was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// How long between two sweeps.
const SWEEP_PAUSE: Duration = Duration::from_secs(3600);

/// A worker that looks for turns so much later than it wanted to was suspended.
const SUSPENDED: Duration = Duration::from_secs(1);

/// Why a worker stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The store cannot be worked with at all.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Host {
    /// Works on turns until `shutdown`: claims them, keeps their leases, hears
    /// of cancels. On shutdown it claims no more, writes down what the running
    /// ones have, and gives them back, so that another worker goes on at once.
    ///
    /// # Errors
    /// [`WorkerError`] when the store fails in a way that does not pass.
    pub async fn run_worker(&self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let shared = &self.shared;
        let keeper = tokio::spawn(keep_leases(Arc::clone(shared)));
        let sweeper = tokio::spawn(sweep(self.clone()));
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
                        drive(shared, claimed).await;
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
                        break Err(error.into());
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
        for control in shared.running().values() {
            control.order(|orders| orders.release = true);
        }
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
    /// See [`StoreError`].
    pub async fn run_turn(
        &self,
        turn: TurnId,
        shutdown: CancellationToken,
    ) -> Result<(), WorkerError> {
        let shared = &self.shared;
        let keeper = tokio::spawn(keep_leases(Arc::clone(shared)));
        let outcome = loop {
            match shared.claim_towards(turn).await {
                Ok(Toward::Settled) => break Ok(()),
                Ok(Toward::Claimed(claimed)) => {
                    let mut driving = tokio::spawn(drive(Arc::clone(shared), *claimed));
                    tokio::select! {
                        _ = &mut driving => continue,
                        () = shutdown.cancelled() => {}
                    }
                    for control in shared.running().values() {
                        control.order(|orders| orders.release = true);
                    }
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
                Err(error) => break Err(error.into()),
            }
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                () = tokio::time::sleep(shared.options.poll_interval.min(Duration::from_millis(100))) => {}
            }
        };
        keeper.abort();
        outcome
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
            worker: self.worker.clone(),
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
}

/// Drives one claimed turn. A panic in it ends this claim, not the process: its lease
/// runs out, the next claim goes on, and the last one allowed ends the turn.
async fn drive(shared: Arc<Shared>, claimed: ClaimedTurn) {
    let (turn, generation) = (claimed.turn.id, claimed.lease.generation);
    let control = Control::new(
        generation,
        Orders {
            cancel: claimed.turn.cancel_requested_at.is_some(),
            ..Orders::default()
        },
    );
    shared.running().insert(turn, control.clone());
    let live = shared.live.turn(turn);
    live.start(generation);
    let driver = |claimed| {
        Driver::new(
            Arc::clone(&shared),
            claimed,
            control.clone(),
            Arc::clone(&live),
        )
    };
    let driving = driver(claimed.clone()).run();
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
    shared.running().remove(&turn);
}

/// Removes, now and then, what crashed uploads left beside the sandboxes, and bytes that no message names where
/// the options say so. Sandboxes themselves stay: another store's conversations may have theirs below the same
/// root.
async fn sweep(host: Host) {
    let report = |error: &(dyn std::error::Error + 'static)| {
        let telemetry = &host.shared.telemetry;
        telemetry.report(error, Severity::Warning, [("action", "sweep".into())]);
    };
    loop {
        if let Some(age) = host.shared.options.sweep {
            match host.sweep_blobs(age).await {
                Ok(swept) => tracing::debug!(?swept, "swept blobs"),
                Err(error) => report(&error),
            }
        }
        if let (Some(root), Some(before)) = (
            host.shared.sandboxes.clone(),
            SystemTime::now().checked_sub(LEFT_BEHIND),
        ) && let Err(error) = crate::sandbox::blocking(move || root.sweep(before)).await
        {
            report(&error);
        }
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
}

/// Renews the leases of the turns that run here, and passes on what others say
/// of them: cancels, and losses.
async fn keep_leases(shared: Arc<Shared>) {
    let mut renewed = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(shared.options.poll_interval).await;
        let leases = shared.leases();
        if leases.is_empty() {
            continue;
        }
        let due = renewed.elapsed() >= shared.options.lease / 3;
        let statuses = if due {
            shared.store.renew(&leases, shared.options.lease).await
        } else {
            shared.store.check(&leases).await
        };
        match statuses {
            Ok(statuses) => {
                if due {
                    renewed = tokio::time::Instant::now();
                }
                shared.pass_on(&leases, &statuses);
            }
            Err(error) => {
                shared
                    .telemetry
                    .report(&error, Severity::Warning, [("action", "renew".into())])
            }
        }
    }
}

impl Shared {
    fn leases(&self) -> Vec<Lease> {
        self.running()
            .iter()
            .map(|(turn, control)| Lease {
                turn: *turn,
                generation: control.generation(),
            })
            .collect()
    }

    fn pass_on(&self, leases: &[Lease], statuses: &[LeaseStatus]) {
        let running = self.running();
        for (lease, status) in leases.iter().zip(statuses) {
            // The turn may have been claimed anew here meanwhile.
            let Some(control) = running
                .get(&lease.turn)
                .filter(|control| control.generation() == lease.generation)
            else {
                continue;
            };
            match status {
                LeaseStatus::Held {
                    cancel_requested: true,
                } => control.order(|orders| orders.cancel = true),
                LeaseStatus::Held {
                    cancel_requested: false,
                } => {}
                LeaseStatus::Lost => control.order(|orders| orders.lost = true),
            }
        }
    }
}
