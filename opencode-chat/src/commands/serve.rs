//! `serve`: the web app.

use std::process::ExitCode;

use super::shutdown_signal;
use crate::app::{host, open_store};
use crate::cli::ServeArgs;
use crate::exit::Failure;
use crate::product::Chat;
use crate::upstream::Upstream;
use crate::web;

/// Serves the pages, and runs the turns unless told not to.
pub(crate) async fn run(args: ServeArgs) -> Result<ExitCode, Failure> {
    let store = open_store(&args.store).await?;
    let product = Chat::new(&args.upstream, &args.store)?;
    let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(|error| {
        Failure::configuration(format!("cannot listen on {}: {error}. Choose another with --listen", args.listen))
    })?;
    let upstream = Upstream::find(&args.upstream, &args.store).await?;
    let host = host(upstream.client.clone(), store, product, &args.limits);
    let shutdown = shutdown_signal();
    let working = (!args.no_worker).then(|| {
        let (host, shutdown) = (host.clone(), shutdown.clone());
        tokio::spawn(async move { host.run_worker(shutdown).await })
    });
    let served = web::serve(listener, host, upstream.kind.clone(), shutdown.clone()).await;
    shutdown.cancel();
    if let Some(working) = working {
        let _ = working.await;
    }
    upstream.stop().await;
    served.map_err(|error| Failure::error(format!("the web server stopped: {error}")))?;
    Ok(ExitCode::SUCCESS)
}
