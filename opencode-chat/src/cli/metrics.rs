//! Where metrics are told.

use std::net::SocketAddr;

use clap::Args;

/// Where metrics are told.
#[derive(Clone, Debug, Args)]
pub(crate) struct MetricsArgs {
    /// Address at which Prometheus finds /metrics, such as 127.0.0.1:9464; nowhere without it. They tell of numbers alone:
    /// no prompt, no answer, nobody's name
    #[arg(long, value_name = "ADDRESS", env = "OPENCODE_CHAT_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}
