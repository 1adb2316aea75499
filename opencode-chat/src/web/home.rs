//! `/`: the conversations there are, and the beginning of a new one.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::layout::{Composer, Shell};
use super::patch::{Patch, Patches};
use super::problem::{Problem, is_script};
use super::submission::Submission;
use super::{App, name, prompts};

const BEGIN: &str = "/conversations";

/// `GET /`
pub(super) async fn page(State(app): State<App>) -> Result<Html<String>, Problem> {
    #[derive(Template)]
    #[template(path = "home.html")]
    struct Page {
        shell: Shell,
        composer: Composer,
    }
    let shell = Shell::new(&app, None).await?;
    Ok(Html(
        Page {
            shell,
            composer: Composer::new(BEGIN.to_owned(), app.max_upload),
        }
        .render()?,
    ))
}

/// `POST /conversations`: the first prompt of a new conversation.
pub(super) async fn begin(
    State(app): State<App>,
    headers: HeaderMap,
    mut submission: Submission,
) -> Result<Response, Problem> {
    let prompt = submission.fields.take("prompt");
    let key = submission.fields.first("key");
    let key = key.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    let give_back = |problem: Problem| problem.with_draft(&app, BEGIN.to_owned(), prompt.clone());
    if let Err(problem) = prompts::check(&prompt) {
        submission.pass_over(&app).await;
        return Err(give_back(problem));
    }
    let conversation = app
        .host
        .store()
        .open_conversation(&name::of(&prompt, &key))
        .await?;
    let page = format!("/conversations/{}", conversation.id);
    let begun = async {
        let uploads = submission.uploads(&app, conversation.id).await?;
        prompts::send(&app, conversation.id, prompt.clone(), Some(key), uploads).await
    };
    if let Err(problem) = begun.await {
        // Nobody wants a conversation in which nothing was said.
        let store = app.host.store();
        if store
            .messages(Some(conversation.id), None, 1)
            .await?
            .is_empty()
        {
            app.host.delete_conversation(conversation.id).await?;
        }
        return Err(give_back(problem));
    }
    Ok(if is_script(&headers) {
        Patches(vec![Patch::Visit(page)]).into_response()
    } else {
        Redirect::to(&page).into_response()
    })
}
