//! `/conversations/{id}`: what was said, and the box to say more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect, Response};
use futures_util::stream;
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::store::{
    Message, MessageEntry, MessageRole, MessageStatus, Phase, StoreError, StoreResult,
};
use serde::Deserialize;

use crate::web::address::{find, id};
use crate::web::app::App;
use crate::web::base_path::BasePath;
use crate::web::conversation_name;
use crate::web::problem::Problem;
use crate::web::views::file_card;
use crate::web::views::layout::{Composer, Shell};
use crate::web::views::message::{self, AnswerView, MAX_SHOWN, PromptView};
use crate::web::views::pending_answer::{folder_of, pending};

/// What a page shows at most.
#[derive(Clone, Copy, Debug)]
struct Most {
    messages: usize,
    /// Of text, beside the last prompt and its answer.
    bytes: u64,
}

const NEWEST: Most = Most {
    messages: 100,
    bytes: 8 << 20,
};
/// Where all are asked for.
const ALL: Most = Most {
    messages: 10_000,
    bytes: 32 << 20,
};
/// Messages looked for at once.
const READ: u32 = 1000;
/// Messages of more bytes are read one at a time.
const LARGE: u64 = 1 << 20;
/// Bytes of a whole answer that are sent at once.
const PIECE: usize = 64 << 10;

/// In the place of a message whose row is damaged.
#[derive(Template)]
#[template(
    source = "<article class=\"message answer\"><p class=\"mark\">A message cannot be read. The log of this application says more.</p></article>",
    ext = "html"
)]
struct Unreadable;

/// What to show.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    all: Option<String>,
}

/// `GET /conversations/{conversation}`
pub(crate) async fn page(
    State(app): State<App>,
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
        earlier: usize,
        messages: Vec<String>,
        composer: Composer,
    }
    let conversation = find(&app, &conversation).await?;
    let most = if wanted.all.is_some() { ALL } else { NEWEST };
    let (earlier, newest) = newest(&app, conversation.id, most).await?;
    let folder = folder_of(&conversation);
    let shown = newest.iter().filter_map(|entry| entry.id.parse().ok());
    let mut files = file_card::by_message(&app, &conversation, &shown.collect()).await?;
    let mut messages = Vec::with_capacity(newest.len());
    // The last answer that has ended, whose files may still be being attached.
    let mut last = None;
    for entry in &newest {
        let message = match load(&app, entry).await {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a message is left out of its page");
                messages.push(Unreadable.render()?);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let files = files.remove(&message.id).unwrap_or_default();
        messages.push(match (message.role, message.status) {
            (MessageRole::User, _) => {
                PromptView::new(message.id, &message.answer.content, files).render()?
            }
            (MessageRole::Assistant, MessageStatus::Pending) => {
                let turn = app
                    .host
                    .store()
                    .turn(message.turn)
                    .await?
                    .ok_or_else(Problem::no_such_page)?;
                pending(&app, &turn, folder).await?
            }
            (MessageRole::Assistant, _) => {
                let answer = AnswerView::of(&app.base, &message, folder, files);
                let html = answer.render()?;
                // One that was stopped before its first word may have ended before those ahead of it.
                if message.status != MessageStatus::Cancelled || !message.answer.parts.is_empty() {
                    last = Some((messages.len(), message.turn, answer));
                }
                html
            }
        });
    }
    if let Some((at, turn, answer)) = last
        && is_settling(&app, turn).await?
    {
        messages[at] = answer.settling(true).render()?;
    }
    let page = Page {
        base: &app.base,
        shell: Shell::new(&app, Some(conversation.id)).await?,
        id: conversation.id,
        name: conversation_name::shown(&conversation.name),
        earlier,
        messages,
        composer: Composer::new(
            format!("{}/conversations/{}/turns", app.base, conversation.id),
            app.max_upload,
        )
        .placeholder("Reply"),
    };
    Ok(Html(page.render()?))
}

/// The newest messages, oldest first, and how many came before them.
async fn newest(
    app: &App,
    conversation: ConversationId,
    most: Most,
) -> Result<(usize, VecDeque<MessageEntry>), Problem> {
    let mut newest: VecDeque<MessageEntry> = VecDeque::new();
    let (mut earlier, mut bytes, mut after) = (0, 0, 0);
    let shown = |entry: &MessageEntry| entry.bytes.min(MAX_SHOWN as u64);
    loop {
        let store = app.host.store();
        let page = store.message_index(Some(conversation), after, READ).await?;
        let Some(last) = page.last() else {
            return Ok((earlier, newest));
        };
        after = last.place;
        for entry in page.into_iter().filter(|entry| !entry.hidden) {
            bytes += shown(&entry);
            newest.push_back(entry);
            // The last prompt and its answer are shown, however long they are.
            while newest.len() > most.messages || (bytes > most.bytes && newest.len() > 2) {
                bytes -= newest.pop_front().as_ref().map_or(0, shown);
                earlier += 1;
            }
        }
    }
}

/// A message, read alone where it is large: however many readers there are, one such is in memory.
async fn load(app: &App, entry: &MessageEntry) -> StoreResult<Option<Message>> {
    let id = entry.message()?;
    let _alone = match entry.bytes {
        bytes if bytes > LARGE => Some(app.large.lock().await),
        _ => None,
    };
    let mut message = app.host.store().message(id).await?;
    if let Some(message) = &mut message
        && entry.bytes > LARGE
    {
        message::cut(message);
    }
    Ok(message)
}

/// Whether the files of a turn that has ended are still being attached. The next turn waits for that, so it can only be
/// the last one that has ended.
async fn is_settling(app: &App, turn: TurnId) -> Result<bool, Problem> {
    let turn = app.host.store().turn(turn).await?;
    Ok(turn.is_some_and(|turn| matches!(turn.phase(), Phase::Finished { settled: false, .. })))
}

/// `GET /conversations/{conversation}/messages/{message}`: all of an answer that is too long for a page, as text.
pub(crate) async fn whole(
    State(app): State<App>,
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
    State(app): State<App>,
    Path(conversation): Path<String>,
) -> Result<Html<String>, Problem> {
    let conversation = find(&app, &conversation).await?;
    let shell = Shell::new(&app, Some(conversation.id)).await?;
    Ok(Html(
        Confirm {
            base: &app.base,
            shell,
            id: conversation.id,
            name: conversation_name::shown(&conversation.name),
        }
        .render()?,
    ))
}

/// `POST /conversations/{conversation}/delete`
pub(crate) async fn delete(
    State(app): State<App>,
    Path(conversation): Path<String>,
) -> Result<Response, Problem> {
    let conversation = find(&app, &conversation).await?;
    app.host.delete_conversation(conversation.id).await?;
    Ok(Redirect::to(&format!("{}/", app.base)).into_response())
}
