//! The script an impostor plays when it is given none: the markers of the recorded tapes, and a friendly answer to
//! everything else.

use serde_json::json;

use crate::script::{
    ApplyPatch, Flood, PatchKind, PatchedFile, Permission, Question, Retry, Rule, Script, Step,
    Streamed, Subtask, Tool,
};

/// What `[[text]]` answers: every kind of character that breaks naive clients.
pub const UNICODE_TEXT: &str = "Hello — naïve café 日本語 👩‍👩‍👧. The answer is 42.";

/// Milliseconds between two deltas of the friendly answers.
const PACE_MS: u64 = 15;

fn said(text: &str) -> Step {
    Step::Text(Streamed::new(text).chunk_chars(5).delay_ms(PACE_MS))
}

/// The answer to a prompt that no rule fits.
pub(crate) fn friendly(prompt: &str) -> Vec<Step> {
    let quoted: Vec<String> = prompt.lines().map(|line| format!("> {line}")).collect();
    // Not through a template: the prompt may contain braces of its own.
    let text = format!(
        "I am the **impostor**: I stand in for an OpenCode server and know nothing. You said:\n\n{}\n\n\
         Try one of these words in a prompt: `[[text]]`, `[[reason]]`, `[[write]]`, `[[edit]]`, `[[todo]]`, \
         `[[bash]]`, `[[question]]`, `[[task]]`, `[[long]]`.",
        if quoted.is_empty() {
            "> (nothing)".to_owned()
        } else {
            quoted.join("\n")
        }
    );
    vec![Step::Text(Streamed {
        chunks: Some(chunks_of(&text, 6)),
        delay_ms: PACE_MS,
        ..Streamed::default()
    })]
}

fn chunks_of(text: &str, chars: usize) -> Vec<String> {
    let all: Vec<char> = text.chars().collect();
    all.chunks(chars)
        .map(|chunk| chunk.iter().collect())
        .collect()
}

/// A long Markdown text: headings, lists, code.
pub(crate) fn long_text() -> String {
    let section = |number: u32| {
        format!(
            "## Section {number}\n\nThis is paragraph {number} of a long answer, with *emphasis*, `code` and a \
             [link](https://example.org/{number}).\n\n- first point\n- second point\n\n```rust\nfn section_{number}() \
             -> u32 {{ {number} }}\n```\n\n"
        )
    };
    let sections: Vec<String> = (1..=40).map(section).collect();
    sections.concat()
}

impl Script {
    /// The markers of the recorded tapes. A prompt with none of them gets a short friendly answer.
    ///
    /// `[[text]]` `[[reason]]` `[[write]]` `[[edit]]` `[[patch]]` `[[todo]]` `[[bash]]` `[[question]]` `[[task]]`
    /// `[[parallel]]` `[[failtool]]` `[[badtool]]` `[[err401]]` `[[err429]]` `[[slow]]` `[[cutoff]]` `[[empty]]`
    /// `[[html]]` `[[long]]` `[[hang]]` `[[loop]]` `[[flood]]` `[[echo]]`
    pub fn standard() -> Self {
        let plan = |first: &str, second: &str| Step::todos([("Plan", first), ("Do", second)]);
        let bash = Permission {
            permission: "bash".into(),
            patterns: vec!["echo hi".into(), "ls".into()],
            always: vec!["echo *".into(), "ls *".into()],
            metadata: serde_json::Map::from_iter([("command".to_owned(), "echo hi && ls".into())]),
            tool: Tool {
                tool: "bash".into(),
                input: json!({"command": "echo hi && ls", "description": "Say hi"}),
                output: "hi\nreport.md\n".into(),
                title: Some("echo hi && ls".into()),
                metadata: serde_json::Map::from_iter([
                    ("output".to_owned(), "hi\nreport.md\n".into()),
                    ("exit".to_owned(), 0.into()),
                ]),
                ..Tool::default()
            },
            by_rules: true,
        };
        let report = "# Report\n\nhello <b>world</b>\n";
        let rules: Vec<(&str, Vec<Step>)> = vec![
            // First: a sub-agent's own prompt may hold other markers.
            (
                "[[task]]",
                vec![
                    Step::Subtask(Subtask {
                        prompt: "[[text]] say hello".into(),
                        ..Subtask::default()
                    }),
                    said("Subtask done"),
                ],
            ),
            ("[[text]]", vec![said(UNICODE_TEXT)]),
            (
                "[[reason]]",
                vec![
                    Step::Reasoning(Streamed::new("Let me think about it.").delay_ms(PACE_MS)),
                    said("Final answer."),
                ],
            ),
            (
                "[[write]]",
                vec![
                    said("I will write the file. "),
                    Step::write_file("report.md", report),
                    said("Done. See report.md"),
                ],
            ),
            (
                "[[edit]]",
                vec![
                    Step::write_file("report.md", report),
                    Step::edit("report.md", "hello", "goodbye"),
                    said("Edited"),
                ],
            ),
            (
                "[[patch]]",
                vec![
                    Step::ApplyPatch(ApplyPatch {
                        files: vec![PatchedFile {
                            path: "notes.md".into(),
                            kind: PatchKind::Add,
                            content: "# Notes\nline two\n".into(),
                        }],
                    }),
                    said("Patched"),
                ],
            ),
            (
                "[[todo]]",
                vec![
                    plan("in_progress", "pending"),
                    plan("completed", "in_progress"),
                    said("All planned"),
                ],
            ),
            ("[[bash]]", vec![Step::Permission(bash), said("Ran it")]),
            (
                "[[question]]",
                vec![
                    Step::Question(Question::default()),
                    said("Thanks for the answer"),
                ],
            ),
            (
                "[[parallel]]",
                vec![
                    said("Two things at once."),
                    Step::Parallel(vec![
                        Step::write_file("a.txt", "alpha"),
                        Step::write_file("b.csv", "x,y\n1,2\n"),
                        Step::tool(
                            "grep",
                            json!({"pattern": "alpha"}),
                            "Found 1 matches\na.txt:\n  Line 1: alpha",
                        ),
                    ]),
                    said("Both written"),
                ],
            ),
            (
                "[[failtool]]",
                vec![
                    Step::tool_error(
                        "read",
                        json!({"filePath": "/workspace/does-not-exist.txt"}),
                        "File not found: /workspace/does-not-exist.txt",
                    ),
                    said("It does not exist"),
                ],
            ),
            (
                "[[badtool]]",
                vec![Step::UnknownTool("nosuchtool".into()), said("recovered")],
            ),
            (
                "[[err401]]",
                vec![Step::provider_error(401, "upstream says no")],
            ),
            (
                "[[err429]]",
                vec![
                    Step::Retry(Retry {
                        next_ms: 500,
                        ..Retry::default()
                    }),
                    said(UNICODE_TEXT),
                ],
            ),
            (
                "[[slow]]",
                vec![Step::Text(
                    Streamed::new("slow ".repeat(40))
                        .chunk_chars(5)
                        .delay_ms(250),
                )],
            ),
            (
                "[[cutoff]]",
                vec![said("This text is cut in the mid"), Step::finish("length")],
            ),
            ("[[empty]]", vec![Step::Empty]),
            (
                "[[html]]",
                vec![said(
                    "<script>alert(1)</script><img src=x onerror=alert(2)> <b>bold</b> [x](javascript:alert(3))",
                )],
            ),
            (
                "[[long]]",
                vec![Step::Text(
                    Streamed::new(long_text()).chunk_chars(40).delay_ms(2),
                )],
            ),
            ("[[hang]]", vec![Step::Hang]),
            ("[[loop]]", vec![Step::Loop(Streamed::new("again"))]),
            (
                "[[flood]]",
                vec![
                    Step::Flood(Flood {
                        events: 10_000,
                        size: 100,
                    }),
                    said("Still here."),
                ],
            ),
            ("[[echo]]", vec![Step::Echo]),
        ];
        Self {
            rules: rules
                .into_iter()
                .map(|(marker, steps)| Rule {
                    matches: Some(marker.into()),
                    times: None,
                    steps,
                })
                .collect(),
            ..Self::default()
        }
    }
}
