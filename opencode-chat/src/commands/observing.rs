//! `--metrics-listen`: numbers for those who watch over the process, at an address of their own.

use opencode_host::Host;
use opencode_host::metrics::Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::MetricsArgs;
use crate::exit::Failure;
use crate::web;

/// What is counted here, and where it is asked for.
#[derive(Debug)]
pub(super) struct Observing {
    pub(super) metrics: Metrics,
    listener: Option<TcpListener>,
}

impl Observing {
    /// Counts, and listens where the arguments say so.
    pub(super) async fn open(args: &MetricsArgs) -> Result<Self, Failure> {
        let metrics = Metrics::new().map_err(|error| Failure::error(error.to_string()))?;
        let listener = match args.metrics_listen {
            None => None,
            Some(address) => Some(TcpListener::bind(address).await.map_err(|error| {
                Failure::configuration(format!(
                    "cannot listen on {address}: {error}. Choose another with --metrics-listen"
                ))
            })?),
        };
        Ok(Self { metrics, listener })
    }

    /// Answers until `shutdown`.
    pub(super) fn serve(self, host: &Host, shutdown: &CancellationToken) {
        let Some(listener) = self.listener else {
            return;
        };
        if let Ok(address) = listener.local_addr() {
            tracing::info!("metrics at http://{address}/metrics");
        }
        let (host, shutdown) = (host.clone(), shutdown.clone());
        tokio::spawn(web::serve_metrics(listener, host, self.metrics, shutdown));
    }
}
