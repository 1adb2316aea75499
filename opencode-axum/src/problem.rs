//! What could not be done, as a problem document (RFC 9457).
//!
//! Every answer of the router that is no success is one, also where axum refuses a request before a handler sees it.

use std::fmt;

use axum::http::StatusCode;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use opencode_host::blobs::BlobError;
use opencode_host::store::{Attachment, StoreError};
use opencode_host::uploads::UploadError;
use opencode_host::{AnswerError, ScheduleError, SpendingError, SubmitError};
use serde::Serialize;
use utoipa::ToSchema;

/// The content type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What could not be done: a problem document (RFC 9457) with a `code` for programs.
///
/// The `type` is `urn:problem-type:opencode-host:CODE`. Codes do not change; titles and details are for people, and may.
///
/// ```
/// use axum::http::StatusCode;
/// use opencode_axum::Problem;
///
/// let problem = Problem::new(StatusCode::FORBIDDEN, "trial_ended", "The trial has ended", "Choose a plan to go on.");
/// assert_eq!(problem.code(), "trial_ended");
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument<'a> {
    /// `urn:problem-type:opencode-host:` and the code; applications may have codes of their own.
    r#type: String,
    /// The kind of problem, for people.
    title: &'a str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened this time, and what to do about it, for people.
    detail: &'a str,
    /// The kind of problem, for programs.
    code: &'a str,
}

impl Problem {
    /// A problem of an application's own kind.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    /// The caller has not said who they are: 401, `unauthenticated`. `challenge` is how they can, the value of
    /// `WWW-Authenticate`: `Bearer`, say.
    pub fn unauthenticated(challenge: &'static str) -> Self {
        let detail = "Sign in, and send the request again.";
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "Not signed in",
            detail,
        )
        .header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }

    /// The caller may not do this: 403, `forbidden`.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// Nothing is there: 404, `not_found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// The log says more: 500, `internal`.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong",
            "The log of this application says more.",
        )
    }

    /// A fault of the application's: the log has the error, the caller is told [`internal`](Self::internal) and no more.
    ///
    /// ```
    /// # use opencode_axum::Problem;
    /// fn price(order: &str) -> Result<u32, Problem> {
    ///     order.parse().map_err(Problem::fault)
    /// }
    /// ```
    pub fn fault(error: impl fmt::Display) -> Self {
        tracing::error!(error = format!("{error:#}"), "a fault of the application");
        Self::internal()
    }

    /// It may work in a moment: 503, `unavailable`, with `Retry-After`.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Not right now",
            detail,
        )
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// What was sent means nothing here: 422.
    pub(crate) fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        let title = "This cannot be done with what was sent";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, title, detail)
    }

    /// What was sent cannot be read: 400.
    pub(crate) fn unreadable(code: &'static str, detail: impl Into<String>) -> Self {
        let title = "The request cannot be read";
        Self::new(StatusCode::BAD_REQUEST, code, title, detail)
    }

    /// Nothing is left of what may be used: 402, `over_budget`.
    fn over_budget(detail: String) -> Self {
        let title = "The budget is used up";
        Self::new(StatusCode::PAYMENT_REQUIRED, "over_budget", title, detail)
    }

    /// Too much was sent: 413.
    pub(crate) fn too_large(code: &'static str, detail: impl Into<String>) -> Self {
        let title = "Too large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, title, detail)
    }

    /// It does not fit what is there: 409.
    pub(crate) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        let title = "Not as things are";
        Self::new(StatusCode::CONFLICT, code, title, detail)
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The kind of problem, for programs.
    pub fn code(&self) -> &str {
        self.code
    }

    /// The bytes of a file are not had.
    pub(crate) fn of_file(error: &BlobError, file: &Attachment) -> Self {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(%error, cause, file = %file.id, digest = %file.digest, "bytes of a file");
        let (status, code) = match error {
            BlobError::Missing { .. } => (StatusCode::NOT_FOUND, "content_missing"),
            BlobError::Corrupt { .. } => (StatusCode::BAD_GATEWAY, "content_damaged"),
            _ => return Self::unavailable("The storage of files does not answer. Try again."),
        };
        let detail = "The storage of files does not have the content of this file as it was kept. Whoever runs \
                      this application can restore it from a backup.";
        Self::new(status, code, "The content is not had", detail)
    }

    fn of_blob(error: &BlobError) -> Self {
        match error {
            BlobError::TooLarge { .. } => Self::too_large("file_too_large", sentence(error)),
            BlobError::Source(_) => Self::unreadable("cut_off", "A file was cut off on its way."),
            _ => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(%error, cause, "upload");
                Self::unavailable("The storage of files does not take anything. Try again.")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = ProblemDocument {
            r#type: format!("urn:problem-type:opencode-host:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
        };
        // Texts and a number: nothing that JSON cannot say.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { .. } => Self::not_found(sentence(&error)),
            StoreError::TooLong { .. } => Self::unprocessable("too_long", sentence(&error)),
            StoreError::Busy { .. } => Self::conflict("busy", sentence(&error)),
            StoreError::NameTaken { .. } => Self::conflict("name_taken", sentence(&error)),
            StoreError::OverBudget(_) => Self::over_budget(sentence(&error)),
            StoreError::QuotaExceeded { .. } => Self::too_large("quota_exceeded", sentence(&error)),
            error if error.is_transient() => {
                tracing::warn!(%error, "store");
                Self::unavailable("The database is busy or cannot be reached. Try again.")
            }
            error => {
                tracing::error!(%error, "store");
                Self::internal()
            }
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match &error {
            UploadError::TooMany => Self::unprocessable("too_many_files", sentence(&error)),
            UploadError::NotConfigured => {
                Self::unprocessable("no_files_here", "This application takes no files.")
            }
            UploadError::Blob(error) => Self::of_blob(error),
            UploadError::Store(_) => match error {
                UploadError::Store(error) => error.into(),
                _ => Self::internal(),
            },
            error => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(%error, cause, "upload");
                Self::unavailable("A file could not be kept. Try again.")
            }
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(error) => error.into(),
            SubmitError::Upload(error) => error.into(),
            SubmitError::NoBudget => Self::unavailable(sentence(&error)),
            SubmitError::Empty => Self::unprocessable("empty_prompt", sentence(&error)),
            SubmitError::TooLong { .. } => Self::too_large("prompt_too_long", sentence(&error)),
            error => Self::unprocessable("refused_prompt", sentence(&error)),
        }
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::Store(error) => error.into(),
            ScheduleError::Submit(error) => error.into(),
            ScheduleError::TooMany => Self::conflict("too_many_schedules", sentence(&error)),
            error => Self::unprocessable("refused_schedule", sentence(&error)),
        }
    }
}

impl From<SpendingError> for Problem {
    fn from(error: SpendingError) -> Self {
        match error {
            SpendingError::Store(error) => error.into(),
            error => Self::unavailable(sentence(&error)),
        }
    }
}

impl From<AnswerError> for Problem {
    fn from(error: AnswerError) -> Self {
        let upstream = |code, title| {
            let detail = "OpenCode could not be told, or did not say that it was. Look whether the agent still waits, and \
                          answer again if it does.";
            Self::new(StatusCode::BAD_GATEWAY, code, title, detail)
        };
        match error {
            AnswerError::Store(error) => error.into(),
            AnswerError::NotWaiting => Self::conflict("not_waiting", sentence(&error)),
            AnswerError::AlreadyAnswered { .. } => {
                Self::conflict("already_answered", sentence(&error))
            }
            AnswerError::Upstream(error) => {
                tracing::warn!(%error, "answer");
                upstream("not_delivered", "The answer did not arrive")
            }
            AnswerError::Unconfirmed(error) => {
                tracing::warn!(%error, "answer");
                upstream("not_confirmed", "The answer may not have arrived")
            }
            error => {
                tracing::error!(%error, "answer");
                Self::internal()
            }
        }
    }
}

/// An error as a sentence: with a capital at its beginning and a full stop at its end.
pub(crate) fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    let end = if text.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    format!("{}{}{end}", first.unwrap_or_default(), chars.as_str())
}
