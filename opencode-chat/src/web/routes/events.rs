//! `GET /turns/{id}/events`: a running answer, as patches of the page.
//!
//! Each event carries JSON patches and, as its id, the place in the turn's
//! changes that the browser has reached with them. A browser that comes back
//! names that place and gets what changed since, or the whole.
//!
//! Nothing is queued here: events are made when the browser's connection takes
//! them, from all that came since the last one. A slow browser gets fewer and
//! larger ones, and the whole when it is too far behind.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template as _;
use axum::extract::{Path, Query};
use axum::http::header::HeaderMap;
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, TryStreamExt as _};
use opencode_host::ViewStream;
use opencode_host::live::Cursor;
use opencode_host::store::{Phase, Turn};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout};

use crate::web::address::find_turn;
use crate::web::app::{App, Mine};
use crate::web::problem::Problem;
use crate::web::views::decision::DecisionView;
use crate::web::views::file_card;
use crate::web::views::live_answer::LiveAnswer;
use crate::web::views::message::{self, AnswerView};
use crate::web::views::patch::{Patch, unbuffered};
use crate::web::views::pending_answer::folder_of;
use crate::web::views::versions::Versions;

/// The least time between two events of a connection.
const PACE: Duration = Duration::from_millis(80);
/// An event may take this part of the time to make, so that long answers do not eat the processor.
const SHARE: u32 = 10;
/// How often a silent connection shows that it is alive: a page takes it for lost when it hears nothing for three seconds.
const BEAT: Duration = Duration::from_secs(1);
/// After so long a silence it is told what is waited for.
const QUIET: Duration = Duration::from_millis(2500);
/// When a browser that lost the connection tries again.
const RETRY: Duration = Duration::from_secs(1);

/// Where a page wants to go on that was made with a part of the answer in it.
#[derive(Debug, Deserialize)]
pub(crate) struct From {
    after: Option<String>,
}

/// `GET /turns/{turn}/events`
pub(crate) async fn stream(
    Mine(app): Mine,
    Path(turn): Path<String>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seat = Arc::clone(&app.streams).try_acquire_owned();
    let seat = seat.map_err(|_| Problem::crowded())?;
    let feed = Feed::open(&app, &turn, place(&headers, from.after.as_deref())).await?;
    let events = stream::unfold((feed, seat), async |(mut feed, seat)| {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), (feed, seat)))
    });
    let beat = Event::default().event("beat").data("[]");
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(BEAT).event(beat));
    Ok(unbuffered(events))
}

/// Where the browser is: what it saw last, or what its page was made of.
fn place(headers: &HeaderMap, after: Option<&str>) -> Option<Cursor> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    // A text that is no place is as good as none.
    last.or(after)?.parse().ok()
}

/// One connection.
struct Feed {
    app: App,
    turn: Turn,
    views: ViewStream,
    answer: LiveAnswer,
    /// Whether the browser shows something of the answer.
    is_shown: bool,
    cursor: Cursor,
    /// No event before this.
    due: Instant,
    is_first: bool,
    has_ended: bool,
    /// What was told of what is waited for.
    label: Option<&'static str>,
}

impl Feed {
    async fn open(app: &App, turn: &str, after: Option<Cursor>) -> Result<Self, Problem> {
        let (turn, conversation) = find_turn(app, turn).await?;
        let folder = folder_of(&conversation).map(str::to_owned);
        let mut answer = LiveAnswer::new(app.base.clone(), turn.id, turn.message, folder)
            .with_decisions(DecisionView::all_of(app, turn.id).await?);
        let after = after.filter(|after| *after != Cursor::START);
        if let Some(after) = after {
            let (cursor, view) = app.host.view(turn.id).await?;
            if after.generation == cursor.generation {
                answer.resume(&view, after.sequence);
            }
        }
        Ok(Self {
            views: app.host.views(turn.id, Cursor::START).await?,
            answer,
            app: app.clone(),
            turn,
            is_shown: after.is_some(),
            cursor: Cursor::START,
            due: Instant::now(),
            is_first: true,
            has_ended: false,
            label: None,
        })
    }

    /// The next event; `None` when there is nothing more to say. After an error
    /// too: the browser comes back by itself.
    async fn next(&mut self) -> Option<Event> {
        if self.has_ended {
            return None;
        }
        if std::mem::take(&mut self.is_first) {
            return self
                .greet()
                .await
                .inspect_err(|problem| tracing::warn!(?problem, "stream of a turn"))
                .ok();
        }
        let shutdown = self.app.shutdown.clone();
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            event = self.gather() => Some(event),
        };
        event?
            .inspect_err(|problem| tracing::warn!(?problem, "stream of a turn"))
            .ok()
    }

    /// The first event. A turn that had to wait and does not any more says nothing by itself.
    async fn greet(&mut self) -> Result<Event, Problem> {
        let mut patches = Vec::new();
        if !self.is_shown
            && self
                .app
                .host
                .store()
                .turn_ahead(self.turn.id)
                .await?
                .is_none()
        {
            patches.push(self.answer.label(message::THINKING)?);
        }
        Ok(self.event(&patches)?.retry(RETRY))
    }

    async fn gather(&mut self) -> Result<Event, Problem> {
        loop {
            // What comes until then is in the next view.
            sleep_until(self.due).await;
            let next = timeout(QUIET, self.views.try_next());
            let next = match next.await {
                Ok(next) => next?,
                // What is heard already needs no word on what is waited for.
                Err(_) if self.is_shown => continue,
                Err(_) => match self.waits_for().await? {
                    Some(label) => return self.event(&[label]),
                    None => continue,
                },
            };
            let Some((cursor, view)) = next else {
                return self.last().await;
            };
            self.is_shown |= view.parts().next().is_some();
            self.cursor = cursor;
            let began = Instant::now();
            let patches = self.answer.patches(cursor, &view)?;
            self.due = Instant::now() + PACE.max(began.elapsed() * SHARE);
            if !patches.is_empty() {
                return self.event(&patches);
            }
        }
    }

    /// What the turn waits for, of which nothing has come for some seconds; `None` where that was told.
    async fn waits_for(&mut self) -> Result<Option<Patch>, Problem> {
        let store = self.app.host.store();
        let Some(turn) = store.turn(self.turn.id).await? else {
            return Ok(None);
        };
        let label = match turn.phase() {
            Phase::Queued if store.turn_ahead(turn.id).await?.is_some() => message::WAITING,
            Phase::Queued => message::UNCLAIMED,
            Phase::Running if turn.prompted.is_none() => message::CONNECTING,
            Phase::Running => message::SILENT,
            Phase::Finished { .. } => return Ok(None),
        };
        if self.label == Some(label) {
            return Ok(None);
        }
        self.label = Some(label);
        Ok(Some(self.answer.label(label)?))
    }

    fn event(&self, patches: &[Patch]) -> Result<Event, Problem> {
        let event = Event::default().json_data(patches).map_err(|error| {
            tracing::error!(%error, "patches");
            Problem::no_such_page()
        })?;
        // A place that another process numbers is none to come back to.
        Ok(if self.cursor.generation > 0 {
            event.id(self.cursor.to_string())
        } else {
            event
        })
    }

    /// The answer as it is kept, in the place of the one that grew.
    async fn last(&mut self) -> Result<Event, Problem> {
        self.has_ended = true;
        let element = message::element(self.turn.message);
        let store = self.app.host.store();
        // However many watch a large answer, it is in memory once.
        let large = Arc::clone(&self.app.large);
        let _alone = large.lock().await;
        let message = store.message(self.turn.message).await?;
        // Its folder may be known since.
        let conversation = store.conversation(self.turn.conversation).await?;
        let patch = match message.zip(conversation) {
            Some((message, conversation)) => {
                let files = file_card::of_message(&self.app, &conversation, message.id).await?;
                let versions = Versions::of(&self.app, self.turn.id).await?;
                let folder = folder_of(&conversation);
                let decisions = DecisionView::all_of(&self.app, self.turn.id).await?;
                let base = &self.app.base;
                let answer = AnswerView::of(base, &message, folder, files, decisions, versions);
                Patch::Replace(element, answer.render()?)
            }
            None => Patch::Remove(element),
        };
        Ok(self.event(&[patch])?.event("done"))
    }
}
