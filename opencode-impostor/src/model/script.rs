//! What the model provider says.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::Asked;
use crate::UNICODE_TEXT;
use crate::standard::long_text;

/// Ordered rules; the first that fits the newest user message answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelScript {
    /// The rules. A prompt that none fits is answered `You said: …`.
    pub rules: Vec<ModelRule>,
}

/// One rule of a [`ModelScript`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRule {
    /// A substring of the newest user message; absent: every one.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// The first answer, the answer after the first tool results, and so on; the last is repeated.
    pub rounds: Vec<Round>,
    /// How many times a request must come before it is answered; until then it gets `fail_status`.
    pub fail_first: u32,
    /// HTTP status of those failures; 429 when 0.
    pub fail_status: u16,
}

/// One answer of the model. Strings may hold `{{directory}}` (OpenCode's working directory), `{{file}}` (the name in
/// the prompt's `[[file:NAME]]`, else `report.md`) and `{{prompt}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Round {
    /// Text before the answer, as `reasoning_content`.
    pub reasoning: String,
    /// The answer.
    pub text: String,
    /// Characters in a chunk.
    pub chunk_chars: usize,
    /// Wait before each chunk, in milliseconds.
    pub delay_ms: u64,
    /// A gate to wait at after the text; see [`ModelServer::open`](super::ModelServer::open).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// Tools to call: name and arguments.
    pub calls: Vec<(String, Value)>,
    /// The finish reason; `tool_calls` or `stop` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
    /// An HTTP error instead of an answer; `text` is its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            reasoning: String::new(),
            text: String::new(),
            chunk_chars: 5,
            delay_ms: 2,
            gate: None,
            calls: Vec::new(),
            finish: None,
            status: None,
        }
    }
}

impl Round {
    /// An answer that is a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// An answer that calls a tool.
    pub fn call(tool: impl Into<String>, arguments: Value) -> Self {
        Self::default().and_call(tool, arguments)
    }

    /// Calls another tool in the same answer.
    pub fn and_call(mut self, tool: impl Into<String>, arguments: Value) -> Self {
        self.calls.push((tool.into(), arguments));
        self
    }

    /// A text before the calls.
    pub fn saying(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// An HTTP error.
    pub fn error(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    pub(super) fn finish(&self) -> &str {
        match &self.finish {
            Some(finish) => finish,
            None if self.calls.is_empty() => "stop",
            None => "tool_calls",
        }
    }

    pub(super) fn error_message(&self) -> &str {
        if self.text.is_empty() {
            "upstream says no"
        } else {
            &self.text
        }
    }
}

impl ModelScript {
    /// A script without rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule.
    pub fn on(
        mut self,
        marker: impl Into<String>,
        rounds: impl IntoIterator<Item = Round>,
    ) -> Self {
        self.rules.push(ModelRule {
            matches: Some(marker.into()),
            rounds: rounds.into_iter().collect(),
            ..ModelRule::default()
        });
        self
    }

    /// Adds the rules of another script after the own ones.
    pub fn then(mut self, other: ModelScript) -> Self {
        self.rules.extend(other.rules);
        self
    }

    /// The answer to a request that comes for the `attempt`-th time (from 1).
    pub(super) fn round(&self, asked: &Asked, attempt: u32) -> Round {
        if !asked.has_tools {
            return Round::text("A scripted title");
        }
        let rule = self.rules.iter().find(|rule| {
            rule.matches
                .as_deref()
                .is_none_or(|marker| asked.prompt.contains(marker))
        });
        let Some(rule) = rule else {
            return Round::text("You said: {{prompt}}");
        };
        // Counted in cycles, so that the same prompt in another session fails anew.
        let cycle = rule.fail_first + 1;
        if rule.fail_first > 0 && !attempt.is_multiple_of(cycle) {
            return Round::error(if rule.fail_status == 0 {
                429
            } else {
                rule.fail_status
            });
        }
        rule.rounds
            .get(asked.rounds)
            .or(rule.rounds.last())
            .cloned()
            .unwrap_or_default()
    }

    /// The markers of the recorded tapes.
    ///
    /// `[[text]]` `[[reason]]` `[[write]]` `[[edit]]` `[[patch]]` (model `gpt-5-scripted`) `[[todo]]` `[[bash]]`
    /// `[[question]]` `[[task]]` `[[parallel]]` `[[failtool]]` `[[badtool]]` `[[err401]]` `[[err429]]` (once, then
    /// text) `[[slow]]` (a word each 250 ms) `[[hold]]` (waits at the gate `hold`) `[[cutoff]]` `[[empty]]`
    /// `[[html]]` `[[long]]`. `[[file:NAME]]` in a prompt names the file to write.
    pub fn standard() -> Self {
        let file = "{{directory}}/{{file}}";
        let report = "# Report\n\nhello <b>world</b>\n";
        let write = json!({"filePath": file, "content": report});
        let plan = |first: &str, second: &str| {
            Round::call(
                "todowrite",
                json!({"todos": [
                    {"content": "Plan", "status": first, "priority": "high"},
                    {"content": "Do", "status": second, "priority": "low"},
                ]}),
            )
        };
        let question = json!({"questions": [{
            "header": "Choice", "question": "Continue?",
            "options": [{"label": "Yes", "description": "go"}, {"label": "No", "description": "stop"}],
        }]});
        let mut script = Self::new()
            // First: the sub-agent's prompt holds another marker.
            .on(
                "[[task]]",
                [
                    Round::call(
                        "task",
                        json!({
                            "description": "sub work", "prompt": "[[text]] say hello", "subagent_type": "general",
                        }),
                    ),
                    Round::text("Subtask done"),
                ],
            )
            .on("[[text]]", [Round::text(UNICODE_TEXT)])
            .on(
                "[[reason]]",
                [Round {
                    reasoning: "Let me think about it.".into(),
                    ..Round::text("Final answer.")
                }],
            )
            .on(
                "[[write]]",
                [
                    Round::call("write", write.clone()).saying("I will write the file. "),
                    Round::text("Done. See {{file}}"),
                ],
            )
            .on(
                "[[edit]]",
                [
                    Round::call("write", write.clone()),
                    Round::call("read", json!({"filePath": file})),
                    Round::call(
                        "edit",
                        json!({"filePath": file, "oldString": "hello", "newString": "goodbye"}),
                    ),
                    Round::text("Edited"),
                ],
            )
            .on(
                "[[patch]]",
                [
                    Round::call(
                        "apply_patch",
                        json!({"patchText": "*** Begin Patch\n*** Add File: notes.md\n+# Notes\n+line two\n*** End Patch"}),
                    ),
                    Round::text("Patched"),
                ],
            )
            .on(
                "[[todo]]",
                [
                    plan("in_progress", "pending"),
                    plan("completed", "in_progress"),
                    Round::text("All planned"),
                ],
            )
            .on(
                "[[bash]]",
                [
                    Round::call("bash", json!({"command": "echo hi && ls", "description": "Say hi"})),
                    Round::text("Ran it"),
                ],
            )
            .on(
                "[[question]]",
                [Round::call("question", question), Round::text("Thanks for the answer")],
            )
            .on(
                "[[parallel]]",
                [
                    Round::call("write", json!({"filePath": "{{directory}}/a.txt", "content": "alpha"}))
                        .and_call("write", json!({"filePath": "{{directory}}/b.csv", "content": "x,y\n1,2\n"}))
                        .saying("Two things at once."),
                    Round::text("Both written"),
                ],
            )
            .on(
                "[[failtool]]",
                [
                    Round::call("read", json!({"filePath": "{{directory}}/does-not-exist.txt"})),
                    Round::text("It does not exist"),
                ],
            )
            .on(
                "[[badtool]]",
                [Round::call("nosuchtool", json!({"x": 1})), Round::text("recovered")],
            )
            .on("[[err401]]", [Round::error(401)])
            .on("[[err429]]", [Round::text(UNICODE_TEXT)])
            .on(
                "[[slow]]",
                [Round {
                    delay_ms: 250,
                    ..Round::text("slow ".repeat(40))
                }],
            )
            .on(
                "[[hold]]",
                [Round {
                    gate: Some("hold".into()),
                    ..Round::text("One two three")
                }],
            )
            .on(
                "[[cutoff]]",
                [Round {
                    finish: Some("length".into()),
                    ..Round::text("This text is cut in the mid")
                }],
            )
            .on("[[empty]]", [Round::default()])
            .on(
                "[[html]]",
                [Round::text(
                    "<script>alert(1)</script><img src=x onerror=alert(2)> <b>bold</b> [x](javascript:alert(3))",
                )],
            )
            .on(
                "[[long]]",
                [Round {
                    chunk_chars: 40,
                    ..Round::text(long_text())
                }],
            );
        for rule in &mut script.rules {
            if rule.matches.as_deref() == Some("[[err429]]") {
                rule.fail_first = 1;
            }
        }
        script
    }
}
