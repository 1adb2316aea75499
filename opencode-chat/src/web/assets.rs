//! Style, script and icon: in the binary, at addresses that change with their content.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// One file that pages load.
#[derive(Debug)]
pub(super) struct Asset {
    stem: &'static str,
    extension: &'static str,
    kind: &'static str,
    content: &'static str,
    hash: u64,
}

impl Asset {
    const fn new(
        stem: &'static str,
        extension: &'static str,
        kind: &'static str,
        content: &'static str,
    ) -> Self {
        Self {
            stem,
            extension,
            kind,
            content,
            hash: fnv1a(content.as_bytes()),
        }
    }

    /// Where it is. Another content is at another address, so browsers keep it for good.
    pub(super) fn path(&self) -> String {
        format!("/assets/{}", self.file())
    }

    fn file(&self) -> String {
        format!("{}-{:016x}.{}", self.stem, self.hash, self.extension)
    }
}

pub(super) static STYLE: Asset = Asset::new(
    "app",
    "css",
    "text/css; charset=utf-8",
    concat!(
        include_str!("../../assets/base.css"),
        include_str!("../../assets/page.css"),
        include_str!("../../assets/messages.css"),
        include_str!("../../assets/turns.css"),
        include_str!("../../assets/files.css"),
        include_str!("../../assets/narrow.css"),
    ),
);
pub(super) static SCRIPT: Asset = Asset::new(
    "app",
    "js",
    "text/javascript; charset=utf-8",
    concat!(
        include_str!("../../assets/app.js"),
        include_str!("../../assets/files.js"),
    ),
);
pub(super) static ICON: Asset = Asset::new(
    "icon",
    "svg",
    "image/svg+xml",
    include_str!("../../assets/icon.svg"),
);

/// `GET /assets/{file}`
pub(super) async fn get(Path(file): Path<String>) -> Result<Response, Problem> {
    let asset = [&STYLE, &SCRIPT, &ICON]
        .into_iter()
        .find(|asset| asset.file() == file);
    let asset = asset.ok_or_else(Problem::no_such_page)?;
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.content).into_response())
}

/// A short fingerprint. Not for anything that an attacker may choose.
pub(super) const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
