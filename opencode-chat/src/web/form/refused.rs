//! Prompts and files that were not taken, as problems.

use axum::http::StatusCode;
use opencode_host::SubmitError;
use opencode_host::blobs::BlobError;
use opencode_host::store::StoreError;
use opencode_host::uploads::UploadError;

use crate::web::in_words::{bytes, sentence};
use crate::web::problem::Problem;

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

/// Why a file was not taken, by its name.
pub(crate) fn refused(error: UploadError, name: &str) -> Problem {
    let unsent = "Nothing was sent.";
    let error = match error {
        UploadError::Store(error) if !matches!(error, StoreError::QuotaExceeded { .. }) => {
            return error.into();
        }
        error => error,
    };
    match &error {
        UploadError::Blob(BlobError::TooLarge { cap }) => {
            let text = format!(
                "“{name}” has more than {}, the most that a file may have here. {unsent} Whoever runs this application \
                 allows more with --max-upload.",
                bytes(*cap)
            );
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "A file is too large", text)
        }
        UploadError::Blob(BlobError::Source(source)) => cut(source),
        UploadError::Store(StoreError::QuotaExceeded { .. }) => {
            let text = format!(
                "“{name}”: {} {unsent} Whoever runs this application allows more with --upload-quota.",
                sentence(&error)
            );
            let title = "Too much for one conversation";
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, title, text)
        }
        UploadError::Blob(_) | UploadError::Sandbox(_) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "upload");
            let text = format!("“{name}”: {} {unsent}", sentence(&error));
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "A file could not be kept",
                text,
            )
        }
        _ => {
            let text = format!("“{name}”: {} {unsent}", sentence(&error));
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "A file was not taken",
                text,
            )
        }
    }
}

/// An upload that the connection's end cut off.
pub(crate) fn cut(error: &impl std::fmt::Display) -> Problem {
    tracing::debug!(%error, "upload");
    let text = "The connection ended before all of it was here. Nothing was sent: try again.";
    Problem::new(StatusCode::BAD_REQUEST, "The upload was cut off", text)
}
