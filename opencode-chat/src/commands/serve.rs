//! `serve`: the web app.

use std::process::ExitCode;
use std::sync::Arc;

use super::exposure::{Exposure, refusal};
use super::observing::Observing;
use super::shutdown_signal;
use super::worker::{greet, patiently, work};
use crate::assembly::{counted_host, open_accounts, open_store, worker};
use crate::cli::ServeArgs;
use crate::descriptors;
use crate::exit::Failure;
use crate::product::Chat;
use crate::upstream::{Kind, Upstream};
use crate::web;

/// Serves the pages, and runs the turns unless told not to.
pub(crate) async fn run(args: ServeArgs) -> Result<ExitCode, Failure> {
    let webhooks = args.webhooks.webhooks()?;
    let descriptors = descriptors::raise();
    let store = patiently(|| open_store(&args.store)).await?;
    let accounts = open_accounts(&args.store).await?;
    let exposure = Exposure::of(&args.reach, accounts.are_used().await?);
    if let Exposure::Refused(address) = exposure {
        return Err(Failure::configuration(refusal(address)));
    }
    let product = Chat::new(&args.upstream.sandbox, &args.store)?.used_by(accounts.clone());
    let listener = tokio::net::TcpListener::bind(args.reach.listen)
        .await
        .map_err(|error| {
            Failure::configuration(format!(
                "cannot listen on {}: {error}. Choose another with --listen",
                args.reach.listen
            ))
        })?;
    if let Some(warning) = exposure.warning() {
        tracing::warn!("{warning}");
    }
    let observing = Observing::open(&args.metrics).await?;
    let upstream = Upstream::find(&args.upstream, &args.store).await?;
    let max_upload = args.uploads.max_upload.0;
    let options = args.uploads.options();
    let (budgets, bus) = (&args.budgets, &args.bus);
    let metrics = &observing.metrics;
    let host = counted_host(store, &product, options, budgets, bus, metrics).await?;
    let worker = worker(
        &host,
        &upstream,
        product.clone(),
        &args.server,
        &args.limits,
        webhooks.told(),
    )?;
    let shutdown = shutdown_signal();
    observing.serve(&host, &shutdown);
    let serving = async {
        let served = web::serve(
            listener,
            web::Site {
                host,
                product: Arc::new(product),
                accounts: Some(accounts),
                base: args.reach.base_path,
                stand_in: upstream.kind == Kind::Impostor,
                max_upload,
                allowed_hosts: args.reach.allowed_hosts,
                open_to_network: matches!(exposure, Exposure::Network(_)),
                unasked: upstream.sub_agents.are_unasked(),
                streams: web::streams(descriptors),
                wholes: web::WHOLES,
            },
            descriptors,
            shutdown.clone(),
        )
        .await;
        shutdown.cancel();
        served.map_err(|error| Failure::error(format!("the web server stopped: {error}")))
    };
    // The pages are there while OpenCode starts.
    let working = async {
        let worked = if args.no_worker {
            greet(&upstream, &shutdown).await.map(|_| ())
        } else {
            work(&worker, &upstream, shutdown.clone()).await
        };
        if worked.is_err() {
            shutdown.cancel();
        }
        worked
    };
    let (served, worked) = tokio::join!(serving, working);
    upstream.stop().await;
    served.and(worked).map(|()| ExitCode::SUCCESS)
}
