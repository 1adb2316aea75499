//! Sending prompts, sending them again, stopping their answers.

use askama::Template as _;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use opencode_host::SubmitOptions;
use opencode_host::id::{ConversationId, MessageId};
use opencode_host::outcome::Reason;
use opencode_host::store::Turn;
use opencode_host::uploads::Uploads;

use crate::web::address::{find, find_turn};
use crate::web::app::App;
use crate::web::form::done::{back_to, done};
use crate::web::form::prompt::{check, said, send};
use crate::web::form::submission::Submission;
use crate::web::problem::Problem;
use crate::web::views::file_card;
use crate::web::views::layout::FormKey;
use crate::web::views::message::PromptView;
use crate::web::views::patch::{Patch, Patches, is_script};
use crate::web::views::pending_answer::pending;

/// What an interrupted answer goes on with.
const CONTINUE: &str = "Continue.";

/// `POST /conversations/{conversation}/turns`
pub(crate) async fn submit(
    State(app): State<App>,
    Path(conversation): Path<String>,
    headers: HeaderMap,
    mut submission: Submission,
) -> Result<Response, Problem> {
    let conversation = find(&app, &conversation).await?.id;
    let prompt = said(submission.fields.take("prompt"));
    let key = submission.fields.first("key").map(str::to_owned);
    let action = format!("{}/conversations/{conversation}/turns", app.base);
    if let Err(problem) = check(&prompt) {
        submission.pass_over(&app).await;
        return Err(problem.with_draft(app.max_upload, action, prompt));
    }
    let sent = async {
        let uploads = submission.uploads(&app, Some(conversation)).await?;
        send(&app, conversation, prompt.clone(), key, uploads).await
    };
    let turn = match sent.await {
        Ok(turn) => turn,
        Err(problem) => return Err(problem.with_draft(app.max_upload, action, prompt)),
    };
    queued(&app, &turn, is_script(&headers)).await
}

/// Takes the files of an earlier message once more, for a prompt that repeats it.
async fn uploads_of(
    app: &App,
    conversation: ConversationId,
    message: MessageId,
) -> Result<Option<Uploads>, Problem> {
    let files = app.host.store().attachments(message).await?;
    let Some(blobs) = app.host.blobs().filter(|_| !files.is_empty()) else {
        return Ok(None);
    };
    let unsent = |file: &str, error: &dyn std::fmt::Display| {
        tracing::error!(%error, "files of a prompt that is sent again");
        let text = format!(
            "“{file}” cannot be given to the agent again. Send the prompt with the file once more."
        );
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "A file is not at hand",
            text,
        )
    };
    let begun = app.host.uploads(conversation).await;
    let mut uploads = begun.map_err(|error| unsent(&files[0].name, &error))?;
    for file in &files {
        let content = blobs.get(&file.digest).await;
        let content = content.map_err(|error| unsent(&file.name, &error))?;
        let kind = Some(file.mime_type.as_str());
        let added = uploads.add(&file.name, kind, content.into_reader()).await;
        added.map_err(|error| unsent(&file.name, &error))?;
    }
    Ok(Some(uploads))
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
    let said = said.map_or_else(|| turn.prompt.text.clone(), |said| said.answer.content);
    let files = file_card::of_message(app, &conversation, turn.user_message).await?;
    let prompt = PromptView::new(turn.user_message, &said, files).render()?;
    Ok(Patches(vec![
        Patch::Append(messages.clone(), prompt),
        Patch::Append(messages, pending(app, turn, None).await?),
        Patch::Replace(FormKey::ELEMENT.to_owned(), FormKey::new().render()?),
    ])
    .into_response())
}

/// `POST /turns/{turn}/cancel`
pub(crate) async fn cancel(
    State(app): State<App>,
    Path(turn): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let turn = find_turn(&app, &turn).await?.0.id;
    app.host.cancel(turn, None).await?;
    done(&app, turn, &headers).await
}

/// `POST /turns/{turn}/retry`: the same prompt again, or on from where an answer was interrupted.
pub(crate) async fn retry(
    State(app): State<App>,
    Path(turn): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let store = app.host.store();
    let (failed, _) = find_turn(&app, &turn).await?;
    let message = store
        .message(failed.message)
        .await?
        .ok_or_else(Problem::no_such_page)?;
    let mut prompt = failed.prompt;
    let mut uploads = None;
    if message.answer.reason == Some(Reason::Interrupted) {
        CONTINUE.clone_into(&mut prompt.text);
    } else if let Some(said) = store.message(failed.user_message).await? {
        // What the agent was sent tells of the files too; that is said anew.
        prompt.text = said.answer.content;
        uploads = uploads_of(&app, failed.conversation, failed.user_message).await?;
    }
    // Asked for twice, it is done once.
    let client_key = Some(format!("retry:{}", failed.id));
    let options = SubmitOptions {
        client_key,
        uploads,
        ..SubmitOptions::default()
    };
    let submitted = app
        .host
        .submit(failed.conversation, prompt, options)
        .await?;
    queued(&app, &submitted.turn, is_script(&headers)).await
}
