//! `/`: the conversations there are, and the beginning of a new one.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::fields::Fields;
use super::layout::{Composer, Shell};
use super::patch::{Patch, Patches};
use super::problem::{Problem, is_script};
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
            composer: Composer::new(BEGIN.to_owned()),
        }
        .render()?,
    ))
}

/// `POST /conversations`: the first prompt of a new conversation.
pub(super) async fn begin(
    State(app): State<App>,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let prompt = fields.take("prompt");
    let key = fields
        .first("key")
        .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    prompts::check(&prompt)
        .map_err(|problem| problem.with_draft(BEGIN.to_owned(), prompt.clone()))?;
    let conversation = app
        .host
        .store()
        .open_conversation(&name::of(&prompt, &key))
        .await?;
    let page = format!("/conversations/{}", conversation.id);
    prompts::send(&app, conversation.id, prompt, Some(key)).await?;
    Ok(if is_script(&headers) {
        Patches(vec![Patch::Visit(page)]).into_response()
    } else {
        Redirect::to(&page).into_response()
    })
}
