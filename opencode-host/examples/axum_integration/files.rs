//! Giving files out: the agent chose their names, types and bytes.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use opencode_host::id::AttachmentId;
use opencode_host::store::AttachmentSource;

use super::App;
use super::failure::Failure;
use super::users::User;

pub(super) async fn download(
    State(app): State<App>,
    user: User,
    Path(file): Path<AttachmentId>,
) -> Result<Response, Failure> {
    let row = app
        .host
        .store()
        .attachment(file)
        .await?
        .filter(|row| row.conversation == user.conversation);
    let row = row.ok_or(Failure(StatusCode::NOT_FOUND))?;
    let blobs = app.host.blobs().ok_or(Failure(StatusCode::NOT_FOUND))?;
    // What the host rendered may be shown; what an agent wrote is only ever saved.
    let (kind, how) = match row.source {
        AttachmentSource::Transform => (&*row.mime_type, "inline".to_owned()),
        _ => {
            let name = percent_encoded(&row.name);
            let how = format!("attachment; filename*=UTF-8''{name}");
            ("application/octet-stream", how)
        }
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, &*how),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "sandbox; default-src 'none'",
        ),
    ];
    Ok((headers, Body::from_stream(blobs.get(&row.digest).await?)).into_response())
}

/// A name as RFC 5987 has it: an agent chose it, and it may hold anything.
fn percent_encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.bytes().fold(String::new(), |encoded, byte| {
        if plain(byte) {
            encoded + char::from(byte).encode_utf8(&mut [0; 4])
        } else {
            encoded + &format!("%{byte:02X}")
        }
    })
}
