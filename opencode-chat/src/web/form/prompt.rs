//! What a person typed: read, refused or sent.

use opencode_host::client::wire::Prompt;
use opencode_host::id::ConversationId;
use opencode_host::store::Turn;
use opencode_host::uploads::Uploads;
use opencode_host::{DEFAULT_MAX_PROMPT, SubmitOptions, check_prompt};

use crate::web::app::App;
use crate::web::problem::Problem;
use crate::web::shelf;

/// What was typed: browsers end the lines of forms as MIME does.
pub(crate) fn said(prompt: String) -> String {
    if prompt.contains("\r\n") {
        prompt.replace("\r\n", "\n")
    } else {
        prompt
    }
}

/// What goes with files where nothing was typed.
const FILES_ALONE: &str = "See the attached files.";

/// What is sent of what was typed, or why it cannot be, before anything is written.
pub(crate) fn checked(typed: &str, has_files: bool) -> Result<String, Problem> {
    let prompt = if has_files && typed.trim().is_empty() {
        FILES_ALONE
    } else {
        typed
    };
    check_prompt(prompt, DEFAULT_MAX_PROMPT)?;
    Ok(prompt.to_owned())
}

/// Queues a turn. The same key is the same form sent again, unless it holds
/// other words: a page that a browser kept and showed once more.
pub(crate) async fn send(
    app: &App,
    conversation: ConversationId,
    prompt: String,
    options: SubmitOptions,
) -> Result<Turn, Problem> {
    let store = app.host.store();
    let known = store.conversation(conversation).await?;
    if known
        .as_ref()
        .is_some_and(|known| shelf::deleted_at(known).is_some())
    {
        return Err(Problem::deleted());
    }
    let uploads = options.uploads.clone();
    let submitted = app
        .host
        .submit(conversation, Prompt::text(&prompt), options.clone())
        .await?;
    if submitted.created || is_same(app, &submitted.turn, &prompt, uploads.as_ref()).await? {
        return Ok(submitted.turn);
    }
    let options = SubmitOptions {
        client_key: None,
        ..options
    };
    Ok(app
        .host
        .submit(conversation, Prompt::text(prompt), options)
        .await?
        .turn)
}

/// Whether a turn was asked for with these words and these files.
async fn is_same(
    app: &App,
    turn: &Turn,
    prompt: &str,
    uploads: Option<&Uploads>,
) -> Result<bool, Problem> {
    let store = app.host.store();
    let said = store.message(turn.user_message).await?;
    let files = store.attachments(turn.user_message).await?;
    let sent = uploads.map(Uploads::files).unwrap_or_default();
    let same_files = files.len() == sent.len()
        && files
            .iter()
            .zip(sent)
            .all(|(file, sent)| file.name == sent.name && file.digest == sent.digest);
    Ok(same_files && said.is_some_and(|said| said.answer.content == prompt))
}
