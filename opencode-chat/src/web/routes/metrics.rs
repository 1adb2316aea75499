//! `GET /metrics`: numbers for Prometheus.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use opencode_host::Host;
use opencode_host::metrics::{CONTENT_TYPE, Metrics};

/// The one page of the address of metrics.
pub(crate) fn router(host: Host, metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", get(tell))
        .with_state((host, metrics))
}

async fn tell(State((host, metrics)): State<(Host, Metrics)>) -> Response {
    let text = metrics.text(&host).await;
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}
