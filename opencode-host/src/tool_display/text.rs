//! Reading texts out of a part.

use serde_json::Value;

/// A field that holds more than white space.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(said)
}

/// A text that holds more than white space.
pub(super) fn said(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty())
}
