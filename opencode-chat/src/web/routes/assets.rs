//! `GET /assets/{file}`: style, script and icon.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::web::problem::Problem;
use crate::web::views::assets::{ICON, ICON_TOLD, SCRIPT, STYLE};

/// `GET /assets/{file}`
pub(crate) async fn get(Path(file): Path<String>) -> Result<Response, Problem> {
    let asset = [&STYLE, &SCRIPT, &ICON, &ICON_TOLD]
        .into_iter()
        .find(|asset| asset.file() == file);
    let asset = asset.ok_or_else(Problem::no_such_page)?;
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.content).into_response())
}
