//! `/conversations/{id}/options`: a conversation's title and its place in the list.
//!
//! What is archived or deleted here comes back with one more form.

use std::time::Duration;

use askama::Template;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use opencode_host::clock::Timestamp;
use opencode_host::id::ConversationId;
use opencode_host::store::Conversation;

use crate::web::address::{find, people};
use crate::web::app::{App, Mine};
use crate::web::base_path::BasePath;
use crate::web::form::fields::Fields;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::shelf::{self, KEPT, MAX_TITLE, Note};
use crate::web::views::layout::Shell;
use crate::web::views::patch::{Patch, Patches, is_script};

/// Turns of a deleted conversation that are stopped.
const STOPPED: u32 = 1000;

/// `GET /conversations/{conversation}/options`
pub(crate) async fn page(
    Mine(app): Mine,
    reader: Reader,
    Path(conversation): Path<String>,
) -> Result<Html<String>, Problem> {
    #[derive(Template)]
    #[template(path = "options.html")]
    struct Page<'a> {
        base: &'a BasePath,
        shell: Shell,
        id: ConversationId,
        title: &'a str,
        is_pinned: bool,
        is_archived: bool,
    }
    let conversation = find(&app, &conversation).await?;
    let page = Page {
        base: &app.base,
        shell: Shell::new(&app, reader, Some(conversation.id)).await?,
        id: conversation.id,
        title: shelf::title(&conversation),
        is_pinned: shelf::is_pinned(&conversation),
        is_archived: shelf::is_archived(&conversation),
    };
    Ok(Html(page.render()?))
}

/// The page of a conversation that was deleted at this time.
pub(crate) async fn deleted(
    app: &App,
    reader: Reader,
    conversation: &Conversation,
    at: Timestamp,
) -> Result<Html<String>, Problem> {
    #[derive(Template)]
    #[template(path = "deleted.html")]
    struct Page<'a> {
        base: &'a BasePath,
        shell: Shell,
        id: ConversationId,
        title: &'a str,
        minutes: u64,
    }
    let now = app.host.store().now().await?;
    let left = KEPT.saturating_sub(now.since(at));
    let page = Page {
        base: &app.base,
        shell: Shell::new(app, reader, None).await?,
        id: conversation.id,
        title: shelf::title(conversation),
        minutes: (left + Duration::from_secs(59)).as_secs() / 60,
    };
    Ok(Html(page.render()?))
}

/// `POST /conversations/{conversation}/options`: `act` is what to do, with a `title` where that is `rename`.
pub(crate) async fn change(
    Mine(app): Mine,
    Path(conversation): Path<String>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let conversation = find(&app, &conversation).await?;
    let act = fields.first("act").unwrap_or_default();
    let note = match act {
        "rename" => Note::Title(title(&fields)?),
        "pin" | "unpin" => Note::Pin(act == "pin"),
        "archive" | "unarchive" => Note::Archive(act == "archive"),
        "delete" => Note::Delete(Some(app.host.store().now().await?)),
        "restore" => Note::Delete(None),
        _ => {
            let text = "Rename, pin, archive or delete the conversation.";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(Problem::new(status, "Nothing to do", text));
        }
    };
    let noted = shelf::noted(&conversation, note.clone());
    let noted = noted.map_err(|error| Problem::of_note(&error))?;
    let people = people(&app);
    people.set_metadata(conversation.id, &noted).await?;
    if matches!(note, Note::Delete(Some(_))) {
        for turn in people.active_turns(conversation.id, STOPPED).await? {
            app.host.cancel(turn.id, None).await?;
        }
    }
    let conversation = people.conversation(conversation.id).await?;
    if is_script(&headers) {
        let patches = told(&app, &conversation, act)?;
        return Ok(Patches(patches).into_response());
    }
    let page = format!("{}/conversations/{}", app.base, conversation.id);
    Ok(Redirect::to(&page).into_response())
}

fn title(fields: &Fields) -> Result<Option<String>, Problem> {
    let title = fields.first("title").and_then(shelf::clean);
    let length = title.as_ref().map_or(0, |title| title.chars().count());
    if length > MAX_TITLE {
        let text = format!("This title has {length} characters, and {MAX_TITLE} are the most.");
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "Too long a title", text));
    }
    Ok(title)
}

/// What a page with a script shows of a change, beside the list.
fn told(app: &App, conversation: &Conversation, act: &str) -> Result<Vec<Patch>, Problem> {
    #[derive(Template)]
    #[template(path = "undo.html")]
    struct Undo<'a> {
        base: &'a BasePath,
        id: ConversationId,
        title: &'a str,
        is_deleted: bool,
    }
    #[derive(Template)]
    #[template(source = "<h1 id=\"title\">{{ title }}</h1>", ext = "html")]
    struct Title<'a> {
        title: &'a str,
    }
    let title = shelf::title(conversation);
    // Whatever could be undone before cannot be seen behind this.
    let mut patches = vec![Patch::Remove("undo".to_owned())];
    match act {
        "archive" | "delete" => {
            let undo = Undo {
                base: &app.base,
                id: conversation.id,
                title,
                is_deleted: act == "delete",
            };
            patches.push(Patch::Append("told".to_owned(), undo.render()?));
        }
        "rename" => {
            let title = Title { title };
            patches.push(Patch::Replace("title".to_owned(), title.render()?));
        }
        _ => {}
    }
    Ok(patches)
}
