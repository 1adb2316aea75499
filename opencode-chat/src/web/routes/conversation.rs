//! `/conversations/{id}`: what was said, and the box to say more.

use std::convert::Infallible;
use std::sync::Arc;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect, Response};
use futures_util::stream;
use opencode_host::id::ConversationId;
use serde::Deserialize;

use crate::web::address::{find, id};
use crate::web::app::Mine;
use crate::web::base_path::BasePath;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::routes::options;
use crate::web::shelf;
use crate::web::views::layout::{Composer, Shell};
use crate::web::views::message_list::{MessageList, Most};

/// Bytes of a whole answer that are sent at once.
const PIECE: usize = 64 << 10;

/// What to show.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    all: Option<String>,
}

/// `GET /conversations/{conversation}`
pub(crate) async fn page(
    Mine(app): Mine,
    reader: Reader,
    Path(conversation): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, Problem> {
    #[derive(Template)]
    #[template(path = "conversation.html")]
    struct Page<'a> {
        base: &'a BasePath,
        shell: Shell,
        id: ConversationId,
        name: &'a str,
        list: MessageList,
        composer: Composer,
    }
    let conversation = find(&app, &conversation).await?;
    if let Some(at) = shelf::deleted_at(&conversation) {
        return options::deleted(&app, reader, &conversation, at).await;
    }
    let most = if wanted.all.is_some() {
        Most::ALL
    } else {
        Most::NEWEST
    };
    let list = MessageList::newest(&app, &conversation, most).await?;
    let page = Page {
        base: &app.base,
        shell: Shell::new(&app, reader, Some(conversation.id)).await?,
        id: conversation.id,
        name: shelf::title(&conversation),
        list,
        composer: Composer::new(
            format!("{}/conversations/{}/turns", app.base, conversation.id),
            app.max_upload,
        )
        .placeholder("Reply"),
    };
    Ok(Html(page.render()?))
}

/// `GET /conversations/{conversation}/messages/{message}`: all of an answer that is too long for a page, as text.
pub(crate) async fn whole(
    Mine(app): Mine,
    Path((conversation, message)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let conversation = find(&app, &conversation).await?;
    let place = Arc::clone(&app.wholes).try_acquire_owned();
    let place = place.map_err(|_| Problem::crowded())?;
    let message = app.host.store().message(id(&message)?).await?;
    let message = message.filter(|message| message.conversation == conversation.id);
    let name = format!("attachment; filename=\"answer-{}.txt\"", conversation.id);
    let text = Bytes::from(message.ok_or_else(Problem::no_such_page)?.answer.content);
    // Its place is free again once it is sent.
    let pieces = stream::unfold((text, place), async |(mut text, place)| {
        let piece = text.split_to(text.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (text, place)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

#[derive(Template)]
#[template(path = "delete.html")]
struct Confirm<'a> {
    base: &'a BasePath,
    shell: Shell,
    id: ConversationId,
    name: &'a str,
}

/// `GET /conversations/{conversation}/delete`: asks.
pub(crate) async fn confirm(
    Mine(app): Mine,
    reader: Reader,
    Path(conversation): Path<String>,
) -> Result<Html<String>, Problem> {
    let conversation = find(&app, &conversation).await?;
    let shell = Shell::new(&app, reader, Some(conversation.id)).await?;
    Ok(Html(
        Confirm {
            base: &app.base,
            shell,
            id: conversation.id,
            name: shelf::title(&conversation),
        }
        .render()?,
    ))
}

/// `POST /conversations/{conversation}/delete`
pub(crate) async fn delete(
    Mine(app): Mine,
    Path(conversation): Path<String>,
) -> Result<Response, Problem> {
    let conversation = find(&app, &conversation).await?;
    app.host.delete_conversation(conversation.id).await?;
    Ok(Redirect::to(&format!("{}/", app.base)).into_response())
}
