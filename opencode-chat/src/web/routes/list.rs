//! The list of conversations as it is now, for the page that shows it, and the word that it is another one.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use askama::Template as _;
use axum::extract::Query;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, Response};
use futures_util::stream;
use opencode_host::store::{ConversationSummary, Page};
use serde::Deserialize;
use tokio::time::sleep;

use crate::web::address::people;
use crate::web::app::{App, Mine};
use crate::web::board::Board;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::shelf::{self, Shelf};
use crate::web::standing::{Standing, of_busy};
use crate::web::views::conversation_list::{ConversationList, Wanted};
use crate::web::views::patch::unbuffered;

/// How many conversations are looked at, those that were used last.
const LOOKED_AT: u32 = 100;
/// How often it is looked whether the conversations stand as they did.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the page shows.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    shelf: Option<String>,
    /// The conversation that is open.
    current: Option<String>,
    /// How many conversations it lists.
    shown: Option<u32>,
}

/// `GET /conversations/list`
pub(crate) async fn list(
    Mine(app): Mine,
    reader: Reader,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Problem> {
    // What is no shelf, no conversation, no number is as good as none.
    let wanted = Wanted {
        shelf: asked.shelf.as_deref().map(Shelf::of).unwrap_or_default(),
        after: None,
        current: asked.current.and_then(|current| current.parse().ok()),
        shown: asked.shown.unwrap_or(0),
    };
    let list = ConversationList::of(&app, reader, wanted).await?;
    Ok(Html(list.render()?))
}

/// `GET /conversations/events`: how the conversations stand, whenever that changes.
pub(crate) async fn events(Mine(app): Mine) -> Result<Response, Problem> {
    let seat = Arc::clone(&app.streams).try_acquire_owned();
    let seat = seat.map_err(|_| Problem::crowded())?;
    let events = stream::unfold((app, seat, None), async |(app, seat, mut last)| {
        loop {
            let board = match app.boards.now(&app.visitor.tenant, look(&app)).await {
                Ok(board) => board,
                Err(problem) => {
                    tracing::warn!(?problem, "stream of the list");
                    return None;
                }
            };
            if last.as_ref() != Some(&board) {
                let event = Event::default().json_data(&*board);
                let event = event.inspect_err(|error| tracing::error!(%error, "board"));
                last = Some(board);
                return Some((Ok::<_, Infallible>(event.ok()?), (app, seat, last)));
            }
            tokio::select! {
                () = app.shutdown.cancelled() => return None,
                () = sleep(LOOK_EVERY) => {}
            }
        }
    });
    let events = Sse::new(events).keep_alive(KeepAlive::new());
    Ok(unbuffered(events))
}

/// How the conversations stand.
async fn look(app: &App) -> Result<Board, Problem> {
    let listed = Shelf::listed(&app.visitor.tenant);
    let newest = Page::newest(LOOKED_AT);
    let found = people(app).conversations(listed, &newest).await?;
    let mut hasher = DefaultHasher::new();
    let (mut states, mut looked_at) = (Vec::new(), 0);
    for summary in found {
        let standing = of_busy(app, &summary, &mut looked_at).await?;
        let ConversationSummary {
            conversation,
            used_at,
            ..
        } = summary;
        let title = shelf::title(&conversation);
        let (pinned, archived) = (
            shelf::is_pinned(&conversation),
            shelf::is_archived(&conversation),
        );
        (conversation.id, used_at, title, pinned, archived, standing).hash(&mut hasher);
        if standing != Standing::Idle {
            let (id, title) = (conversation.id.to_string(), title.to_owned());
            states.push((id, standing.class(), title));
        }
    }
    Ok(Board {
        version: format!("{:016x}", hasher.finish()),
        states,
    })
}
