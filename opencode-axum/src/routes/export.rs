//! `/conversations/{conversation}/export`: all that is stored of a conversation.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use opencode_host::id::ConversationId;
use opencode_host::store::StoreError;
use serde_json::json;

use crate::authorize::Scope;
use crate::problem::Problem;
use crate::request::Id;
use crate::settings::Settings;

/// Exports all that is stored of a conversation, as JSON Lines: the conversation, then each turn with its messages, and
/// each message with its files, whose bytes are at `/files/{file}`. The field `record` says what a line is. A row that
/// cannot be read is a line `unreadable` in its place. An export that is broken off has no end of its body.
#[utoipa::path(
    get,
    path = "/conversations/{conversation}/export",
    tag = "conversations",
    operation_id = "export_conversation",
    params(("conversation" = Uuid, Path, description = "The conversation.")),
    responses((status = 200, description = "The records, oldest first.", body = String, content_type = "application/jsonl"))
)]
pub(crate) async fn export(
    State(settings): State<Settings>,
    scope: Scope,
    Id(conversation): Id<ConversationId>,
) -> Result<Response, Problem> {
    let records = scope.host.export(conversation).await?;
    let seat = settings.seat()?;
    let shutdown = settings.shutdown;
    let lines = stream::unfold(Some((records, seat)), move |state| {
        let shutdown = shutdown.clone();
        async move {
            let (mut records, seat) = state?;
            let next = tokio::select! {
                next = records.next() => next?,
                () = shutdown.cancelled() => return Some((Err(io::ErrorKind::Interrupted.into()), None)),
            };
            let record = match next {
                Ok(record) => serde_json::to_string(&record).map_err(io::Error::other),
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::error!(%error, "a record of an export");
                    Ok(json!({"record": "unreadable"}).to_string())
                }
                Err(error) => {
                    tracing::warn!(%error, "an export is broken off");
                    return Some((Err(io::Error::other(error)), None));
                }
            };
            let line = record.map(|record| record + "\n");
            Some((line, Some((records, seat))))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"conversation-{conversation}.jsonl\""),
        ),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}
