//! A body that ends as it should, or visibly does not.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use opencode_host::blobs::{BlobError, BlobStream};
use opencode_host::id::AttachmentId;
use opencode_host::store::Attachment;
use tokio_util::sync::CancellationToken;

/// The bytes of a stream.
///
/// What comes is given out one chunk late. Whether a file is damaged shows at its end: with its last bytes held back
/// until then, whoever reads it gets less than was announced, and no damaged file that looks whole.
///
/// # Errors
/// What is wrong with the beginning: of a small file, with all of it.
pub(crate) async fn body(
    mut stream: BlobStream,
    file: &Attachment,
    shutdown: &CancellationToken,
) -> Result<Body, BlobError> {
    let first = stream.next().await.transpose()?;
    let second = match first {
        Some(_) => stream.next().await.transpose()?,
        // Behind its end a stream is not asked again.
        None => None,
    };
    let late = Late {
        held: [first, second],
        stream,
        file: file.id,
        shutdown: shutdown.clone(),
    };
    let late = stream::unfold(Some(late), async |late| late?.next().await);
    Ok(Body::from_stream(late))
}

/// A stream whose next two chunks are known to be there.
struct Late {
    held: [Option<Bytes>; 2],
    stream: BlobStream,
    file: AttachmentId,
    shutdown: CancellationToken,
}

impl Late {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Option<Self>)> {
        let [first, second] = self.held;
        let first = first?;
        if second.is_none() {
            return Some((Ok(first), None));
        }
        let next = tokio::select! {
            next = self.stream.next() => next,
            // An application that stops waits for nobody's download.
            () = self.shutdown.cancelled() => Some(Err(stopped())),
        };
        match next.transpose() {
            Ok(next) => {
                self.held = [second, next];
                Some((Ok(first), Some(self)))
            }
            Err(error) => {
                tracing::error!(%error, file = %self.file, "bytes of a file, in the middle");
                Some((Err(io::Error::other(error)), None))
            }
        }
    }
}

fn stopped() -> BlobError {
    BlobError::Source(io::ErrorKind::Interrupted.into())
}
