//! File names in headers and addresses.

/// A `Content-Disposition` (RFC 6266): the name as it is for those who know RFC 8187, and in plain letters for others.
pub fn disposition(kind: &str, name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| match c {
            // A percent sign would be read as an escape by some browsers.
            '"' | '\\' | '%' | '/' => '_',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '_',
        })
        .collect();
    if plain == name {
        return format!("{kind}; filename=\"{plain}\"");
    }
    let escaped = escaped(name);
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{escaped}")
}

/// A name as one segment of an address. It is for people and for the name a browser saves under: the id before it says
/// which file.
pub fn segment(name: &str) -> String {
    // Browsers take these for steps, escaped or not.
    if matches!(name, "" | "." | "..") {
        return "file".to_owned();
    }
    escaped(name)
}

/// Everything but the letters that stand for themselves everywhere (RFC 3986, 2.3; RFC 8187, 3.2.1), as `%XX`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for half in [byte >> 4, byte & 15] {
                escaped.push(char::from(b"0123456789ABCDEF"[usize::from(half)]));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_said_so_that_every_browser_saves_them() {
        for (name, said) in [
            ("report.md", "attachment; filename=\"report.md\""),
            ("my report.md", "attachment; filename=\"my report.md\""),
            (
                "Übersicht 1.csv",
                "attachment; filename=\"_bersicht 1.csv\"; filename*=UTF-8''%C3%9Cbersicht%201.csv",
            ),
            (
                "a\"b\\c.txt",
                "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt",
            ),
            (
                "100%.txt",
                "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt",
            ),
            (
                "x\r\nSet-Cookie: a=b",
                "attachment; filename=\"x__Set-Cookie: a=b\"; filename*=UTF-8''x%0D%0ASet-Cookie%3A%20a%3Db",
            ),
            ("it's;.txt", "attachment; filename=\"it's;.txt\""),
        ] {
            assert_eq!(disposition("attachment", name), said);
            assert!(axum::http::HeaderValue::from_str(said).is_ok());
        }
    }

    #[test]
    fn an_address_holds_a_name_in_one_segment() {
        for (name, said) in [
            ("a b/c?d#e.txt", "a%20b%2Fc%3Fd%23e.txt"),
            ("<b>\"&.txt", "%3Cb%3E%22%26.txt"),
            ("..", "file"),
            (".", "file"),
            ("..x", "..x"),
        ] {
            assert_eq!(segment(name), said);
        }
    }
}
