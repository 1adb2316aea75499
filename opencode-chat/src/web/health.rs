//! `GET /health`: for whoever watches over the process.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;

/// 200 while the database answers, else 503.
pub(super) async fn check(State(app): State<App>) -> Response {
    let (status, word) = match app.host.store().now().await {
        Ok(_) => (StatusCode::OK, "ok"),
        Err(error) => {
            tracing::warn!(%error, "health");
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
    };
    let body = Json(json!({ "status": word, "version": env!("CARGO_PKG_VERSION") }));
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}
