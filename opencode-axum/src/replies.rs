//! A reply in an encoding of others: the views of a turn, one after the other, and its end.

use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use opencode_client::reply::View;
use opencode_host::id::TurnId;
use opencode_host::live::Cursor;
use opencode_host::store::{StoreError, StoreResult};
use opencode_host::turn::TurnResult;
use opencode_host::{TenantHost, ViewStream};
use tokio::time::{Instant, sleep_until};

/// The least time between two views of a connection.
const PACE: Duration = Duration::from_millis(40);
/// A view may take this part of the time to encode, so that long answers do not eat the processor.
const SHARE: u32 = 10;
/// How long a database that is away is waited for before it is asked again.
const AWAY: Duration = Duration::from_millis(500);
/// How often in a row it is asked again.
const TRIES: u32 = 60;

/// Encodes the reply to one turn for one front end, as lines of a `text/event-stream`.
pub(crate) trait Encoder: Send + 'static {
    /// What takes the front end to this view.
    fn view(&mut self, view: &View) -> String;

    /// Whether the front end goes on by another stream, though the turn is not over.
    fn rests(&self) -> bool {
        false
    }

    /// What is missing, and the end.
    fn finished(&mut self, result: &TurnResult) -> String;

    /// The end of a turn whose conversation was deleted.
    fn deleted(&mut self) -> String;
}

/// The reply to a turn, from its beginning.
pub(crate) async fn encoded(
    host: &TenantHost,
    turn: TurnId,
    encoder: impl Encoder,
) -> StoreResult<impl Stream<Item = String> + Send + 'static> {
    let reply = Reply {
        views: host.views(turn, Cursor::START).await?,
        host: host.clone(),
        turn,
        encoder,
        due: Instant::now(),
        failures: 0,
        at: At::Beginning,
    };
    Ok(stream::unfold(reply, |mut reply| async move {
        let lines = reply.next().await?;
        Some((lines, reply))
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Beginning,
    Views,
    End,
    Over,
}

struct Reply<E> {
    host: TenantHost,
    turn: TurnId,
    views: ViewStream,
    encoder: E,
    /// No view before this.
    due: Instant,
    /// How often in a row the database was away.
    failures: u32,
    at: At,
}

impl<E: Encoder> Reply<E> {
    async fn next(&mut self) -> Option<String> {
        loop {
            sleep_until(self.due).await;
            let lines = match self.at {
                // A front end that waits for its turn knows that it was heard.
                At::Beginning => {
                    self.at = At::Views;
                    self.encoder.view(&View::default())
                }
                At::Views => match self.views.next().await {
                    Some(Ok((_, view))) => {
                        let begun = Instant::now();
                        let lines = self.encoder.view(&view);
                        self.due = Instant::now() + PACE.max(begun.elapsed() * SHARE);
                        self.failures = 0;
                        if self.encoder.rests() {
                            self.at = At::Over;
                        }
                        lines
                    }
                    Some(Err(error)) => {
                        self.wait(&error)?;
                        continue;
                    }
                    None => {
                        self.at = At::End;
                        continue;
                    }
                },
                At::End => match self.host.result(self.turn).await {
                    Ok(result) => {
                        self.at = At::Over;
                        self.encoder.finished(&result?)
                    }
                    Err(StoreError::NotFound { .. }) => {
                        self.at = At::Over;
                        self.encoder.deleted()
                    }
                    Err(error) => {
                        self.wait(&error)?;
                        continue;
                    }
                },
                At::Over => return None,
            };
            if !lines.is_empty() {
                return Some(lines);
            }
        }
    }

    /// Has the database asked again in a moment; `None` where that does not help.
    fn wait(&mut self, error: &StoreError) -> Option<()> {
        self.failures += 1;
        if !error.is_transient() || self.failures > TRIES {
            tracing::warn!(%error, turn = %self.turn, "a stream of a reply is broken off");
            return None;
        }
        self.due = Instant::now() + AWAY;
        Some(())
    }
}
