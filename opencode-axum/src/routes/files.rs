//! `/files/{file}`: the bytes of a message's file.

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use opencode_host::id::AttachmentId;

use crate::authorize::Scope;
use crate::file::{respond, saved};
use crate::problem::Problem;
use crate::request::Id;
use crate::settings::Settings;

/// Sends a file, or a part of it. It is to be saved: shown in a browser, nothing of it runs.
#[utoipa::path(
    get,
    path = "/files/{file}",
    tag = "files",
    operation_id = "download_file",
    params(
        ("file" = Uuid, Path, description = "The file."),
        ("range" = Option<String>, Header, description = "One range of bytes (RFC 9110, 14)."),
        ("if-range" = Option<String>, Header, description = "The entity tag that the range is of."),
        ("if-none-match" = Option<String>, Header, description = "The entity tags that the caller has.")
    ),
    responses(
        (status = 200, description = "The file.", body = Vec<u8>, content_type = "*/*"),
        (status = 206, description = "A part of it.", body = Vec<u8>, content_type = "*/*"),
        (status = 304, description = "The caller has it."),
        (status = 416, description = "It has no such bytes.")
    )
)]
pub(crate) async fn show(
    State(settings): State<Settings>,
    scope: Scope,
    Id(file): Id<AttachmentId>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let file = scope.host.attachment(file).await?;
    let blobs = settings.blobs.as_ref();
    let blobs = blobs.ok_or_else(|| Problem::not_found("This application keeps no files."))?;
    let response = respond(blobs, &file, &method, &headers, &settings.shutdown).await;
    let mut response = response.map_err(|error| Problem::of_file(&error, &file))?;
    saved(response.headers_mut(), &file);
    Ok(response)
}
