//! A body that ends as it should, or visibly does not.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use opencode_host::blobs::BlobStream;
use opencode_host::store::Attachment;
use tokio_util::sync::CancellationToken;

/// The bytes of a stream whose first ones were taken from it already.
///
/// What comes is given out one chunk late. Whether a file is damaged shows at its end: with its last bytes held back
/// until then, whoever reads it gets less than was announced, and no damaged file that looks whole.
pub(super) fn body(
    first: Option<Bytes>,
    stream: BlobStream,
    file: &Attachment,
    shutdown: &CancellationToken,
) -> Body {
    let (file, shutdown) = (file.id, shutdown.clone());
    let state = Some((first, stream));
    let late = stream::unfold(state, move |state| {
        let shutdown = shutdown.clone();
        async move {
            let (held, mut stream) = state?;
            let held = held?;
            let next = tokio::select! {
                next = stream.next() => next,
                // An application that stops waits for nobody's download.
                () = shutdown.cancelled() => Some(Err(stopped())),
            };
            match next.transpose() {
                Ok(next) => Some((Ok(held), Some((next, stream)))),
                Err(error) => {
                    tracing::error!(%error, %file, "bytes of a file, in the middle");
                    Some((Err(io::Error::other(error)), None))
                }
            }
        }
    });
    Body::from_stream(late)
}

fn stopped() -> opencode_host::blobs::BlobError {
    opencode_host::blobs::BlobError::Source(io::ErrorKind::Interrupted.into())
}
