//! `worker`: turns only.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use opencode_host::outcome::Reason;
use opencode_host::turn::Limits;
use opencode_host::{HostOptions, Worker};
use tokio_util::sync::CancellationToken;

use super::observing::Observing;
use super::shutdown_signal;
use crate::assembly::{counted_host, open_accounts, open_store, worker};
use crate::cli::WorkerArgs;
use crate::descriptors;
use crate::exit::Failure;
use crate::product::Chat;
use crate::upstream::{SHOWS_PASSWORD, Upstream, models_warning};

/// How long between two looks for a server that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// Works on turns until it is told to stop.
pub(crate) async fn run(args: WorkerArgs) -> Result<ExitCode, Failure> {
    let webhooks = args.webhooks.webhooks()?;
    descriptors::raise();
    let store = patiently(|| open_store(&args.store)).await?;
    let accounts = open_accounts(&args.store).await?;
    let product = Chat::new(&args.upstream.sandbox, &args.store)?.used_by(accounts);
    let upstream = Upstream::find(&args.upstream, &args.store).await?;
    let observing = Observing::open(&args.metrics).await?;
    let (options, metrics) = (HostOptions::default(), &observing.metrics);
    let (budgets, bus) = (&args.budgets, &args.bus);
    let host = counted_host(store, &product, options, budgets, bus, metrics).await?;
    let worker = worker(
        &host,
        &upstream,
        product,
        &args.server,
        &args.limits,
        webhooks.told(),
    )?;
    let shutdown = shutdown_signal();
    observing.serve(&host, &shutdown);
    let outcome = work(&worker, &upstream, shutdown).await;
    upstream.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Works on turns from when the server answers until `shutdown`.
pub(crate) async fn work(
    worker: &Worker,
    upstream: &Upstream,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    if !greet(upstream, &shutdown).await? {
        return Ok(());
    }
    tracing::info!("working on turns");
    let outcome = worker.run(shutdown).await;
    outcome.map_err(|error| Failure::error(error.to_string()))
}

/// Waits until the server answers, and logs what there is to know of it. False when `shutdown` came first.
pub(crate) async fn greet(
    upstream: &Upstream,
    shutdown: &CancellationToken,
) -> Result<bool, Failure> {
    if let Some(banner) = upstream.banner() {
        tracing::warn!("{banner}");
        return Ok(true);
    }
    for warning in &upstream.warnings {
        tracing::warn!("{warning}");
    }
    let health = tokio::select! {
        health = patiently(|| upstream.ready()) => health?,
        () = shutdown.cancelled() => return Ok(false),
    };
    if upstream.shows_password().await {
        tracing::warn!("{SHOWS_PASSWORD}");
    }
    let version = health.map(|health| health.version);
    tracing::info!(server = upstream.client.server(), kind = ?upstream.kind, version, "OpenCode answers");
    let client = upstream.client.clone();
    // Turns need not wait for this.
    tokio::spawn(async move {
        if let Some(warning) = models_warning(&client).await {
            tracing::warn!("{warning}");
        }
    });
    Ok(true)
}

/// Tries again what is away for a moment: a server or a database that is restarted, or started beside this.
pub(crate) async fn patiently<T>(
    attempt: impl AsyncFn() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let patience = Limits::default().unreachable;
    let since = Instant::now();
    let mut told = false;
    loop {
        match attempt().await {
            Err(failure) if failure.reason == Reason::Unreachable && since.elapsed() < patience => {
                if !told {
                    let seconds = patience.as_secs();
                    tracing::warn!("{}; trying again for {seconds} s", failure.message());
                    told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}
