//! Error answers in the shapes of 1.18.33.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::dialect::Dialect;

/// What a route answers when it cannot do what was asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    SessionNotFound(String),
    MessageNotFound(String),
    /// As [`Refusal::MessageNotFound`], on versions that make a 500 of it.
    MessageFailed(String),
    /// The session's messages cannot be read.
    HistoryBroken,
    /// There is no such route.
    NoRoute,
    /// There is no such route, and the version asks a site on the internet for it.
    Proxied,
    /// What stands where a session's id belongs is none.
    NoSessionId(&'static str),
    QuestionNotFound(String),
    PermissionNotFound(String),
    /// The body is JSON, but not what the endpoint takes.
    Payload(String),
    /// A path parameter has the wrong form.
    Params(String),
    /// A query parameter has the wrong form.
    Query,
    /// Anything the server did not expect: a body that is no JSON, an agent that does not exist.
    Unexpected,
}

impl Refusal {
    /// What a version without this route answers.
    pub(crate) fn no_route(dialect: &Dialect) -> Self {
        if dialect.proxies_unknown_routes {
            Self::Proxied
        } else {
            Self::NoRoute
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let not_found = |message: String| named("NotFoundError", &json!({"message": message}));
        let bad = |message: String, kind: &str| {
            named("BadRequest", &json!({"message": message, "kind": kind}))
        };
        let (status, body) = match self {
            Self::SessionNotFound(id) => (
                StatusCode::NOT_FOUND,
                not_found(format!("Session not found: {id}")),
            ),
            Self::MessageNotFound(id) => (
                StatusCode::NOT_FOUND,
                not_found(format!("Message not found: {id}")),
            ),
            Self::MessageFailed(id) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                named(
                    "UnknownError",
                    &json!({"message": format!("Error: Message not found: {id}\n    at <anonymous>")}),
                ),
            ),
            Self::NoRoute => return (StatusCode::NOT_FOUND, "404 Not Found").into_response(),
            Self::NoSessionId(id) => (
                StatusCode::BAD_REQUEST,
                json!({
                    "data": {"id": id}, "success": false,
                    "error": [{
                        "origin": "string", "code": "invalid_format", "format": "starts_with", "prefix": "ses",
                        "path": ["id"], "message": "Invalid string: must start with \"ses\"",
                    }],
                }),
            ),
            Self::Proxied => (
                StatusCode::INTERNAL_SERVER_ERROR,
                named(
                    "UnknownError",
                    &json!({"message": "Error: Unable to connect. Is the computer able to access the url?"}),
                ),
            ),
            Self::QuestionNotFound(id) => (
                StatusCode::NOT_FOUND,
                json!({
                    "_tag": "QuestionNotFoundError", "requestID": id,
                    "message": format!("Question request not found: {id}"),
                }),
            ),
            Self::PermissionNotFound(id) => (
                StatusCode::NOT_FOUND,
                json!({
                    "_tag": "PermissionNotFoundError", "requestID": id,
                    "message": format!("Permission request not found: {id}"),
                }),
            ),
            Self::Payload(message) => (StatusCode::BAD_REQUEST, bad(message, "Payload")),
            Self::Params(message) => (StatusCode::BAD_REQUEST, bad(message, "Params")),
            Self::Query => (StatusCode::BAD_REQUEST, json!({"_tag": "BadRequest"})),
            Self::Unexpected | Self::HistoryBroken => (
                StatusCode::INTERNAL_SERVER_ERROR,
                named(
                    "UnknownError",
                    &json!({
                        "message": "Unexpected server error. Check server logs for details.",
                        "ref": "err_00000000",
                    }),
                ),
            ),
        };
        (status, Json(body)).into_response()
    }
}

fn named(name: &str, data: &Value) -> Value {
    json!({"name": name, "data": data})
}
