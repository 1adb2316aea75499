//! Files that a tool call gave beside its output, and which of them a page may show.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tolerant::{Fields, Oddity, Skipped, Wire};

/// A file that a tool call gave beside its output: a picture that was read, a screenshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolAttachment {
    /// Its MIME type, as the server says it.
    #[serde(default)]
    pub mime: String,
    /// Its name, where the server says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Where its bytes are: a `data:` URL as a rule. Empty where they were too large to keep.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
}

/// The types of pictures that a browser shows as a picture and no more. SVG is none of them: it is a document.
const PICTURES: [&str; 5] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
];

impl ToolAttachment {
    /// Returns the type and the base64 of its bytes, where its URL is a `data:` URL in base64 and nothing else.
    pub fn data(&self) -> Option<(&str, &str)> {
        let (kind, data) = self.url.strip_prefix("data:")?.split_once(";base64,")?;
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        let body = data.trim_end_matches('=');
        let is_data =
            !body.is_empty() && data.len() - body.len() <= 2 && body.bytes().all(is_base64);
        is_data.then_some((kind, data))
    }

    /// Returns the type and the base64 of a picture that a page may show as `data:TYPE;base64,DATA`: a PNG, JPEG, GIF,
    /// WebP or AVIF by its URL. What its bytes are is the browser's to find out: it shows a picture, or nothing.
    pub fn picture(&self) -> Option<(&'static str, &str)> {
        let (kind, data) = self.data()?;
        let is_it = |known: &&&str| known.eq_ignore_ascii_case(kind);
        PICTURES.iter().find(is_it).map(|known| (*known, data))
    }
}

impl Wire for ToolAttachment {
    const ODD: Oddity = Oddity::Part;

    fn read(value: Value, skipped: &mut Skipped) -> Option<Self> {
        let mut fields = Fields::of(value, skipped)?;
        let attachment = Self {
            mime: fields.text("mime").unwrap_or_default(),
            filename: fields.text("filename"),
            url: fields.text("url").unwrap_or_default(),
        };
        (attachment != Self::default()).then_some(attachment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pictures_are_pictures_and_nothing_else_is() {
        let attachment = |url: &str| ToolAttachment {
            mime: "image/png".to_owned(),
            filename: None,
            url: url.to_owned(),
        };
        for kind in PICTURES {
            let picture = attachment(&format!("data:{kind};base64,iVBORw0KGgo="));
            assert_eq!(picture.picture(), Some((kind, "iVBORw0KGgo=")));
        }
        let upper = attachment("data:IMAGE/PNG;base64,iVBORw0KGgo=");
        assert_eq!(upper.picture(), Some(("image/png", "iVBORw0KGgo=")));
        for url in [
            "",
            "https://example.org/a.png",
            "http://127.0.0.1/a.png",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:image/svg+xml;base64,PHN2Zz4=",
            "data:text/html;base64,PGI+",
            "data:image/png,raw",
            "data:image/png;charset=x;base64,iVBORw0KGgo=",
            "data:image/png;base64,",
            "data:image/png;base64,====",
            "data:image/png;base64,abc\"onerror=x",
            "data:image/png;base64,abc def",
            "data:image/png;base64,\u{202e}abc",
            "DATA:image/png;base64,abc",
        ] {
            assert_eq!(attachment(url).picture(), None, "{url}");
        }
    }
}
