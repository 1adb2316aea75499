//! Texts as JSON, and out of it.

use serde_json::Value;

/// A JSON string literal.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The text of the text parts, joined by line breaks.
pub(crate) fn text_of(parts: &[Value]) -> String {
    let texts: Vec<&str> = parts
        .iter()
        .filter(|part| part["type"] == "text")
        .filter_map(|part| part["text"].as_str())
        .collect();
    texts.join("\n")
}
