//! More than one answer: a prompt answered again or edited, the versions of a turn, a conversation that goes on from one.

use askama::Template;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use opencode_host::SubmitOptions;
use opencode_host::id::{MessageId, TurnId};
use opencode_host::store::Conversation;
use uuid::Uuid;

use crate::web::address::{find_turn, people};
use crate::web::app::{App, Mine};
use crate::web::base_path::BasePath;
use crate::web::conversation_name;
use crate::web::form::again::with_files_of;
use crate::web::form::done::back_to;
use crate::web::form::fields::Fields;
use crate::web::form::prompt::{checked, said, send};
use crate::web::form::submission::Submission;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::shelf::{self, Note};
use crate::web::views::layout::Shell;
use crate::web::views::message;
use crate::web::views::message_list::MessageList;
use crate::web::views::patch::{Patch, Patches, is_script};

/// `POST /turns/{turn}/again`: the same prompt once more, in its place.
pub(crate) async fn again(
    Mine(app): Mine,
    Path(turn): Path<String>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let (turn, conversation) = find_turn(&app, &turn).await?;
    // A form that is sent twice is done once: its page has shown so many versions.
    let of = fields.first("of").and_then(|of| of.parse().ok());
    let key = format!("again:{}:{}", turn.id, of.unwrap_or(1_u32));
    let made = app.host.regenerate(turn.id, Some(key)).await?.turn;
    let messages = [turn.user_message, made.user_message];
    show(&app, &conversation, messages, &headers).await
}

/// `GET /turns/{turn}/edit`: the prompt, to be written anew.
pub(crate) async fn ask(
    Mine(app): Mine,
    reader: Reader,
    Path(turn): Path<String>,
) -> Result<Html<String>, Problem> {
    #[derive(Template)]
    #[template(path = "edit.html")]
    struct Page<'a> {
        base: &'a BasePath,
        shell: Shell,
        id: String,
        turn: TurnId,
        key: Uuid,
        text: &'a str,
        files: usize,
        back: String,
    }
    let (turn, conversation) = find_turn(&app, &turn).await?;
    let store = app.host.store();
    let said = store.message(turn.user_message).await?;
    let said = said.ok_or_else(Problem::no_such_page)?.answer.content;
    let files = store.attachments(turn.user_message).await?.len();
    let element = message::element(turn.user_message);
    let page = Page {
        base: &app.base,
        shell: Shell::new(&app, reader, Some(conversation.id)).await?,
        id: format!("{element}-edit"),
        turn: turn.id,
        key: Uuid::new_v4(),
        text: &said,
        files,
        back: format!("{}/conversations/{}#{element}", app.base, conversation.id),
    };
    Ok(Html(page.render()?))
}

/// `POST /turns/{turn}/edit`: another prompt in its place, with its files.
pub(crate) async fn edit(
    Mine(app): Mine,
    Path(turn): Path<String>,
    headers: HeaderMap,
    mut submission: Submission,
) -> Result<Response, Problem> {
    let (turn, conversation) = find_turn(&app, &turn).await?;
    let prompt = said(submission.fields.take("prompt"));
    let action = format!("{}/turns/{}/edit", app.base, turn.id);
    let client_key = submission.fields.first("key").map(str::to_owned);
    let sent = async {
        let files = app.host.store().attachments(turn.user_message).await?;
        let has_files = !files.is_empty() || submission.has_files();
        let checked = checked(&prompt, has_files);
        let new = match checked {
            Ok(new) => new,
            Err(problem) => {
                submission.pass_over(&app).await;
                return Err(problem);
            }
        };
        let uploads = submission.uploads(&app, Some(conversation.id)).await?;
        let uploads = with_files_of(&app, conversation.id, turn.user_message, uploads).await?;
        let options = SubmitOptions {
            client_key,
            metadata: turn.metadata,
            uploads,
            instead_of: Some(turn.id),
            ..SubmitOptions::default()
        };
        send(&app, conversation.id, new, options).await
    };
    let made = sent
        .await
        .map_err(|problem| problem.with_draft(app.max_upload, action, prompt))?;
    let messages = [turn.user_message, made.user_message];
    show(&app, &conversation, messages, &headers).await
}

/// `POST /turns/{turn}/choose`: shows this version in the place of the others.
pub(crate) async fn choose(
    Mine(app): Mine,
    Path(turn): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (turn, conversation) = find_turn(&app, &turn).await?;
    let versions = app.host.versions(turn.id).await?;
    let shown = versions.iter().find(|version| version.shown);
    let shown = shown.map_or(turn.user_message, |version| version.user_message);
    app.host.choose(turn.id).await?;
    show(&app, &conversation, [shown, turn.user_message], &headers).await
}

/// `POST /turns/{turn}/fork`: a conversation that goes on from here.
pub(crate) async fn fork(
    Mine(app): Mine,
    Path(turn): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (turn, conversation) = find_turn(&app, &turn).await?;
    let name = shelf::title(&conversation);
    let mut number = 0;
    let forked = loop {
        number += 1;
        let name = conversation_name::of(name, &format!("fork:{}:{number}", turn.id));
        let forked = app.host.fork(turn.id, name).await?;
        // Asked for twice, it is one; once somebody has gone on in it, another.
        if forked.created {
            let noted = shelf::noted(&forked.conversation, Note::Forked);
            let noted = noted.map_err(|error| Problem::of_note(&error))?;
            app.host
                .set_metadata(forked.conversation.id, &noted)
                .await?;
        }
        if forked.created || !has_gone_on(&app, &forked.conversation).await? {
            break forked.conversation;
        }
    };
    let page = format!("{}/conversations/{}", app.base, forked.id);
    Ok(if is_script(&headers) {
        Patches(vec![Patch::Visit(page)]).into_response()
    } else {
        Redirect::to(&page).into_response()
    })
}

/// Whether something was said in a fork itself. What it was made of is older than it.
async fn has_gone_on(app: &App, fork: &Conversation) -> Result<bool, Problem> {
    let newest = people(app).messages_before(fork.id, None, 1).await?;
    Ok(newest
        .first()
        .is_some_and(|newest| newest.created_at >= fork.created_at))
}

/// Shows the messages from `new` on in the place of those from `old` on.
async fn show(
    app: &App,
    conversation: &Conversation,
    [old, new]: [MessageId; 2],
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if !is_script(headers) {
        return Ok(back_to(app, conversation.id));
    }
    let list = MessageList::from(app, conversation, new).await?;
    let mut patches = vec![Patch::RemoveFrom(message::element(old))];
    let append = |html| Patch::Append("messages".to_owned(), html);
    patches.extend(list.messages.into_iter().map(append));
    Ok(Patches(patches).into_response())
}
