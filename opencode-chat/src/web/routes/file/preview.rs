//! The beginning of a text file, on a page.

use askama::Template;
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse as _, Response};
use futures_util::StreamExt as _;
use opencode_host::blobs::{BlobError, Blobs};
use opencode_host::store::Attachment;

use crate::web::app::App;
use crate::web::base_path::BasePath;
use crate::web::in_words::bytes;
use crate::web::looks::Looks;
use crate::web::problem::Problem;
use crate::web::views::file_card::{element, text_element, url};
use crate::web::views::patch::{Patch, Patches, is_script};

/// The most bytes of a text that are shown.
const SHOWN: u64 = 64 << 10;

#[derive(Template)]
#[template(path = "preview.html")]
struct Page<'a> {
    base: &'a BasePath,
    name: &'a str,
    url: String,
    back: String,
    text: TextPreview,
}

/// A text, or its beginning.
#[derive(Debug, Template)]
#[template(path = "preview_text.html")]
struct TextPreview {
    id: String,
    text: String,
    /// The whole file's size, where this is its beginning.
    whole: Option<String>,
    url: String,
}

/// Shows the beginning of a text: in the page that asks, or as one.
pub(crate) async fn show(
    app: &App,
    blobs: &Blobs,
    file: &Attachment,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let looks = app.seen.one(blobs, &file.digest, file.size).await;
    let looks = looks.map_err(|error| Problem::of_file(&error, file))?;
    if looks != Looks::Text {
        let text = "It holds something else than text. Download it to open it with a program that knows it.";
        return Err(Problem::new(
            axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "There is no text to show",
            text,
        ));
    }
    let beginning = beginning(blobs, file).await;
    let text = TextPreview {
        id: text_element(file.id),
        text: beginning.map_err(|error| Problem::of_file(&error, file))?,
        whole: (file.size > SHOWN).then(|| bytes(file.size)),
        url: url(&app.base, file),
    };
    if is_script(headers) {
        return Ok(Patches(vec![Patch::Replace(text.id.clone(), text.render()?)]).into_response());
    }
    let page = Page {
        base: &app.base,
        name: &file.name,
        url: url(&app.base, file),
        back: format!(
            "{}/conversations/{}#{}",
            app.base,
            file.conversation,
            element(file.id)
        ),
        text,
    };
    Ok(Html(page.render()?).into_response())
}

async fn beginning(blobs: &Blobs, file: &Attachment) -> Result<String, BlobError> {
    let mut text = Vec::new();
    if file.size > 0 {
        let mut stream = blobs.get_range(&file.digest, 0..SHOWN).await?;
        while let Some(chunk) = stream.next().await {
            text.extend_from_slice(&chunk?);
        }
    }
    // A character that the end cuts is left out.
    if let Err(error) = std::str::from_utf8(&text)
        && error.error_len().is_none()
    {
        text.truncate(error.valid_up_to());
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
