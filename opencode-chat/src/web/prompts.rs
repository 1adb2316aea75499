//! Sending prompts, sending them again, stopping their answers.

use askama::Template as _;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use opencode_host::client::wire::Prompt;
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::outcome::Reason;
use opencode_host::store::Turn;
use opencode_host::{DEFAULT_MAX_PROMPT, SubmitError, SubmitOptions};

use super::App;
use super::conversation::pending;
use super::fields::Fields;
use super::layout::FormKey;
use super::message::PromptView;
use super::patch::{Patch, Patches};
use super::problem::{Problem, is_script};

/// What an interrupted answer goes on with.
const CONTINUE: &str = "Continue.";

/// An id of a path. What is no id is nowhere.
pub(super) fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::no_such_page())
}

/// `POST /conversations/{conversation}/turns`
pub(super) async fn submit(
    State(app): State<App>,
    Path(conversation): Path<String>,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let conversation = id(&conversation)?;
    let prompt = fields.take("prompt");
    let key = fields.first("key").map(str::to_owned);
    let action = format!("/conversations/{conversation}/turns");
    check(&prompt).map_err(|problem| problem.with_draft(action.clone(), prompt.clone()))?;
    let sent = send(&app, conversation, prompt.clone(), key).await;
    let turn = sent.map_err(|problem| problem.with_draft(action, prompt))?;
    queued(&app, &turn, is_script(&headers)).await
}

/// Refuses what could not be sent, before anything is written.
pub(super) fn check(prompt: &str) -> Result<(), Problem> {
    let (bytes, limit) = (prompt.len(), DEFAULT_MAX_PROMPT);
    if prompt.trim().is_empty() {
        return Err(SubmitError::Empty.into());
    }
    if bytes > limit {
        return Err(SubmitError::TooLong { bytes, limit }.into());
    }
    Ok(())
}

/// Queues a turn. The same key is the same form sent again, unless it holds
/// other words: a page that a browser kept and showed once more.
pub(super) async fn send(
    app: &App,
    conversation: ConversationId,
    prompt: String,
    client_key: Option<String>,
) -> Result<Turn, Problem> {
    // Browsers end the lines of forms as MIME does.
    let prompt = prompt.replace("\r\n", "\n");
    let options = SubmitOptions {
        client_key,
        ..SubmitOptions::default()
    };
    let submitted = app
        .host
        .submit(conversation, Prompt::text(&prompt), options)
        .await?;
    if submitted.created || submitted.turn.prompt.text == prompt {
        return Ok(submitted.turn);
    }
    Ok(app
        .host
        .submit(conversation, Prompt::text(prompt), SubmitOptions::default())
        .await?
        .turn)
}

/// Shows a turn that was queued: in the page that sent it, or by a new one.
async fn queued(app: &App, turn: &Turn, script: bool) -> Result<Response, Problem> {
    if !script {
        return Ok(back_to(turn.conversation));
    }
    let messages = "messages".to_owned();
    let prompt = PromptView::new(turn.user_message, &turn.prompt.text).render()?;
    Ok(Patches(vec![
        Patch::Append(messages.clone(), prompt),
        Patch::Append(messages, pending(app, turn, None).await?),
        Patch::Replace(FormKey::ELEMENT.to_owned(), FormKey::new().render()?),
    ])
    .into_response())
}

/// The conversation's newest end.
pub(super) fn back_to(conversation: ConversationId) -> Response {
    Redirect::to(&format!("/conversations/{conversation}#end")).into_response()
}

/// A form is done, and the stream shows what came of it: nothing to change in
/// the page that sent it; the page itself for a browser without a script.
pub(super) async fn done(
    app: &App,
    turn: TurnId,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if is_script(headers) {
        return Ok(Patches(Vec::new()).into_response());
    }
    let turn = app
        .host
        .store()
        .turn(turn)
        .await?
        .ok_or_else(Problem::no_such_page)?;
    Ok(back_to(turn.conversation))
}

/// `POST /turns/{turn}/cancel`
pub(super) async fn cancel(
    State(app): State<App>,
    Path(turn): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let turn = id(&turn)?;
    app.host.cancel(turn).await?;
    done(&app, turn, &headers).await
}

/// `POST /turns/{turn}/retry`: the same prompt again, or on from where an answer was interrupted.
pub(super) async fn retry(
    State(app): State<App>,
    Path(turn): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let store = app.host.store();
    let failed = store
        .turn(id(&turn)?)
        .await?
        .ok_or_else(Problem::no_such_page)?;
    let message = store
        .message(failed.message)
        .await?
        .ok_or_else(Problem::no_such_page)?;
    let mut prompt = failed.prompt;
    if message.reason == Some(Reason::Interrupted) {
        CONTINUE.clone_into(&mut prompt.text);
    }
    // Asked for twice, it is done once.
    let client_key = Some(format!("retry:{}", failed.id));
    let options = SubmitOptions {
        client_key,
        ..SubmitOptions::default()
    };
    let submitted = app
        .host
        .submit(failed.conversation, prompt, options)
        .await?;
    queued(&app, &submitted.turn, is_script(&headers)).await
}
