//! `/turns/{turn}/events`: what becomes of a turn, as it comes.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, StreamExt as _};
use opencode_host::LiveStream;
use opencode_host::id::TurnId;
use opencode_host::live::Cursor;
use serde::Deserialize;
use utoipa::IntoParams;

use super::encoding::{Encoding, wanted};
use super::ui_chat;
use crate::authorize::Scope;
use crate::bodies::ServerSentEvent;
use crate::encoders::UiEncoder;
use crate::problem::{Problem, sentence};
use crate::request::{Id, Mount, Query};
use crate::settings::Settings;
use crate::sse;
use crate::stream::{NotAPlace, Place, change_event};

/// When a browser that lost the connection tries again.
const RETRY: &str = "retry: 1000\n\n";

/// Where the stream goes on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// The id of an event, to go on behind it, for who cannot send the header `Last-Event-ID`.
    after: Option<String>,
    /// The encoding: `changes`, the default, or `ui-messages`. The header `Accept` can name it too, as the parameter
    /// `encoding` of `text/event-stream`.
    #[param(value_type = Option<Encoding>, inline)]
    encoding: Option<Encoding>,
}

/// Streams what becomes of a turn, from its beginning or from behind an event. Events are `change`, `snapshot` (the reply
/// as a whole, in place of what was shown), and at the end `finished` or `deleted`. Behind the end there is nothing: 204.
/// In the encoding `ui-messages` it is a UI message stream of the AI SDK, always from the beginning.
#[utoipa::path(
    get,
    path = "/turns/{turn}/events",
    tag = "turns",
    operation_id = "follow_turn",
    params(
        ("turn" = Uuid, Path, description = "The turn."),
        From,
        ("last-event-id" = Option<String>, Header, description = "The id of the last event that came, to go on behind it.")
    ),
    responses(
        (status = 200, description = "Server-sent events.", body = ServerSentEvent, content_type = "text/event-stream"),
        (status = 204, description = "All has come.")
    )
)]
pub(crate) async fn events(
    State(settings): State<Settings>,
    scope: Scope,
    Id(turn): Id<TurnId>,
    Query(from): Query<From>,
    mount: Mount,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = scope.host.turn(turn).await?;
    let place = place(turn, &headers, from.after.as_deref())?;
    if wanted(from.encoding, &headers)? == Encoding::UiMessages {
        let seat = settings.seat()?;
        return ui_chat::stream(settings, &scope, &row, UiEncoder::new(&row, mount), seat).await;
    }
    let Some(cursor) = place else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let seat = settings.seat()?;
    let live = scope.host.live(turn, cursor).await?;
    let first = stream::iter([RETRY.to_owned()]);
    Ok(sse::response(
        first.chain(changes(turn, live)),
        seat,
        settings.shutdown,
    ))
}

/// Where a browser is; `None` behind the end.
fn place(
    turn: TurnId,
    headers: &HeaderMap,
    after: Option<&str>,
) -> Result<Option<Cursor>, Problem> {
    let bad = |error: NotAPlace| Problem::conflict("bad_cursor", sentence(&error));
    let last = headers.get("last-event-id");
    let last = last.map(|last| last.to_str().map_err(|_| bad(NotAPlace)));
    let Some(text) = last.transpose()?.or(after) else {
        return Ok(Some(Cursor::START));
    };
    let place: Place = text.parse().map_err(bad)?;
    if place.turn != turn {
        let detail = "The id of the event is of another turn: follow this one from its beginning.";
        return Err(Problem::conflict("cursor_of_another_turn", detail));
    }
    Ok(place.cursor)
}

/// The changes of a turn, as events. An error ends them: who reads them comes back with the last id.
fn changes(turn: TurnId, live: LiveStream) -> impl stream::Stream<Item = String> + Send {
    stream::unfold(live, move |mut live| async move {
        loop {
            match live.next().await? {
                Ok(event) => {
                    if let Some(event) = change_event(turn, &event) {
                        return Some((event, live));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, %turn, "a stream of changes is broken off");
                    return None;
                }
            }
        }
    })
}
