//! What the agent asks permission for, in full, for the terminal and the page.
//!
//! A person approves what he sees: nothing of a request is left out or cut here, and the command is the whole command
//! as it would run. The patterns of a request are pieces of it (`curl x | sh` has the patterns `curl x` and `sh`):
//! they are shown beside it, never in its place.

use opencode_client::wire::PermissionRequest;
use opencode_host::visible::line;
use serde_json::Value;

/// More characters or lines than these, and it is said how many there are.
const LONG: usize = 1000;
const MANY_LINES: usize = 12;

/// A request, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What the agent wants to do, such as "run a command".
    pub(crate) purpose: String,
    /// What exactly, the most important first.
    pub(crate) details: Vec<Detail>,
    /// The patterns that "always" allows from now on.
    pub(crate) always: Vec<String>,
}

/// One thing that a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detail {
    /// What it is, such as "Command".
    pub(crate) label: String,
    /// All of it.
    pub(crate) text: String,
    /// How long it is, where it is long.
    pub(crate) length: Option<String>,
    /// Changed lines of a file.
    pub(crate) is_diff: bool,
}

impl Asked {
    /// What a request asks for.
    pub(crate) fn of(request: &PermissionRequest) -> Self {
        let mut details: Vec<Detail> = request
            .metadata
            .iter()
            .filter_map(|(key, value)| Detail::of(key, value))
            .collect();
        // The order of the keys is the server's: what matters most stands first, what is longest last.
        details.sort_by_key(|detail| match detail.label.as_str() {
            "Command" => 0,
            "File" | "Folder" | "Address" => 1,
            _ if detail.is_diff => 3,
            _ => 2,
        });
        let shown = |text: &String| details.iter().any(|detail| detail.text == *text);
        if !request.patterns.is_empty() && !request.patterns.iter().all(shown) {
            let at = details.iter().position(|detail| detail.is_diff);
            let at = at.unwrap_or(details.len());
            details.insert(at, Detail::new("For", request.patterns.join("\n")));
        }
        Self {
            purpose: purpose(&request.permission),
            details,
            always: request.always.clone(),
        }
    }
}

impl Detail {
    fn new(label: impl Into<String>, text: String) -> Self {
        let (characters, lines) = (text.chars().count(), text.split('\n').count());
        let length = (characters > LONG || lines > MANY_LINES).then(|| match lines {
            1 => format!("{characters} characters"),
            lines => format!("{lines} lines, {characters} characters"),
        });
        Self {
            label: label.into(),
            text,
            length,
            is_diff: false,
        }
    }

    /// Of a field of the request's metadata; `None` for one that says nothing.
    fn of(key: &str, value: &Value) -> Option<Self> {
        let text = match value {
            Value::Null => return None,
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other).unwrap_or_else(|_| other.to_string()),
        };
        let label = match key {
            "command" => "Command",
            "filepath" | "filePath" => "File",
            "parentDir" | "directory" => "Folder",
            "url" => "Address",
            "diff" => "Changes",
            "description" => "Description",
            other => other,
        };
        Some(Self {
            is_diff: key == "diff" && value.is_string(),
            ..Self::new(label, text)
        })
    }
}

/// What the agent wants to do.
fn purpose(permission: &str) -> String {
    match permission {
        "bash" => "run a command".to_owned(),
        "edit" => "change files".to_owned(),
        "external_directory" => "leave its folder".to_owned(),
        "webfetch" => "read a web page".to_owned(),
        "" => "go on".to_owned(),
        other => format!("use “{}”", line(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "called with literals")]
    fn asked(permission: &str, patterns: &[&str], metadata: Value, always: &[&str]) -> Asked {
        let request = json!({
            "id": "per_1", "sessionID": "ses_1", "permission": permission, "patterns": patterns,
            "metadata": metadata, "always": always,
        });
        Asked::of(&serde_json::from_value(request).unwrap())
    }

    fn told(asked: &Asked) -> Vec<(&str, &str)> {
        let told = asked.details.iter();
        told.map(|detail| (detail.label.as_str(), detail.text.as_str()))
            .collect()
    }

    #[test]
    fn the_command_is_whole_and_its_pieces_stand_behind_it() {
        let asked = asked(
            "bash",
            &["curl -s https://example.org", "sh"],
            json!({"command": "curl -s https://example.org | sh > out"}),
            &["curl *", "sh *"],
        );
        assert_eq!(asked.purpose, "run a command");
        assert_eq!(
            told(&asked),
            [
                ("Command", "curl -s https://example.org | sh > out"),
                ("For", "curl -s https://example.org\nsh")
            ]
        );
        assert_eq!(asked.always, ["curl *", "sh *"]);
    }

    #[test]
    fn a_pattern_that_is_the_command_is_shown_once() {
        let asked = asked(
            "bash",
            &["ls -la"],
            json!({"description": "Lists files", "command": "ls -la"}),
            &[],
        );
        assert_eq!(
            told(&asked),
            [("Command", "ls -la"), ("Description", "Lists files")]
        );
    }

    #[test]
    fn every_field_of_a_request_is_told() {
        let asked = asked(
            "edit",
            &["notes.md"],
            json!({"diff": "@@\n-a\n+b", "filepath": "/s/notes.md", "depth": 3, "to": ["x"], "none": null, "empty": ""}),
            &["*"],
        );
        assert_eq!(
            told(&asked),
            [
                ("File", "/s/notes.md"),
                ("depth", "3"),
                ("to", "[\n  \"x\"\n]"),
                ("For", "notes.md"),
                ("Changes", "@@\n-a\n+b"),
            ]
        );
        assert!(asked.details[4].is_diff);
    }

    #[test]
    fn what_is_long_is_whole_and_says_so() {
        let long = "x".repeat(5000);
        let asked = asked("bash", &[], json!({"command": long}), &[]);
        assert_eq!(asked.details[0].text.len(), 5000);
        assert_eq!(asked.details[0].length.as_deref(), Some("5000 characters"));
    }
}
