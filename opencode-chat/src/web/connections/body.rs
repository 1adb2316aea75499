//! Bodies that tell their seat how far they are.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::seats::Seat;

/// The longest between two pieces of a request's body.
const PIECE: Duration = Duration::from_secs(30);
/// How long all waits for a body may take together, beside the time that [`RATE`] allows for what has come.
const SLACK: Duration = Duration::from_secs(60);
/// The fewest bytes a second of a body that is waited for.
const RATE: u64 = 1 << 10;

/// The body of a request. A client that sends too slowly, or not at all, is not waited for: the body fails.
#[derive(Debug)]
pub(super) struct Received<B> {
    body: B,
    seat: Arc<Seat>,
    wait: Option<Wait>,
    /// How long it was waited for, all in all.
    waited: Duration,
    bytes: u64,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl<B> Received<B> {
    pub(super) fn new(body: B, seat: Arc<Seat>) -> Self {
        Self {
            body,
            seat,
            wait: None,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// How long the next piece may take.
    fn patience(&self) -> Duration {
        let allowed = SLACK + Duration::from_secs(self.bytes / RATE);
        PIECE.min(allowed.saturating_sub(self.waited))
    }
}

impl<B> HttpBody for Received<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if let Some(wait) = self.wait.take() {
                self.waited += wait.since.elapsed();
                self.seat.leave_body();
            }
            if let Some(Ok(frame)) = &frame {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.wait.is_none() {
            let since = Instant::now();
            let end = Box::pin(sleep_until(since + self.patience()));
            self.wait = Some(Wait { since, end });
            self.seat.wait_for_body();
        }
        if let Some(wait) = &mut self.wait {
            ready!(wait.end.as_mut().poll(cx));
        }
        Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Received<B> {
    fn drop(&mut self) {
        self.seat.leave_body();
    }
}

/// The body of an answer: with its end the connection waits for the next request.
#[derive(Debug)]
pub(super) struct Sent<B> {
    body: B,
    seat: Arc<Seat>,
}

impl<B> Sent<B> {
    pub(super) fn new(body: B, seat: Arc<Seat>) -> Self {
        Self { body, seat }
    }
}

impl<B: HttpBody + Unpin> HttpBody for Sent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Sent<B> {
    fn drop(&mut self) {
        self.seat.rest();
    }
}
