//! No JSON makes it panic.

use std::path::Path;

use opencode_host::tool_display::ToolDisplay;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::describe;
use super::names::rows;

/// Any JSON, with the words a part is made of more likely than chance would have them.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "read",
            "write",
            "edit",
            "multiedit",
            "apply_patch",
            "bash",
            "grep",
            "glob",
            "list",
            "webfetch",
            "todowrite",
            "todoread",
            "task",
            "skill",
            "question",
            "exa_",
            "exa_x_exa",
            "pending",
            "running",
            "completed",
            "error",
            "in-progress",
            "*** Add File: \u{0}",
            "@@\n+a\n-b",
            "/s/c/../é",
            "/s/c/",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let key = prop_oneof![
        8 => prop::sample::select(vec![
            "type", "tool", "status", "title", "input", "metadata", "output", "error", "filePath", "path",
            "command", "pattern", "query", "questions", "question", "header", "files", "patch", "diff",
            "filediff", "results", "additions", "deletions", "todos", "content", "patchText", "matches",
            "count", "preview", "display", "text", "movePath",
        ])
        .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A part of a known tool whose other fields are anything.
fn any_part() -> impl Strategy<Value = Value> {
    let names: Vec<_> = rows().into_iter().map(|(tool, ..)| tool).collect();
    let status = prop::sample::select(vec!["pending", "running", "completed", "error"]);
    (prop::sample::select(names), status, any_json(), any_json(), any_json()).prop_map(
        |(tool, status, input, metadata, error)| {
            json!({"tool": tool, "status": status, "input": input, "metadata": metadata, "error": error})
        },
    )
}

proptest! {
    #[test]
    fn no_json_makes_it_panic(part in prop_oneof![any_json(), any_part()]) {
        let display = ToolDisplay::of(&part);
        describe(&display, Path::new("/s/c"));
        for line in [display.to_string(), display.title().into_owned(), display.past_tense_title().into_owned()] {
            prop_assert!(!line.is_empty());
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            prop_assert!(line.chars().count() < 3 * 250, "{} characters", line.chars().count());
        }
        prop_assert!(!(display.is_terminal() && display.is_in_flight()));
    }
}
