//! File work beside the async threads.

use std::io;

use super::error::SandboxError;

/// Runs file work on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|stopped| {
            Err(SandboxError::Io {
                action: "finish",
                path: "file work".to_owned(),
                source: io::Error::other(stopped),
            })
        })
}
