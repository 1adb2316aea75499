//! The bytes of a message's file as an answer over HTTP: whole, in part, or not again (RFC 9110, 13 and 14).
//!
//! A file is what somebody made: an agent, or who misleads one. [`saved`] puts the headers on an answer with which a
//! browser saves the file and runs nothing of it.

mod disposition;
mod range;
mod whole;

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use opencode_host::blobs::{BlobError, Blobs};
use opencode_host::store::Attachment;
use tokio_util::sync::CancellationToken;

pub use disposition::{disposition, segment};

use range::Asked;

/// The policy of a file that is saved: it loads nothing, and has an origin of its own.
pub const SAVED: &str = "default-src 'none'; sandbox";

/// Answers a `GET` or `HEAD` of a file with the bytes that it asks for: `Range`, `If-Range` and `If-None-Match` are
/// read. The entity tag is the digest of the content, which never changes. A download ends with `shutdown`.
///
/// What kind of file it is said to be is not in the answer: see [`saved`].
///
/// # Errors
/// [`BlobError`] where the bytes are not had, are damaged or are others than the row says. Damage that shows later breaks
/// the answer off, so that it is shorter than announced.
pub async fn respond(
    blobs: &Blobs,
    file: &Attachment,
    method: &Method,
    headers: &HeaderMap,
    shutdown: &CancellationToken,
) -> Result<Response, BlobError> {
    let tag = format!("\"{}\"", file.digest);
    let is_look = *method == Method::HEAD;
    let asked = match range::asked(headers, &tag, file.size) {
        // Ranges are for GET alone (RFC 9110, 14.2).
        Asked::Part(_) | Asked::Outside if is_look => Asked::Whole,
        asked => asked,
    };
    let mut response = match asked {
        Asked::Nothing => StatusCode::NOT_MODIFIED.into_response(),
        Asked::Outside => {
            let range = format!("bytes */{}", file.size);
            (
                StatusCode::RANGE_NOT_SATISFIABLE,
                [(header::CONTENT_RANGE, range)],
            )
                .into_response()
        }
        Asked::Part(range) => {
            let stream = blobs.get_range(&file.digest, range.clone()).await?;
            check_size(file, stream.size)?;
            let said = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size);
            let headers = [
                (header::CONTENT_RANGE, said),
                (
                    header::CONTENT_LENGTH,
                    (range.end - range.start).to_string(),
                ),
            ];
            let body = whole::body(stream, file, shutdown).await?;
            (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
        }
        Asked::Whole => {
            let length = [(header::CONTENT_LENGTH, file.size.to_string())];
            let body = if is_look {
                let size = blobs.size(&file.digest).await?;
                let digest = file.digest;
                check_size(file, size.ok_or(BlobError::Missing { digest })?)?;
                Body::empty()
            } else {
                let stream = blobs.get(&file.digest).await?;
                check_size(file, stream.size)?;
                whole::body(stream, file, shutdown).await?
            };
            (length, body).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=31536000, immutable"),
    );
    Ok(response)
}

/// Has a browser save the file under its name, and take it for nothing that it runs.
pub fn saved(headers: &mut HeaderMap, file: &Attachment) {
    let said = HeaderValue::try_from(disposition("attachment", &file.name));
    headers.insert(header::CONTENT_TYPE, harmless_type(&file.mime_type));
    headers.insert(
        header::CONTENT_DISPOSITION,
        // Every character of it is one that headers may hold.
        said.unwrap_or(HeaderValue::from_static("attachment")),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(SAVED),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

/// The declared type of a file, unless a page could load the file by it as a script or a style of its own.
pub fn harmless_type(declared: &str) -> HeaderValue {
    let declared = declared.to_ascii_lowercase();
    let runs = ["script", "css", "html", "xml", "wasm"];
    let kind = HeaderValue::try_from(&declared)
        .ok()
        .filter(|_| declared.contains('/') && !runs.iter().any(|word| declared.contains(word)));
    kind.unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// Whether a type says something of a file: `application/octet-stream` is what browsers say when they do not know, and
/// the name may say more.
pub fn is_plain_type(kind: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
    let halves = kind.split_once('/');
    kind != "application/octet-stream"
        && halves.is_some_and(|(kind, subtype)| {
            !kind.is_empty()
                && !subtype.is_empty()
                && kind.bytes().chain(subtype.bytes()).all(token)
        })
}

/// Bytes of another number are not the file's.
fn check_size(file: &Attachment, size: u64) -> Result<(), BlobError> {
    if size == file.size {
        Ok(())
    } else {
        let digest = file.digest;
        Err(BlobError::Corrupt { digest })
    }
}
