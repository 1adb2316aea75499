//! Style, script and icon: in the binary, at addresses that change with their content.

use crate::web::fnv1a::fnv1a;

/// One file that pages load.
#[derive(Debug)]
pub(crate) struct Asset {
    stem: &'static str,
    extension: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) content: &'static str,
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
    pub(crate) fn path(&self) -> String {
        format!("/assets/{}", self.file())
    }

    pub(crate) fn file(&self) -> String {
        format!("{}-{:016x}.{}", self.stem, self.hash, self.extension)
    }
}

pub(crate) static STYLE: Asset = Asset::new(
    "app",
    "css",
    "text/css; charset=utf-8",
    concat!(
        include_str!("../../../assets/base.css"),
        include_str!("../../../assets/page.css"),
        include_str!("../../../assets/list.css"),
        include_str!("../../../assets/messages.css"),
        include_str!("../../../assets/turns.css"),
        include_str!("../../../assets/files.css"),
        include_str!("../../../assets/people.css"),
        include_str!("../../../assets/narrow.css"),
    ),
);
pub(crate) static SCRIPT: Asset = Asset::new(
    "app",
    "js",
    "text/javascript; charset=utf-8",
    concat!(
        include_str!("../../../assets/app.js"),
        include_str!("../../../assets/list.js"),
        include_str!("../../../assets/asking.js"),
        include_str!("../../../assets/told.js"),
        include_str!("../../../assets/files.js"),
        include_str!("../../../assets/start.js"),
    ),
);
pub(crate) static ICON: Asset = Asset::new(
    "icon",
    "svg",
    "image/svg+xml",
    include_str!("../../../assets/icon.svg"),
);
/// The icon of a page that has something to tell.
pub(crate) static ICON_TOLD: Asset = Asset::new(
    "icon-told",
    "svg",
    "image/svg+xml",
    include_str!("../../../assets/icon-told.svg"),
);
