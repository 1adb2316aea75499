//! `/conversations/{conversation}/files/{file}/{name}`: the bytes of a message's file.
//!
//! A file is what somebody made: an agent, or who misleads one. It is given to be
//! saved, and never as something that a browser runs. Shown in its place are
//! pictures and PDFs whose bytes are what their type says, and what the product's
//! own transform made, in a frame that can do nothing.

mod preview;
mod range;
mod whole;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use opencode_host::blobs::{BlobError, Blobs};
use opencode_host::id::AttachmentId;
use opencode_host::store::Attachment;
use serde::Deserialize;

use crate::web::address::{self, id};
use crate::web::app::App;
use crate::web::disposition::disposition;
use crate::web::looks::Looks;
use crate::web::problem::Problem;
use crate::web::views::file_card;
use range::Asked;

/// Nothing at all, and an origin of its own.
const SAVED: &str = "default-src 'none'; sandbox";
/// A picture alone in its window has a style that the browser makes.
const PICTURE: &str = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'";
/// Browsers show no PDF in a sandbox. The viewer is no part of this site, and runs nothing of the document in it.
const PDF: &str =
    "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; frame-ancestors 'self'";
/// A page of the host's own making: its style and pictures are in it, and nothing else may be.
const FRAMED: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'self'; sandbox";

/// How a file is wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    /// To be shown, if it can be.
    inline: Option<String>,
    /// The beginning of a text, on a page.
    preview: Option<String>,
}

/// `GET /conversations/{conversation}/files/{file}/{name}`
pub(crate) async fn get(
    State(app): State<App>,
    Path((conversation, file, _)): Path<(String, String, String)>,
    Query(wanted): Query<Wanted>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let file = find(&app, &conversation, &file).await?;
    let blobs = app.host.blobs().ok_or_else(Problem::no_such_page)?;
    if wanted.preview.is_some() {
        return preview::show(&app, blobs, &file, &headers).await;
    }
    let given = match wanted.inline {
        Some(_) => Given::inline(&app, blobs, &file).await?,
        None => Given::saved(&file),
    };
    let response = serve(&app, blobs, &file, &method, &headers).await;
    let mut response = response.map_err(|error| Problem::of_file(&error, &file))?;
    given.put_on(response.headers_mut(), &file);
    Ok(response)
}

/// The file, if it is one of this conversation.
async fn find(app: &App, conversation: &str, file: &str) -> Result<Attachment, Problem> {
    let conversation = address::find(app, conversation).await?.id;
    let file: AttachmentId = id(file)?;
    let file = app.host.store().attachment(file).await?;
    file.filter(|file| file.conversation == conversation)
        .ok_or_else(Problem::no_such_page)
}

/// What a browser is told of a file.
struct Given {
    kind: HeaderValue,
    disposition: &'static str,
    policy: &'static str,
}

impl Given {
    fn saved(file: &Attachment) -> Self {
        Self {
            kind: harmless_type(&file.mime_type),
            disposition: "attachment",
            policy: SAVED,
        }
    }

    /// To be shown, where it is what it says; else to be saved.
    async fn inline(app: &App, blobs: &Blobs, file: &Attachment) -> Result<Self, Problem> {
        let inline = |kind, policy| Self {
            kind: HeaderValue::from_static(kind),
            disposition: "inline",
            policy,
        };
        if file_card::is_trusted_page(app, file).await? {
            return Ok(inline("text/html; charset=utf-8", FRAMED));
        }
        let looks = app.seen.one(blobs, &file.digest, file.size).await;
        let looks = looks.map_err(|error| Problem::of_file(&error, file))?;
        Ok(match looks {
            Looks::Picture(kind) if file.mime_type == kind => inline(kind, PICTURE),
            Looks::Pdf if file.mime_type == "application/pdf" => inline("application/pdf", PDF),
            _ => Self::saved(file),
        })
    }

    fn put_on(self, headers: &mut HeaderMap, file: &Attachment) {
        let disposition = disposition(self.disposition, &file.name);
        let disposition = HeaderValue::try_from(disposition);
        headers.insert(header::CONTENT_TYPE, self.kind);
        headers.insert(
            header::CONTENT_DISPOSITION,
            // Every character of it is one that headers may hold.
            disposition.unwrap_or(HeaderValue::from_static("attachment")),
        );
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(self.policy),
        );
    }
}

/// The declared type, unless a page could load the file by it as a script or a style of its own.
fn harmless_type(declared: &str) -> HeaderValue {
    let declared = declared.to_ascii_lowercase();
    let runs = ["script", "css", "html", "xml", "wasm"];
    let kind = HeaderValue::try_from(&declared)
        .ok()
        .filter(|_| declared.contains('/') && !runs.iter().any(|word| declared.contains(word)));
    kind.unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// The bytes that are asked for.
async fn serve(
    app: &App,
    blobs: &Blobs,
    file: &Attachment,
    method: &Method,
    headers: &HeaderMap,
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
            let body = whole::body(stream, file, &app.shutdown).await?;
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
                whole::body(stream, file, &app.shutdown).await?
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

/// Bytes of another number are not the file's.
fn check_size(file: &Attachment, size: u64) -> Result<(), BlobError> {
    if size == file.size {
        Ok(())
    } else {
        let digest = file.digest;
        Err(BlobError::Corrupt { digest })
    }
}
