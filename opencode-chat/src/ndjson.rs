//! What programs read: one JSON object a line.

use opencode_client::reply::PersistedPart;
use opencode_host::client::reply::ToolPart;
use opencode_host::outcome::{Reason, TurnError};
use opencode_host::turn::TurnResult;
use opencode_host::visible;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write as _;

use crate::{files, terminal};

/// Prints one line. A reader that went away is not an error of ours.
pub(crate) fn print(line: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(line) {
        terminal::write(&(one_line(text) + "\n"));
    }
}

/// The same JSON in which each character that ends a line for some reader (U+2028, U+0085, …), or steers a terminal,
/// is written as `\uXXXX`. JSON's own grammar holds none of them: all stand in strings.
fn one_line(json: String) -> String {
    if !json.contains(visible::is_hidden) {
        return json;
    }
    let mut line = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if visible::is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(c);
        }
    }
    line
}

/// The last line of `turn` and `watch`.
#[derive(Debug, Serialize)]
pub(crate) struct ResultLine {
    #[serde(rename = "type")]
    kind: &'static str,
    status: String,
    reason: Option<Reason>,
    content: String,
    parts: Vec<PersistedPart>,
    tool_calls: Vec<ToolPart>,
    reasoning: String,
    cost: f64,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    duration_ms: u64,
    truncated: bool,
    artifacts: Vec<Value>,
    session_id: Option<String>,
    turn_id: Option<String>,
    message_id: Option<String>,
    opencode_message_id: Option<String>,
    error: Option<TurnError>,
}

impl ResultLine {
    /// What came of a turn.
    pub(crate) fn of(result: &TurnResult) -> Self {
        Self {
            kind: "result",
            status: serde_plain(&result.status),
            reason: result.reason,
            content: result.content.clone(),
            parts: result.parts.clone(),
            tool_calls: result.tool_calls(),
            reasoning: result.reasoning.clone(),
            cost: result.usage.cost,
            input_tokens: result.usage.input_tokens,
            output_tokens: result.usage.output_tokens,
            cache_read_tokens: result.usage.cache_read_tokens,
            cache_write_tokens: result.usage.cache_write_tokens,
            duration_ms: u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX),
            truncated: result.truncated,
            artifacts: result.artifacts.iter().map(files::json_of).collect(),
            session_id: result.session.as_ref().map(ToString::to_string),
            turn_id: Some(result.turn.to_string()),
            message_id: Some(result.message.to_string()),
            opencode_message_id: result.prompt.as_ref().map(ToString::to_string),
            error: result.error.clone(),
        }
    }

    /// A turn that did not come about.
    pub(crate) fn failed(reason: Reason, message: &str) -> Self {
        Self {
            kind: "result",
            status: "failed".to_owned(),
            reason: Some(reason),
            content: String::new(),
            parts: Vec::new(),
            tool_calls: Vec::new(),
            reasoning: String::new(),
            cost: 0.0,
            input_tokens: 0,
            output_tokens: 0,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            duration_ms: 0,
            truncated: false,
            artifacts: Vec::new(),
            session_id: None,
            turn_id: None,
            message_id: None,
            opencode_message_id: None,
            error: Some(TurnError::of(reason, message)),
        }
    }
}

/// The word an enum is written as.
pub(crate) fn serde_plain(value: &impl Serialize) -> String {
    match json!(value) {
        Value::String(word) => word,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_for_every_reader_and_says_the_same() {
        let text = "a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f\u{1c}g\u{1d}h\u{1e}i\r\n\u{9b}31m\u{202e}\u{e0041}\u{7f}é日👩\u{200d}🚀";
        let value = json!({ "type": "text", "content": text, text: 1 });
        let line = one_line(value.to_string());
        let ends = |c: char| {
            c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}' | '\u{e0041}')
        };
        assert!(!line.contains(ends), "{line:?}");
        assert!(line.contains("é日👩\u{200d}🚀"), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
