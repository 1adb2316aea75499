//! HTML, written.

/// Writes a text as what it is.
pub(super) fn escape(html: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            c => html.push(c),
        }
    }
}

/// One start of an element with a class, its text, and its end.
pub(super) fn element(html: &mut String, tag: &str, class: &str, text: &str) {
    html.extend(["<", tag, " class=\"", class, "\">"]);
    escape(html, text);
    html.extend(["</", tag, ">"]);
}
