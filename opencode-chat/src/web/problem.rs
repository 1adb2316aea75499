//! What could not be done, as a page for people and as JSON for scripts.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use opencode_host::AnswerError;
use opencode_host::blobs::BlobError;
use opencode_host::store::{Attachment, MetadataError, StoreError};

use super::in_words::sentence;

/// What could not be done, and what to do. Never tells how the inside looks.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) text: String,
    /// Which of the files that were sent it is about, from 0.
    pub(crate) file: Option<usize>,
    /// A prompt that was not taken.
    pub(crate) draft: Option<Draft>,
}

/// A prompt that was not taken.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Where it was sent.
    pub(crate) action: String,
    pub(crate) prompt: String,
    pub(crate) max_upload: u64,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            title,
            text: text.into(),
            file: None,
            draft: None,
        }
    }

    pub(crate) fn no_such_page() -> Self {
        let text = "There is nothing at this address. It may have been deleted.";
        Self::new(StatusCode::NOT_FOUND, "Not found", text)
    }

    pub(crate) fn no_such_action() -> Self {
        let text = "This address takes forms only. Go back and send the form again.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Nothing to see here", text)
    }

    /// Nobody has signed in, or not since long ago.
    pub(crate) fn signed_out() -> Self {
        let text = "You are signed out, so nothing was done. Sign in, then go back to the page before and send it again.";
        Self::new(StatusCode::UNAUTHORIZED, "Sign in first", text)
    }

    /// All connections of its kind are taken.
    pub(crate) fn crowded() -> Self {
        let text = "Too many are here at once. Try again in a moment.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "No room", text)
    }

    pub(crate) fn too_much() -> Self {
        let text =
            "A form may hold 2 MiB of text. Go back, shorten it, or give the text as a file.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Too much at once", text)
    }

    pub(crate) fn unreadable_form(status: StatusCode) -> Self {
        let text = "The form could not be read. Go back, reload the page, and send it again.";
        Self::new(status, "This form cannot be read", text)
    }

    pub(crate) fn unexpected() -> Self {
        let text = "The log of this application says more.";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong",
            text,
        )
    }

    pub(crate) fn deleted() -> Self {
        let text =
            "This conversation was deleted. Open it once more and undo that, then send again.";
        Self::new(StatusCode::CONFLICT, "Deleted", text)
    }

    /// What cannot be noted at a conversation.
    pub(crate) fn of_note(error: &MetadataError) -> Self {
        let text = format!("A program has noted much at this conversation: {error}.");
        Self::new(StatusCode::CONFLICT, "No room for this", text)
    }

    /// A file whose bytes cannot be had.
    pub(crate) fn of_file(error: &BlobError, file: &Attachment) -> Self {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(%error, cause, file = %file.id, digest = %file.digest, "bytes of a file");
        let (status, title, text) = match error {
            BlobError::Missing { .. } => (
                StatusCode::NOT_FOUND,
                "The file's content is gone",
                "The conversation names it, but the storage of files does not have it any more. Restore the storage \
                 from a backup, or ask the agent to make the file again.",
            ),
            BlobError::Corrupt { .. } => (
                StatusCode::BAD_GATEWAY,
                "The file is damaged",
                "The storage of files has other bytes than were kept, so they are not given out. Restore the storage \
                 from a backup, or ask the agent to make the file again.",
            ),
            BlobError::Denied(_) => (
                StatusCode::BAD_GATEWAY,
                "The storage of files refuses access",
                "Check its credentials, or the permissions of its folder: `opencode-chat doctor` says more.",
            ),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The storage of files does not answer",
                "Try again in a moment. If it stays, `opencode-chat doctor` says more.",
            ),
        };
        Self::new(status, title, text)
    }

    /// The same, about one of the files that were sent.
    pub(crate) fn about_file(self, file: usize) -> Self {
        Self {
            file: Some(file),
            ..self
        }
    }

    /// The same, giving the prompt back that was sent to `action`.
    pub(crate) fn with_draft(self, max_upload: u64, action: String, prompt: String) -> Self {
        Self {
            draft: Some(Draft {
                action,
                prompt,
                max_upload,
            }),
            ..self
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::no_such_page(),
            StoreError::Busy { .. } => Self::new(
                StatusCode::CONFLICT,
                "Not while an answer is being written",
                "Wait until it is complete, or stop it, then try again.",
            ),
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
            StoreError::OverBudget(_) => Self::new(
                StatusCode::PAYMENT_REQUIRED,
                "The budget is used up",
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

impl From<askama::Error> for Problem {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "template");
        Self::unexpected()
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
            AnswerError::AlreadyAnswered { ref by, at } => {
                let who = by.as_ref().map(|who| format!(" by {who}"));
                let at = DateTime::from_timestamp_millis(at.0);
                let at = at.map(|at| at.format(" at %H:%M UTC").to_string());
                let text = format!(
                    "This was answered{}{}, and that answer counts.",
                    who.unwrap_or_else(|| " before".to_owned()),
                    at.unwrap_or_default(),
                );
                Self::new(StatusCode::CONFLICT, "Too late", text)
            }
            AnswerError::Unsent => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The answer is kept",
                "It is not sent yet: nobody works on this answer at the moment. It is sent as soon as somebody does.",
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
            error => {
                tracing::warn!(%error, "answer");
                Self::unexpected()
            }
        }
    }
}

impl IntoResponse for Problem {
    /// The status alone: `views::problem_page::present` knows who asked.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
