//! What programs read: one JSON object a line.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use opencode_host::outcome::{Answer, Reason, TurnError};
use opencode_host::store::TurnStatus;
use opencode_host::turn::TurnResult;
use opencode_host::visible;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{local_files, terminal};

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
#[derive(Debug)]
pub(crate) struct ResultLine<'a> {
    status: TurnStatus,
    answer: Cow<'a, Answer>,
    /// The turn; `None` where it did not come about.
    turn: Option<&'a TurnResult>,
}

impl<'a> ResultLine<'a> {
    /// What came of a turn.
    pub(crate) fn of(result: &'a TurnResult) -> Self {
        Self {
            status: result.status,
            answer: Cow::Borrowed(&result.answer),
            turn: Some(result),
        }
    }

    /// A turn that did not come about.
    pub(crate) fn failed(reason: Reason, message: &str) -> Self {
        let mut answer = Answer::default();
        answer.reason = Some(reason);
        answer.error = Some(TurnError::of(reason, message));
        Self {
            status: TurnStatus::Failed,
            answer: Cow::Owned(answer),
            turn: None,
        }
    }
}

/// Programs rely on the names. Every line has all of them, in this order.
impl Serialize for ResultLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            status,
            answer,
            turn,
        } = self;
        let duration = turn.map_or(Duration::ZERO, |turn| turn.duration);
        let files = turn.iter().flat_map(|turn| &turn.artifacts);
        let mut line = serializer.serialize_struct("ResultLine", 20)?;
        line.serialize_field("type", "result")?;
        line.serialize_field("status", status)?;
        line.serialize_field("reason", &answer.reason)?;
        line.serialize_field("content", &answer.content)?;
        line.serialize_field("parts", &answer.parts)?;
        line.serialize_field("tool_calls", &answer.tool_calls())?;
        line.serialize_field("reasoning", &answer.reasoning)?;
        line.serialize_field("cost", &answer.usage.cost)?;
        line.serialize_field("input_tokens", &answer.usage.input_tokens)?;
        line.serialize_field("output_tokens", &answer.usage.output_tokens)?;
        line.serialize_field("cache_read_tokens", &answer.usage.cache_read_tokens)?;
        line.serialize_field("cache_write_tokens", &answer.usage.cache_write_tokens)?;
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        line.serialize_field("duration_ms", &millis)?;
        line.serialize_field("truncated", &answer.truncated)?;
        line.serialize_field(
            "artifacts",
            &files.map(local_files::json_of).collect::<Vec<_>>(),
        )?;
        line.serialize_field("session_id", &turn.and_then(|turn| turn.session.as_ref()))?;
        line.serialize_field("turn_id", &turn.map(|turn| turn.turn))?;
        line.serialize_field("message_id", &turn.map(|turn| turn.message))?;
        let prompt = turn.and_then(|turn| turn.prompt.as_ref());
        line.serialize_field("opencode_message_id", &prompt)?;
        line.serialize_field("error", &answer.error)?;
        line.end()
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
