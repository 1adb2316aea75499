//! Answers that are server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How often a silent connection shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A comment, which readers pass over.
const COMMENT: &str = ":\n\n";

/// Proxies hold back what they may buffer or compress, and nobody would see a question.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    ),
    (
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    ),
    (
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    ),
];

/// Sends lines as they come, and comments while none do. Nothing is queued: a line is made when the connection takes
/// it. Ends with the lines, or with `shutdown`.
pub(crate) fn response(
    lines: impl Stream<Item = String> + Send + 'static,
    seat: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) -> Response {
    let lines = Box::pin(lines);
    let lines = stream::unfold((lines, seat), move |(mut lines, seat)| {
        let shutdown = shutdown.clone();
        async move {
            let line = tokio::select! {
                biased;
                () = shutdown.cancelled() => None,
                line = timeout(KEEP_ALIVE, lines.next()) => match line {
                    Ok(line) => line,
                    Err(_) => Some(COMMENT.to_owned()),
                },
            };
            Some((Ok::<_, Infallible>(line?), (lines, seat)))
        }
    });
    (HEADERS, Body::from_stream(lines)).into_response()
}
