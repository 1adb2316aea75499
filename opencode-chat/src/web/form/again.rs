//! Files that go with another prompt once more.

use axum::http::StatusCode;
use opencode_host::id::{ConversationId, MessageId};
use opencode_host::uploads::Uploads;

use crate::web::app::App;
use crate::web::problem::Problem;

/// Takes the files of an earlier message once more, for a prompt that takes its place, beside what comes with that.
pub(crate) async fn with_files_of(
    app: &App,
    conversation: ConversationId,
    message: MessageId,
    more: Option<Uploads>,
) -> Result<Option<Uploads>, Problem> {
    let files = app.host.store().attachments(message).await?;
    let Some(blobs) = app.host.blobs().filter(|_| !files.is_empty()) else {
        return Ok(more);
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
    let mut uploads = match more {
        Some(uploads) => uploads,
        None => {
            let begun = app.host.uploads(conversation).await;
            begun.map_err(|error| unsent(&files[0].name, &error))?
        }
    };
    for file in &files {
        let content = blobs.get(&file.digest).await;
        let content = content.map_err(|error| unsent(&file.name, &error))?;
        let kind = Some(file.mime_type.as_str());
        let added = uploads.add(&file.name, kind, content.into_reader()).await;
        added.map_err(|error| unsent(&file.name, &error))?;
    }
    Ok(Some(uploads))
}
