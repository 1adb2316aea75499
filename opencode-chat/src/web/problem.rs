//! What could not be done, as a page for people and as JSON for scripts.

use askama::Template;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use opencode_host::store::StoreError;
use opencode_host::visible::line;
use opencode_host::{AnswerError, SubmitError};
use serde_json::json;

use super::App;
use super::base_path::BasePath;
use super::layout::Composer;
use super::submission::refused;

/// What could not be done, and what to do. Never tells how the inside looks.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    text: String,
    /// Which of the files that were sent it is about, from 0.
    file: Option<usize>,
    /// A prompt that was not taken.
    draft: Option<Draft>,
}

/// A prompt that was not taken.
#[derive(Clone, Debug)]
struct Draft {
    /// Where it was sent.
    action: String,
    prompt: String,
    max_upload: u64,
}

impl Problem {
    pub(super) fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            title,
            text: text.into(),
            file: None,
            draft: None,
        }
    }

    pub(super) fn no_such_page() -> Self {
        let text = "There is nothing at this address. It may have been deleted.";
        Self::new(StatusCode::NOT_FOUND, "Not found", text)
    }

    pub(super) fn no_such_action() -> Self {
        let text = "This address takes forms only. Go back and send the form again.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Nothing to see here", text)
    }

    pub(super) fn too_much() -> Self {
        let text =
            "A form may hold 2 MiB of text. Go back, shorten it, or give the text as a file.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Too much at once", text)
    }

    pub(super) fn unreadable_form(status: StatusCode) -> Self {
        let text = "The form could not be read. Go back, reload the page, and send it again.";
        Self::new(status, "This form cannot be read", text)
    }

    /// The same, about one of the files that were sent.
    pub(super) fn about_file(self, file: usize) -> Self {
        Self {
            file: Some(file),
            ..self
        }
    }

    /// The same, giving the prompt back that was sent to `action`.
    pub(super) fn with_draft(self, app: &App, action: String, prompt: String) -> Self {
        Self {
            draft: Some(Draft {
                action,
                prompt,
                max_upload: app.max_upload,
            }),
            ..self
        }
    }

    fn page(&self, base: &BasePath) -> askama::Result<String> {
        #[derive(Template)]
        #[template(path = "problem.html")]
        struct Page<'a> {
            base: &'a BasePath,
            title: &'a str,
            text: &'a str,
            composer: Option<Composer>,
        }
        let composer = self
            .draft
            .clone()
            .map(|draft| Composer::new(draft.action, draft.max_upload).with_draft(draft.prompt));
        Page {
            base,
            title: self.title,
            text: &self.text,
            composer,
        }
        .render()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::no_such_page(),
            StoreError::TooLong { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too long",
                error.to_string(),
            ),
            StoreError::QuotaExceeded { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Too much for one conversation",
                sentence(&error),
            ),
            error if error.is_transient() => {
                tracing::warn!(%error, "store");
                let text = "The database is busy or cannot be reached. Try again in a moment.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Not right now", text)
            }
            error => {
                tracing::error!(%error, "store");
                Self::unexpected()
            }
        }
    }
}

impl Problem {
    pub(super) fn unexpected() -> Self {
        let text = "The log of this application says more.";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong",
            text,
        )
    }
}

impl From<askama::Error> for Problem {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "template");
        Self::unexpected()
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(error) => error.into(),
            SubmitError::Upload(error) => refused(error, "The files"),
            error => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "This prompt cannot be sent",
                sentence(&error),
            ),
        }
    }
}

impl From<AnswerError> for Problem {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Store(error) => error.into(),
            AnswerError::NotWaiting => Self::new(
                StatusCode::CONFLICT,
                "Too late",
                "The agent does not wait for this answer any more. It may have been given elsewhere.",
            ),
            AnswerError::Upstream(error) => {
                tracing::warn!(%error, "answer");
                let text = "OpenCode could not be told. Try again; if it stays, see `opencode-chat doctor`.";
                Self::new(StatusCode::BAD_GATEWAY, "The answer did not arrive", text)
            }
            AnswerError::Unconfirmed(error) => {
                tracing::warn!(%error, "answer");
                let text = "OpenCode did not say that it got the answer. Look whether the agent still waits, and \
                            answer again if it does.";
                Self::new(
                    StatusCode::BAD_GATEWAY,
                    "The answer may not have arrived",
                    text,
                )
            }
        }
    }
}

/// An error's words as a sentence.
pub(super) fn sentence(error: &impl std::fmt::Display) -> String {
    let words = error.to_string();
    let mut chars = words.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).chain(['.']).collect())
        .unwrap_or_default()
}

impl IntoResponse for Problem {
    /// The status alone: [`present`] knows who asked.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Whether a script asks, and wants patches.
pub(super) fn is_script(headers: &header::HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes() == b"application/json")
}

/// Words a problem for who asked.
pub(super) async fn present(
    State(base): State<BasePath>,
    request: Request,
    next: Next,
) -> Response {
    let script = is_script(request.headers());
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>().cloned() else {
        return response;
    };
    let mut presented = if script {
        (
            problem.status,
            Json(json!({ "error": format!("{}. {}", problem.title, line(&problem.text)), "file": problem.file })),
        )
            .into_response()
    } else {
        match problem.page(&base) {
            Ok(page) => (problem.status, Html(page)).into_response(),
            Err(_) => (problem.status, line(&problem.text).to_string()).into_response(),
        }
    };
    // What the router has to say, such as which methods there are.
    if let Some(allow) = response.headers().get(header::ALLOW) {
        presented.headers_mut().insert(header::ALLOW, allow.clone());
    }
    presented
}
