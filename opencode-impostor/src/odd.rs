//! JSON that serialisers do not write: lone surrogates, numbers out of range, deep nesting.
//!
//! Real servers send all of these. A Rust string or a [`Value`] cannot hold them, so a script carries placeholders,
//! and the impostor puts the real thing in their place as the bytes leave it, in events and in answers alike:
//!
//! | from Rust | in a script file | on the wire |
//! | --- | --- | --- |
//! | [`LONE_SURROGATE`], anywhere in a text | `{{lone_surrogate}}`, anywhere in a text | `\ud83d` |
//! | [`raw_json`]`("1e999")`, for any value | `"{{raw}}1e999"`, for any value | `1e999` |
//! | [`nested`]`(200)`, for any value | `"{{nested:200}}"`, for any value | an object 200 deep |
//!
//! ```
//! use opencode_impostor::{LONE_SURROGATE, Script, Step, nested};
//!
//! let from_rust = Script::always([
//!     Step::text(format!("cut {LONE_SURROGATE}")),
//!     Step::tool("mcp_call", nested(200), "done"),
//! ]);
//! let from_json: Script = r#"{"rules": [{"steps": [
//!     {"text": "cut {{lone_surrogate}}"},
//!     {"tool": {"tool": "mcp_call", "input": "{{nested:200}}", "output": "done"}}
//! ]}]}"#
//!     .parse()
//!     .unwrap();
//! assert_eq!(from_rust, from_json);
//! ```

use std::borrow::Cow;

use serde_json::Value;

/// The first half of an emoji that was cut in two: `\ud83d` on the wire. Stands anywhere in a text of a script: a
/// delta, a tool's output, title or metadata, a permission's patterns.
pub const LONE_SURROGATE: &str = "\u{10FFFD}";

/// Begins a string that goes on the wire as it is, without its quotes.
const RAW: char = '\u{10FFFC}';

/// A value that goes on the wire as this text, whether it is JSON or not: `1e999`, `NaN`, an object with one name
/// twice.
pub fn raw_json(text: impl AsRef<str>) -> Value {
    Value::String(format!("{RAW}{}", text.as_ref()))
}

/// Objects in objects, `depth` of them: OpenCode takes whatever depth a model's tool input has.
pub fn nested(depth: usize) -> Value {
    let mut text = r#"{"in":"#.repeat(depth);
    text.push_str("\"bottom\"");
    text.push_str(&"}".repeat(depth));
    raw_json(text)
}

/// Puts the real thing in the place of each placeholder of serialised JSON.
pub(crate) fn on_wire(json: &str) -> Cow<'_, str> {
    if !json.contains(RAW) && !json.contains(LONE_SURROGATE) {
        return Cow::Borrowed(json);
    }
    let opening = format!("\"{RAW}");
    let mut wire = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find(&opening) {
        let (before, literal) = rest.split_at(at);
        let length = literal_length(literal);
        wire.push_str(before);
        let text: String = serde_json::from_str(&literal[..length]).unwrap_or_default();
        wire.push_str(text.trim_start_matches(RAW));
        rest = &literal[length..];
    }
    wire.push_str(rest);
    Cow::Owned(wire.replace(LONE_SURROGATE, "\\ud83d"))
}

/// Bytes of the string literal at the beginning of `json`, both quotes counted.
fn literal_length(json: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

/// Reads the placeholders of a script file.
pub(crate) fn from_file(script: &str) -> String {
    let mut text = script
        .replace("{{lone_surrogate}}", LONE_SURROGATE)
        .replace("\"{{raw}}", &format!("\"{RAW}"));
    let opening = "\"{{nested:";
    let mut from = 0;
    while let Some(at) = text[from..].find(opening).map(|at| from + at) {
        let digits = &text[at + opening.len()..];
        let end = digits.find("}}\"");
        let depth = end.and_then(|end| digits[..end].parse().ok());
        from = at + opening.len();
        if let (Some(end), Some(depth)) = (end, depth) {
            let literal = nested(depth).to_string();
            text.replace_range(at..from + end + "}}\"".len(), &literal);
            from = at + literal.len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{LONE_SURROGATE, nested, on_wire, raw_json};

    #[test]
    fn placeholders_become_what_no_serialiser_writes() {
        let value = json!({
            "text": format!("a \" cut {LONE_SURROGATE}."), "cost": raw_json("1e999"), "input": nested(2), "end": 1,
        });
        let wire = on_wire(&value.to_string()).into_owned();
        for expected in [
            r#""text":"a \" cut \ud83d.""#,
            r#""cost":1e999"#,
            r#""input":{"in":{"in":"bottom"}}"#,
            r#""end":1"#,
        ] {
            assert!(wire.contains(expected), "{expected} in {wire}");
        }
    }

    #[test]
    fn ordinary_json_is_left_alone() {
        let text = json!({"text": "👍 {{raw}} \\ud83d"}).to_string();
        assert!(matches!(on_wire(&text), std::borrow::Cow::Borrowed(_)));
    }
}
