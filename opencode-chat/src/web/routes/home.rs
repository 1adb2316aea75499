//! `/`: the conversations there are, and the beginning of a new one.

use askama::Template;
use axum::extract::Query;
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use opencode_host::SubmitOptions;
use opencode_host::id::ConversationId;
use serde::Deserialize;
use uuid::Uuid;

use crate::web::app::{App, Mine};
use crate::web::base_path::BasePath;
use crate::web::conversation_name;
use crate::web::form::prompt;
use crate::web::form::submission::Submission;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::shelf::Shelf;
use crate::web::views::conversation_list;
use crate::web::views::layout::{Composer, Shell};
use crate::web::views::patch::{Patch, Patches, is_script};

/// Where the first prompt of a conversation goes.
fn begin_at(app: &App) -> String {
    format!("{}/conversations", app.base)
}

/// What to list.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    /// The conversations behind this place.
    older: Option<String>,
    shelf: Option<String>,
}

/// `GET /`
pub(crate) async fn page(
    Mine(app): Mine,
    reader: Reader,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, Problem> {
    #[derive(Template)]
    #[template(path = "home.html")]
    struct Page {
        base: BasePath,
        shell: Shell,
        composer: Composer,
    }
    // A text that is no place is as good as none.
    let after = wanted.older.and_then(|place| place.parse().ok());
    let wanted = conversation_list::Wanted {
        shelf: wanted.shelf.as_deref().map(Shelf::of).unwrap_or_default(),
        after,
        ..conversation_list::Wanted::default()
    };
    let shell = Shell::with(&app, reader, wanted).await?;
    Ok(Html(
        Page {
            base: app.base.clone(),
            shell,
            composer: Composer::new(begin_at(&app), app.max_upload),
        }
        .render()?,
    ))
}

/// `POST /conversations`: the first prompt of a new conversation.
pub(crate) async fn begin(
    Mine(app): Mine,
    headers: HeaderMap,
    mut submission: Submission,
) -> Result<Response, Problem> {
    let prompt = prompt::said(submission.fields.take("prompt"));
    let key = submission.fields.first("key");
    let key = key.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    let prompt = match prompt::checked(&prompt, submission.has_files()) {
        Ok(prompt) => prompt,
        Err(problem) => {
            submission.pass_over(&app).await;
            return Err(problem.with_draft(app.max_upload, begin_at(&app), prompt));
        }
    };
    // A browser that goes away in the middle does not take with it what cleans up after it.
    let beginning = tokio::spawn(first(app.clone(), prompt.clone(), key, submission));
    let begun = beginning.await.unwrap_or_else(|error| {
        tracing::error!(%error, "first prompt");
        Err(Problem::unexpected())
    });
    let conversation =
        begun.map_err(|problem| problem.with_draft(app.max_upload, begin_at(&app), prompt))?;
    let page = format!("{}/{conversation}", begin_at(&app));
    Ok(if is_script(&headers) {
        Patches(vec![Patch::Visit(page)]).into_response()
    } else {
        Redirect::to(&page).into_response()
    })
}

/// Opens the conversation that a form stands for, and says its first prompt there. Nobody wants a conversation in which
/// nothing was said: it is gone again when that fails.
async fn first(
    app: App,
    prompt: String,
    key: String,
    submission: Submission,
) -> Result<ConversationId, Problem> {
    // However long they take to come: the same form may be sent again meanwhile, and is not kept waiting.
    let uploads = submission.uploads(&app, None).await?;
    let name = conversation_name::of(&prompt, &key);
    // The same form may be sent again while the first one's end is cleaned up after.
    let _alone = app.beginnings.alone(&name).await;
    let conversation = app
        .host
        .open_conversation(&app.visitor.tenant, &name)
        .await?
        .id;
    let options = SubmitOptions {
        client_key: Some(key),
        uploads,
        ..SubmitOptions::default()
    };
    let begun = prompt::send(&app, conversation, prompt, options).await;
    if let Err(problem) = begun {
        let store = app.host.store();
        let said = store.messages(Some(conversation), None, 1).await?;
        if said.is_empty() {
            app.host.delete_conversation(conversation).await?;
        }
        return Err(problem);
    }
    Ok(conversation)
}
