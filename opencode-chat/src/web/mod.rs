//! The pages.

use axum::Router;
use opencode_host::Host;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::upstream::Kind;

/// Serves the pages until `shutdown`.
pub(crate) async fn serve(
    listener: TcpListener,
    _host: Host,
    _upstream: Kind,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, Router::new()).with_graceful_shutdown(async move { shutdown.cancelled().await }).await
}
