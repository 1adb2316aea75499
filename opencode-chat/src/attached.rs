//! Files that a tool gave beside its output, such as a picture that was read.

use opencode_client::wire::ToolAttachment;
use opencode_host::visible::short;

/// Characters of a name that are shown.
const NAME: usize = 80;

/// The longest `data:` URL that is shown as a picture, in bytes. A larger one would fill the page of an answer.
const MAX_PICTURE: usize = 384 << 10;

/// Which types of picture a page shows in place. SVG is none of them: it is a document.
const PICTURES: [&str; 5] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
];

/// The attachment in a few words: its name, type and size.
pub(crate) fn words(attachment: &ToolAttachment) -> String {
    let name = attachment
        .filename
        .as_deref()
        .filter(|name| !name.is_empty());
    let name = name.map_or_else(|| "a file".to_owned(), |name| short(name, NAME));
    let mut about = Vec::new();
    if !attachment.mime.is_empty() {
        about.push(short(&attachment.mime, NAME));
    }
    about.push(match data(attachment) {
        // Four characters are three bytes.
        Some((_, data)) => format!("{} bytes", data.trim_end_matches('=').len() * 3 / 4),
        None if attachment.url.is_empty() => "too large to keep".to_owned(),
        None => "not kept here".to_owned(),
    });
    format!("{name} ({})", about.join(", "))
}

/// The picture as a `data:` URL that a page may show: of a known type, in base64 and nothing else, not too large.
/// What its bytes are is the browser's to find out: it shows a picture, or nothing.
pub(crate) fn picture(attachment: &ToolAttachment) -> Option<String> {
    if attachment.url.len() > MAX_PICTURE {
        return None;
    }
    let (kind, data) = data(attachment)?;
    let kind = PICTURES
        .iter()
        .find(|known| known.eq_ignore_ascii_case(kind))?;
    Some(format!("data:{kind};base64,{data}"))
}

/// The type and the base64 of a `data:` URL.
fn data(attachment: &ToolAttachment) -> Option<(&str, &str)> {
    let (kind, data) = attachment
        .url
        .strip_prefix("data:")?
        .split_once(";base64,")?;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let body = data.trim_end_matches('=');
    let is_data = !body.is_empty() && data.len() - body.len() <= 2 && body.bytes().all(is_base64);
    is_data.then_some((kind, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(mime: &str, filename: Option<&str>, url: &str) -> ToolAttachment {
        ToolAttachment {
            mime: mime.to_owned(),
            filename: filename.map(str::to_owned),
            url: url.to_owned(),
        }
    }

    #[test]
    fn known_pictures_are_shown_and_nothing_else() {
        let shown = |url: &str| picture(&attachment("image/png", None, url));
        for kind in PICTURES {
            let url = format!("data:{kind};base64,iVBORw0KGgo=");
            assert_eq!(shown(&url), Some(url.clone()));
        }
        let upper = shown("data:IMAGE/PNG;base64,iVBORw0KGgo=");
        assert_eq!(upper.as_deref(), Some("data:image/png;base64,iVBORw0KGgo="));
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
            assert_eq!(shown(url), None, "{url}");
        }
        let large = format!("data:image/png;base64,{}", "A".repeat(MAX_PICTURE));
        assert_eq!(shown(&large), None);
    }

    #[test]
    fn every_attachment_has_words() {
        for (mime, name, url, said) in [
            (
                "image/png",
                Some("shot.png"),
                "data:image/png;base64,AAAA",
                "shot.png (image/png, 3 bytes)",
            ),
            (
                "image/png",
                None,
                "data:image/png;base64,AA==",
                "a file (image/png, 1 bytes)",
            ),
            (
                "image/png",
                Some(""),
                "",
                "a file (image/png, too large to keep)",
            ),
            (
                "",
                Some("a.pdf"),
                "https://example.org/a.pdf",
                "a.pdf (not kept here)",
            ),
            (
                "a\u{1b}[2J",
                Some("\u{202e}gnp.exe"),
                "x",
                "\\u{202e}gnp.exe (a\\u{1b}[2J, not kept here)",
            ),
        ] {
            assert_eq!(words(&attachment(mime, name, url)), said);
        }
        let long = words(&attachment(&"m".repeat(5000), Some(&"n".repeat(5000)), "x"));
        assert!(long.chars().count() < 3 * NAME, "{long}");
    }
}
