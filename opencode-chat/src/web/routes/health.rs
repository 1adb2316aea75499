//! `GET /health`: for whoever watches over the process.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::web::app::Shared;

/// 200 while the database answers, else 503.
pub(crate) async fn check(State(shared): State<Shared>) -> Response {
    let (status, word, detail) = match shared.host().store().now().await {
        Ok(_) => (StatusCode::OK, "ok", None),
        Err(error) => {
            tracing::warn!(%error, "health");
            let detail = Some(error.to_string());
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let body = Json(json!({ "status": word, "version": version, "detail": detail }));
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}
