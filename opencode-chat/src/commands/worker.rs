//! `worker`: turns only.

use std::process::ExitCode;

use super::shutdown_signal;
use crate::app::{host, open_store};
use crate::cli::WorkerArgs;
use crate::exit::Failure;
use crate::product::Chat;
use crate::upstream::Upstream;

/// Works on turns until it is told to stop.
pub(crate) async fn run(args: WorkerArgs) -> Result<ExitCode, Failure> {
    let store = open_store(&args.store).await?;
    let product = Chat::new(&args.upstream, &args.store)?;
    let upstream = Upstream::find(&args.upstream, &args.store).await?;
    let shutdown = shutdown_signal();
    tracing::info!(opencode = upstream.client.server(), "working");
    let host = host(upstream.client.clone(), store, product, &args.limits);
    let outcome = host.run_worker(shutdown).await;
    upstream.stop().await;
    outcome.map_err(|error| Failure::error(error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
