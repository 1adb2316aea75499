//! What OpenCode asks the model.

use serde_json::Value;

/// The parts of a request that decide the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The text of the newest user message.
    pub(crate) prompt: String,
    /// How many rounds of tool calls came after it.
    pub(crate) rounds: usize,
    /// OpenCode's title generator sends no tools.
    pub(crate) has_tools: bool,
    /// The working directory, from the system prompt.
    directory: String,
}

impl Asked {
    pub(crate) fn of(body: &Value) -> Self {
        let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let newest = messages
            .iter()
            .rposition(|message| message["role"] == "user");
        let after = newest.map_or(&[][..], |at| &messages[at + 1..]);
        let directory = messages
            .iter()
            .filter(|message| message["role"] == "system")
            .find_map(|message| {
                let text = text(&message["content"]);
                let (_, rest) = text.split_once("Working directory: ")?;
                Some(rest.lines().next()?.trim().to_owned())
            })
            .unwrap_or_else(|| "/".into());
        Self {
            prompt: newest.map_or_else(String::new, |at| text(&messages[at]["content"])),
            rounds: after
                .iter()
                .filter(|message| {
                    message["role"] == "assistant" && message["tool_calls"].is_array()
                })
                .count(),
            has_tools: body["tools"]
                .as_array()
                .is_some_and(|tools| !tools.is_empty()),
            directory,
        }
    }

    /// Replaces `{{directory}}`, `{{prompt}}` and `{{file}}`: the name in the prompt's `[[file:NAME]]`, or
    /// `report.md`.
    pub(crate) fn fill_text(&self, text: &str) -> String {
        if !text.contains("{{") {
            return text.to_owned();
        }
        let file = self
            .prompt
            .split_once("[[file:")
            .and_then(|(_, rest)| rest.split_once("]]"))
            .map_or("report.md", |(name, _)| name);
        text.replace("{{directory}}", self.directory.trim_end_matches('/'))
            .replace("{{file}}", file)
            .replace("{{prompt}}", &self.prompt)
    }

    /// As [`Asked::fill_text`], in every string of a value.
    pub(crate) fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill_text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(name, item)| (name.clone(), self.fill(item)))
                .collect(),
            other => other.clone(),
        }
    }
}

/// The text of a message's content: a string, or parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Asked;

    #[test]
    fn the_newest_prompt_and_its_rounds_are_found() {
        let asked = Asked::of(&json!({
            "messages": [
                {"role": "system", "content": "x\n  Working directory: /tmp/ws\n  Platform: linux"},
                {"role": "user", "content": "[[text]]"},
                {"role": "assistant", "content": "", "tool_calls": []},
                {"role": "user", "content": [{"type": "text", "text": "[[write]] [[file:b.md]]"}]},
                {"role": "assistant", "tool_calls": [{}]},
                {"role": "tool", "content": "done"},
            ],
            "tools": [{}],
        }));
        assert_eq!((asked.rounds, asked.has_tools), (1, true));
        assert!(asked.prompt.starts_with("[[write]]"));
        assert_eq!(
            asked.fill(&json!(["{{directory}}/{{file}}"])),
            json!(["/tmp/ws/b.md"])
        );
    }
}
