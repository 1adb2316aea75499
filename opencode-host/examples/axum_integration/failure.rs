//! How a request fails.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// What a browser is told: the status alone. The log has the rest.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) StatusCode);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        tracing::error!(%error, "request");
        Self(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
