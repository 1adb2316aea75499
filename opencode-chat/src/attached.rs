//! Files that a tool gave beside its output, such as a picture that was read.

use opencode_client::wire::ToolAttachment;
use opencode_host::visible::short;

/// Characters of a name that are shown.
const NAME: usize = 80;

/// The longest `data:` URL that is shown as a picture, in bytes. A larger one would fill the page of an answer.
const MAX_PICTURE: usize = 384 << 10;

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
    about.push(match attachment.data() {
        // Four characters are three bytes.
        Some((_, data)) => format!("{} bytes", data.trim_end_matches('=').len() * 3 / 4),
        None if attachment.url.is_empty() => "too large to keep".to_owned(),
        None => "not kept here".to_owned(),
    });
    format!("{name} ({})", about.join(", "))
}

/// The picture as a `data:` URL that a page may show: of a known type, not too large.
pub(crate) fn picture(attachment: &ToolAttachment) -> Option<String> {
    if attachment.url.len() > MAX_PICTURE {
        return None;
    }
    let (kind, data) = attachment.picture()?;
    Some(format!("data:{kind};base64,{data}"))
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
    fn pictures_are_shown_unless_they_are_large() {
        let shown = |url: &str| picture(&attachment("image/png", None, url));
        let small = shown("data:IMAGE/PNG;base64,iVBORw0KGgo=");
        assert_eq!(small.as_deref(), Some("data:image/png;base64,iVBORw0KGgo="));
        assert_eq!(shown("data:image/svg+xml;base64,PHN2Zz4="), None);
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
