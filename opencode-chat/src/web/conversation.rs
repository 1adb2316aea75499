//! `/conversations/{id}`: what was said, and the box to say more.

use std::collections::VecDeque;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use futures_util::FutureExt as _;
use opencode_host::id::{ConversationId, MessageId};
use opencode_host::live::{Cursor, LiveEvent};
use opencode_host::store::{Conversation, Message, MessageRole, MessageStatus, Turn, TurnState};
use serde::Deserialize;

use super::base_path::BasePath;
use super::layout::{Composer, Shell};
use super::live::LiveAnswer;
use super::message::{AnswerView, PromptView, THINKING, WAITING};
use super::problem::Problem;
use super::prompts::id;
use super::{App, events, files, name};

/// Messages on a page, unless all are asked for.
const SHOWN: usize = 100;
/// Messages read at once.
const READ: u32 = 200;

/// What to show.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    all: Option<String>,
}

/// `GET /conversations/{conversation}`
pub(super) async fn page(
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
    let limit = if wanted.all.is_some() {
        usize::MAX
    } else {
        SHOWN
    };
    let (earlier, newest) = newest(&app, conversation.id, limit).await?;
    let folder = folder_of(&conversation);
    let shown = newest.iter().map(|message| message.id).collect();
    let mut files = files::by_message(&app, &conversation, &shown).await?;
    let settling = settling(&app, &newest).await?;
    let mut messages = Vec::with_capacity(newest.len());
    for message in &newest {
        let files = files.remove(&message.id).unwrap_or_default();
        messages.push(match (message.role, message.status) {
            (MessageRole::User, _) => {
                PromptView::new(message.id, &message.content, files).render()?
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
            (MessageRole::Assistant, _) => AnswerView::of(&app.base, message, folder, files)
                .settling(settling == Some(message.id))
                .render()?,
        });
    }
    let page = Page {
        base: &app.base,
        shell: Shell::new(&app, Some(conversation.id)).await?,
        id: conversation.id,
        name: name::shown(&conversation.name),
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

/// The folder its agent works in, as far as it is known.
pub(super) fn folder_of(conversation: &Conversation) -> Option<&str> {
    conversation.session.as_ref()?.directory.as_deref()
}

pub(super) async fn find(app: &App, conversation: &str) -> Result<Conversation, Problem> {
    app.host
        .store()
        .conversation(id(conversation)?)
        .await?
        .ok_or_else(Problem::no_such_page)
}

/// The newest messages, oldest first, and how many came before them.
async fn newest(
    app: &App,
    conversation: ConversationId,
    limit: usize,
) -> Result<(usize, VecDeque<Message>), Problem> {
    let mut newest: VecDeque<Message> = VecDeque::new();
    let mut earlier = 0;
    loop {
        let after = newest.back().map(|message| message.id);
        let page = app
            .host
            .store()
            .messages(Some(conversation), after, READ)
            .await?;
        if page.is_empty() {
            return Ok((earlier, newest));
        }
        newest.extend(page);
        let surplus = newest.len().saturating_sub(limit);
        newest.drain(..surplus);
        earlier += surplus;
    }
}

/// The answer that has ended and whose files are still being attached. The next turn waits for that, so it can only be
/// the last one that has ended.
async fn settling(app: &App, messages: &VecDeque<Message>) -> Result<Option<MessageId>, Problem> {
    let has_ended = |message: &&Message| {
        message.role == MessageRole::Assistant && message.status != MessageStatus::Pending
    };
    let Some(last) = messages.iter().rev().find(has_ended) else {
        return Ok(None);
    };
    let turn = app.host.store().turn(last.turn).await?;
    let is_settling =
        |turn: &Turn| matches!(turn.state, TurnState::Finished { settled: false, .. });
    Ok(turn.as_ref().is_some_and(is_settling).then_some(last.id))
}

/// An answer that has not ended, as far as it is.
pub(super) async fn pending(
    app: &App,
    turn: &Turn,
    folder: Option<&str>,
) -> Result<String, Problem> {
    let mut answer = LiveAnswer::new(
        app.base.clone(),
        turn.id,
        turn.message,
        folder.map(str::to_owned),
    );
    let requests: Vec<_> = turn.checkpoint.requests.iter().cloned().collect();
    answer.reset(&events::written_down(turn), &requests);
    let mut cursor = Cursor::START;
    // Of a turn that runs here all is known at once, and newer than what was written down.
    let mut live = app.host.live(turn.id, cursor).await?;
    while let Some(Ok(Some(event))) = live.next().now_or_never() {
        match event {
            LiveEvent::Change { cursor: at, change } => {
                if cursor == Cursor::START {
                    answer.reset(&[], &[]);
                }
                answer.apply(&change);
                cursor = at;
            }
            LiveEvent::Snapshot {
                cursor: at,
                parts,
                requests,
            } => {
                answer.reset(&parts, &requests);
                cursor = at;
            }
            LiveEvent::Finished => break,
        }
    }
    let waits =
        turn.state == TurnState::Queued && app.host.store().turn_ahead(turn.id).await?.is_some();
    Ok(answer.whole(cursor, if waits { WAITING } else { THINKING })?)
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
pub(super) async fn confirm(
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
            name: name::shown(&conversation.name),
        }
        .render()?,
    ))
}

/// `POST /conversations/{conversation}/delete`
pub(super) async fn delete(
    State(app): State<App>,
    Path(conversation): Path<String>,
) -> Result<Response, Problem> {
    let conversation = find(&app, &conversation).await?;
    app.host.delete_conversation(conversation.id).await?;
    Ok(Redirect::to(&format!("{}/", app.base)).into_response())
}
