//! Sending prompts, stopping their answers, letting the agent go on.

use askama::Template as _;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use opencode_host::SubmitOptions;
use opencode_host::store::Turn;

use crate::web::address::{find, find_turn};
use crate::web::app::{App, Mine};
use crate::web::form::done::{back_to, done};
use crate::web::form::prompt::{checked, said, send};
use crate::web::form::submission::Submission;
use crate::web::problem::Problem;
use crate::web::views::file_card;
use crate::web::views::layout::FormKey;
use crate::web::views::message::PromptView;
use crate::web::views::patch::{Patch, Patches, is_script};
use crate::web::views::pending_answer::pending;

/// What is said so that the agent goes on.
const CONTINUE: &str = "Continue.";

/// `POST /conversations/{conversation}/turns`
pub(crate) async fn submit(
    Mine(app): Mine,
    Path(conversation): Path<String>,
    headers: HeaderMap,
    mut submission: Submission,
) -> Result<Response, Problem> {
    let conversation = find(&app, &conversation).await?.id;
    let prompt = said(submission.fields.take("prompt"));
    let key = submission.fields.first("key").map(str::to_owned);
    let action = format!("{}/conversations/{conversation}/turns", app.base);
    let prompt = match checked(&prompt, submission.has_files()) {
        Ok(prompt) => prompt,
        Err(problem) => {
            submission.pass_over(&app).await;
            return Err(problem.with_draft(app.max_upload, action, prompt));
        }
    };
    let sent = async {
        let uploads = submission.uploads(&app, Some(conversation)).await?;
        let options = SubmitOptions {
            client_key: key,
            uploads,
            ..SubmitOptions::default()
        };
        send(&app, conversation, prompt.clone(), options).await
    };
    let turn = match sent.await {
        Ok(turn) => turn,
        Err(problem) => return Err(problem.with_draft(app.max_upload, action, prompt)),
    };
    queued(&app, &turn, is_script(&headers)).await
}

/// Shows a turn that was queued: in the page that sent it, or by a new one.
async fn queued(app: &App, turn: &Turn, script: bool) -> Result<Response, Problem> {
    if !script {
        return Ok(back_to(app, turn.conversation));
    }
    let messages = "messages".to_owned();
    let store = app.host.store();
    let conversation = store.conversation(turn.conversation).await?;
    let conversation = conversation.ok_or_else(Problem::no_such_page)?;
    let said = store.message(turn.user_message).await?;
    let said = said.ok_or_else(Problem::no_such_page)?;
    let files = file_card::of_message(app, &conversation, turn.user_message).await?;
    let prompt = PromptView::new(&app.base, &said, files).render()?;
    Ok(Patches(vec![
        Patch::Append(messages.clone(), prompt),
        Patch::Append(messages, pending(app, turn, None).await?),
        Patch::Replace(FormKey::ELEMENT.to_owned(), FormKey::new().render()?),
    ])
    .into_response())
}

/// `POST /turns/{turn}/cancel`
pub(crate) async fn cancel(
    Mine(app): Mine,
    Path(turn): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let turn = find_turn(&app, &turn).await?.0.id;
    app.host.cancel(turn, None).await?;
    done(&app, turn, &headers).await
}

/// `POST /turns/{turn}/continue`: on from where an answer ended too early.
pub(crate) async fn go_on(
    Mine(app): Mine,
    Path(turn): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (ended, conversation) = find_turn(&app, &turn).await?;
    // Asked for twice, it is done once.
    let options = SubmitOptions {
        client_key: Some(format!("continue:{}", ended.id)),
        ..SubmitOptions::default()
    };
    let made = send(&app, conversation.id, CONTINUE.to_owned(), options).await?;
    queued(&app, &made, is_script(&headers)).await
}
