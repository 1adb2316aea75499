//! `/conversations/{conversation}/files/{file}/{name}`: the bytes of a message's file.
//!
//! A file is what somebody made: an agent, or who misleads one. It is given to be
//! saved, and never as something that a browser runs. Shown in its place are
//! pictures and PDFs whose bytes are what their type says, and what the product's
//! own transform made, in a frame that can do nothing.

mod preview;

use axum::extract::{Path, Query};
use axum::http::Method;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::response::Response;
use opencode_axum::file::{SAVED, disposition, harmless_type, respond};
use opencode_host::blobs::Blobs;
use opencode_host::store::Attachment;
use serde::Deserialize;

use crate::web::address::{self, id};
use crate::web::app::{App, Mine};
use crate::web::looks::Looks;
use crate::web::problem::Problem;
use crate::web::views::file_card;

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
    Mine(app): Mine,
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
    let response = respond(blobs, &file, &method, &headers, &app.shutdown).await;
    let mut response = response.map_err(|error| Problem::of_file(&error, &file))?;
    given.put_on(response.headers_mut(), &file);
    Ok(response)
}

/// The file, if it is one of this conversation.
async fn find(app: &App, conversation: &str, file: &str) -> Result<Attachment, Problem> {
    let conversation = address::find(app, conversation).await?.id;
    let file = address::people(app).attachment(id(file)?).await?;
    Some(file)
        .filter(|file| file.conversation == conversation)
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
